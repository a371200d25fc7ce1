import { canonicalJson, clip } from '../kube-text/api-status.ts';
import type { PoolFacts, StorageFacts } from './inventory.ts';
import type { PoolCapacity } from '../pools/pool-capacity.ts';
import { formatQuantity, parseQuantity } from '../kube-text/quantity.ts';

/** What a pool says of itself. */
export interface MeasuredPool {
  readonly name: string;
  readonly backend: PoolFacts['backend'];
  readonly origin: PoolFacts['origin'];
  readonly labels: Readonly<Record<string, string>>;
  readonly problem: string | undefined;
  /** Undefined while it cannot be asked. */
  readonly capacity: PoolCapacity | undefined;
  readonly isAccepting: boolean;
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
      const before = previous?.pools.find(({ name }) => name === pool.name);
      const facts = describePool(pool, pool.capacity, before);
      return before !== undefined && isNoise(before, facts) ? before : facts;
    }),
  );
}

/** Pools that cannot be asked: what was known of them, and that they take no volumes now. */
export function closePools(
  configured: readonly Pick<PoolFacts, 'name' | 'backend' | 'labels'>[],
  reason: string,
  previous?: StorageFacts,
): StorageFacts {
  return sum(
    configured.map(({ name, backend, labels }) => {
      const before = previous?.pools.find((pool) => pool.name === name);
      const known = before ?? { name, backend, labels, capacity: '0', allocated: '0', volumes: 0 };
      return { ...known, ready: false, reason: clip(reason, 1024), largestVolume: '0' };
    }),
  );
}

function describePool(
  { name, backend, origin, labels, problem, isAccepting, copies, features }: MeasuredPool,
  capacity: PoolCapacity | undefined,
  before: PoolFacts | undefined,
): PoolFacts {
  const reason = problem === undefined ? {} : { reason: clip(problem, 1024) };
  if (capacity === undefined) {
    const known = before ?? { capacity: '0', allocated: '0' };
    const now = { name, backend, origin, labels, ready: false, ...reason };
    return { ...known, ...now, largestVolume: '0', volumes: copies };
  }
  const { promisableBytes, allocatedBytes, availableBytes } = capacity;
  // Sizes that are not enforced now make a pool unfit for new volumes as well.
  const ready = isAccepting && problem === undefined;
  return {
    name,
    backend,
    origin,
    labels,
    ready,
    ...reason,
    capacity: formatQuantity(promisableBytes),
    allocated: formatQuantity(allocatedBytes),
    largestVolume: formatQuantity(ready ? availableBytes : 0n),
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
    before.origin === now.origin &&
    canonicalJson(before.labels) === canonicalJson(now.labels) &&
    canonicalJson(before.features ?? []) === canonicalJson(now.features ?? []) &&
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
