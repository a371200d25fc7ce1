import { clip } from './api-status.ts';
import type { PoolFacts, StorageFacts } from './inventory.ts';
import type { PoolCapacity } from './pool-capacity.ts';
import { formatQuantity, parseQuantity } from './quantity.ts';

/** What a pool says of itself. */
export interface MeasuredPool extends PoolCapacity {
  readonly name: string;
  readonly backend: PoolFacts['backend'];
  readonly problem: string | undefined;
  /** Volumes and snapshots. */
  readonly copies: number;
  readonly features: readonly string[];
}

/** Less than this share of a pool is noise of the filesystem, unless a volume operation made it. */
const NOISE_SHARE = 256n;

/**
 * Pools as they are published. With `previous`, figures that moved by noise alone stay as they were, so that an idle node has nothing to
 * write; after an operation on a volume leave it out: then they are exact.
 */
export function describePools(pools: readonly MeasuredPool[], previous?: StorageFacts): StorageFacts {
  return sum(
    pools.map((pool) => {
      const facts = describePool(pool);
      const before = previous?.pools.find(({ name }) => name === pool.name);
      return before !== undefined && isNoise(before, facts) ? before : facts;
    }),
  );
}

/** Pools that cannot be asked: what was known of them, and that they take no volumes now. */
export function closePools(
  configured: readonly Pick<PoolFacts, 'name' | 'backend'>[],
  reason: string,
  previous?: StorageFacts,
): StorageFacts {
  return sum(
    configured.map(({ name, backend }) => {
      const before = previous?.pools.find((pool) => pool.name === name);
      const known = before ?? { name, backend, capacity: '0', allocated: '0', volumes: 0 };
      return { ...known, ready: false, reason: clip(reason, 1024), largestVolume: '0' };
    }),
  );
}

function describePool({ name, backend, problem, copies, features, ...capacity }: MeasuredPool): PoolFacts {
  const { promisableBytes, allocatedBytes, availableBytes } = capacity;
  return {
    name,
    backend,
    ready: problem === undefined,
    ...(problem === undefined ? {} : { reason: clip(problem, 1024) }),
    capacity: formatQuantity(promisableBytes),
    allocated: formatQuantity(allocatedBytes),
    largestVolume: formatQuantity(problem === undefined ? availableBytes : 0n),
    volumes: copies,
    features,
  };
}

function isNoise(before: PoolFacts, now: PoolFacts): boolean {
  const noise = bytes(now.capacity) / NOISE_SHARE;
  const near = (a: string, b: string): boolean => {
    const difference = bytes(a) - bytes(b);
    return (difference < 0n ? -difference : difference) <= noise;
  };
  return (
    before.ready === now.ready &&
    before.reason === now.reason &&
    before.capacity === now.capacity &&
    before.volumes === now.volumes &&
    near(before.allocated, now.allocated) &&
    near(before.largestVolume, now.largestVolume)
  );
}

function sum(pools: readonly PoolFacts[]): StorageFacts {
  const total = (field: 'capacity' | 'allocated'): string =>
    formatQuantity(pools.reduce((all, pool) => all + bytes(pool[field]), 0n));
  return {
    capacity: total('capacity'),
    allocated: total('allocated'),
    volumes: pools.reduce((all, { volumes }) => all + volumes, 0),
    pools,
  };
}

function bytes(quantity: string): bigint {
  return parseQuantity(quantity, 'pool');
}
