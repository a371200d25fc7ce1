import type { BackendKind } from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { CapacityPolicy } from '../../../src/core/pools/pool-capacity.ts';
import type { BlockMaps } from './block-map.ts';
import type { TransfersByMode } from './content-transfer.ts';
import type { VolumeBackend } from './volume-backend.ts';
import type { VolumeMounts } from './volume-mounts.ts';

/** An open pool. */
export interface Pool {
  readonly name: string;
  readonly backend: VolumeBackend;
  readonly mounts: VolumeMounts;
  readonly policy: CapacityPolicy;
  /** Absent for a pool without Block volumes. */
  readonly blockMaps?: BlockMaps;
  /** Absent for a pool whose volumes cannot be exported and imported. */
  readonly transfers?: TransfersByMode;
  /** Returns why sizes are not accounted for correctly; undefined for a healthy pool. */
  checkHealth(): Promise<string | undefined>;
}

/** Where a pool is requested: in the configuration file, or by a StoragePool of the API. */
export type PoolOrigin = 'config' | 'api';

/** One pool of the node, open or not. */
export interface PoolState {
  readonly name: string;
  readonly backend: BackendKind;
  readonly origin: PoolOrigin;
  readonly labels: Readonly<Record<string, string>>;
  /** Undefined while the pool is not open. */
  readonly pool: Pool | undefined;
  /** Why the pool does not serve volumes as configured; undefined for a healthy pool. */
  readonly problem: string | undefined;
  /** Whether the pool accepts new volumes. */
  readonly isAccepting: boolean;
}

/** The pools of a node, as operations on volumes see them. */
export interface PoolSet {
  /** Throws `invalid` for an unknown pool, `unavailable` for one that is not open. */
  get(name: string): Pool;
  states(): readonly PoolState[];
}

/** Returns the open pool `name`. Throws as `PoolSet.get` does. */
export function findPool(states: readonly PoolState[], name: string): Pool {
  const state = states.find((candidate) => candidate.name === name);
  if (state?.pool !== undefined) return state.pool;
  if (state !== undefined) {
    throw new Fault('unavailable', `pool ${name} is not open: ${state.problem ?? 'it is being opened'}`, {
      fields: { pool: name },
    });
  }
  const names = states.map((candidate) => candidate.name).join(', ');
  throw new Fault('invalid', `pool ${name} does not exist on this node; it has ${names || 'none'}`, {
    fields: { pool: name },
  });
}
