import type { BackendKind } from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { Pool } from './backend.ts';

/** Who wishes for a pool: the configuration file, or a StoragePool of the API. */
export type PoolOrigin = 'config' | 'api';

/** One pool of the node, in service or not. */
export interface PoolState {
  readonly name: string;
  readonly backend: BackendKind;
  readonly origin: PoolOrigin;
  readonly labels: Readonly<Record<string, string>>;
  /** Undefined while it is not open. */
  readonly pool: Pool | undefined;
  /** Why it takes no volumes, or not as it should; undefined when all is well. */
  readonly problem: string | undefined;
  /** Whether new volumes may be made in it. */
  readonly isAccepting: boolean;
}

/** The pools of a node, as operations on volumes see them. */
export interface PoolSet {
  /** Throws `invalid` for a pool that this node does not have, `unavailable` for one that is not open now. */
  get(name: string): Pool;
  states(): readonly PoolState[];
}

/** Pools that are open for good, without labels. */
export function fixedPools(pools: readonly Pool[]): PoolSet {
  const states = pools.map(
    (pool): PoolState => ({
      name: pool.name,
      backend: pool.backend.features.backend,
      origin: 'config',
      labels: {},
      pool,
      problem: undefined,
      isAccepting: true,
    }),
  );
  return {
    get: (name) => findPool(states, name),
    states: () => states,
  };
}

/** The open pool of that name. */
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
