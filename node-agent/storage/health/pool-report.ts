import { type BackendKind, featureWords } from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { PoolCapacity } from '../../../src/core/pools/pool-capacity.ts';
import type { Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import type { Enforcement } from '../../../src/core/volumes/volume-quota.ts';
import type { PoolOrigin, PoolSet, PoolState } from '../contract/pool.ts';
import { quarantinedId, type RecordStore } from '../contract/records.ts';
import type { OperationDeps } from '../operations/volume-snapshot-operations.ts';

/** The state of one pool of the node. */
export interface PoolReport {
  readonly name: string;
  readonly backend: BackendKind;
  readonly origin: PoolOrigin;
  readonly labels: Readonly<Record<string, string>>;
  /** Why the pool does not serve volumes as configured; undefined for a healthy pool. */
  readonly problem: string | undefined;
  /** Undefined while the pool is not open. */
  readonly capacity: PoolCapacity | undefined;
  /** Whether the pool accepts new volumes. */
  readonly isAccepting: boolean;
  readonly quota: Enforcement | undefined;
  /** Feature words of the NodeInventory. */
  readonly features: readonly string[];
}

/** Returns the records of volumes and snapshots in any phase. */
function recordsOf({ volumes, snapshots }: RecordStore): readonly (Volume | Snapshot)[] {
  return [...volumes.values(), ...snapshots.values()];
}

/** Returns the node's pools, and pools that records name but that are not configured any more. */
export function allPools(pools: PoolSet, records: RecordStore): readonly PoolState[] {
  const states = pools.states();
  const known = new Set(states.map(({ name }) => name));
  const unconfigured = Map.groupBy(
    recordsOf(records).filter(({ pool }) => !known.has(pool)),
    ({ pool }) => pool,
  );
  return [
    ...states,
    ...[...unconfigured].map(
      ([name, owned]): PoolState => ({
        name,
        backend: 'btrfs',
        origin: 'config',
        labels: {},
        pool: undefined,
        problem: `the pool is not configured any more, but ${owned.length} volumes and snapshots are recorded in it; configure it again`,
        isAccepting: false,
      }),
    ),
  ];
}

/** Reads the state of a pool; an error becomes its problem. */
export async function reportPool(
  state: PoolState,
  { ledger, limiter }: Pick<OperationDeps, 'ledger' | 'limiter'>,
): Promise<PoolReport> {
  const { name, backend, origin, labels, pool, isAccepting } = state;
  const common = { name, backend, origin, labels, isAccepting };
  if (pool === undefined) {
    const problem = state.problem ?? 'the pool is being opened';
    return { ...common, problem, capacity: undefined, quota: undefined, features: [] };
  }
  const { features } = pool.backend;
  try {
    const problem = state.problem ?? (await pool.checkHealth());
    const capacity = (await ledger.measure(name)).capacity();
    const words = featureWords(features, { limitsIo: limiter.isAvailable });
    return { ...common, problem, capacity, quota: features.enforcement, features: words };
  } catch (error) {
    const problem = state.problem ?? Fault.from(error).message;
    return { ...common, problem, capacity: undefined, quota: features.enforcement, features: [] };
  }
}

/**
 * Lists data in open pools without a record; a quarantined record counts, by the name of its file.
 */
export async function findUnrecorded(
  pools: PoolSet,
  records: RecordStore,
): Promise<{ pool: string; id: string }[]> {
  const quarantined = new Set(records.quarantined.map(quarantinedId));
  const isKnown = (id: string): boolean =>
    records.volumes.has(id) || records.snapshots.has(id) || quarantined.has(id);
  const unrecorded: { pool: string; id: string }[] = [];
  for (const { name, pool } of pools.states()) {
    if (pool === undefined) continue;
    const present = await pool.backend.list();
    for (const id of [...present.volumes, ...present.snapshots]) {
      if (!isKnown(id)) unrecorded.push({ pool: name, id });
    }
  }
  return unrecorded;
}
