import { type BackendKind, featureWords } from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { PoolCapacity } from '../../../src/core/pools/pool-capacity.ts';
import type { Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import type { Enforcement } from '../../../src/core/volumes/volume-quota.ts';
import type { OperationDeps } from '../operations/volume-snapshot-operations.ts';
import { type RecordStore, quarantinedId } from '../contract/records.ts';
import type { PoolOrigin, PoolSet, PoolState } from '../contract/pool.ts';

/** One pool of the node. */
export interface PoolReport {
  readonly name: string;
  readonly backend: BackendKind;
  readonly origin: PoolOrigin;
  readonly labels: Readonly<Record<string, string>>;
  /** Undefined when all is well. */
  readonly problem: string | undefined;
  /** Undefined while the pool is not open. */
  readonly capacity: PoolCapacity | undefined;
  /** Whether new volumes may be made in it. */
  readonly isAccepting: boolean;
  readonly quota: Enforcement | undefined;
  /** Words for an inventory. */
  readonly features: readonly string[];
}

/** Volumes and snapshots in any phase. */
export function recordsOf({ volumes, snapshots }: RecordStore): readonly (Volume | Snapshot)[] {
  return [...volumes.values(), ...snapshots.values()];
}

/** The pools of the node, and those that records name but nobody wishes for: their volumes must not look lost. */
export function allPools(pools: PoolSet, inventory: RecordStore): readonly PoolState[] {
  const states = pools.states();
  const known = new Set(states.map(({ name }) => name));
  const forgotten = Map.groupBy(
    recordsOf(inventory).filter(({ pool }) => !known.has(pool)),
    ({ pool }) => pool,
  );
  return [
    ...states,
    ...[...forgotten].map(
      ([name, records]): PoolState => ({
        name,
        backend: 'btrfs',
        origin: 'config',
        labels: {},
        pool: undefined,
        problem: `${records.length} volumes and snapshots are on record in it, but the pool is not configured; configure it again`,
        isAccepting: false,
      }),
    ),
  ];
}

/** What there is to tell of a pool as it is now; nothing that fails keeps it from being told of. */
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

/** Data in open pools that no record knows. What a record in quarantine stands for is known, as far as its file tells. */
export async function findUnrecorded(
  pools: PoolSet,
  inventory: RecordStore,
): Promise<{ pool: string; id: string }[]> {
  const quarantined = new Set(inventory.quarantined.map(quarantinedId));
  const isKnown = (id: string): boolean =>
    inventory.volumes.has(id) || inventory.snapshots.has(id) || quarantined.has(id);
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
