import { canonicalJson, clip } from '../kube-text/api-status.ts';
import type { PoolFacts, StorageFacts } from './inventory.ts';
import type { PoolCapacity } from '../pools/pool-capacity.ts';
import { formatQuantity, parseQuantity } from '../kube-text/quantity.ts';

/** What a pool reports. */
export interface MeasuredPool {
  readonly name: string;
  readonly backend: PoolFacts['backend'];
  readonly origin: PoolFacts['origin'];
  readonly labels: Readonly<Record<string, string>>;
  readonly problem: string | undefined;
  /** Undefined while it cannot be measured. */
  readonly capacity: PoolCapacity | undefined;
  readonly isAccepting: boolean;
  /** Volumes and snapshots. */
  readonly copies: number;
  readonly features: readonly string[];
}

/** A smaller share of a pool is noise of the file system, unless a volume operation caused it. */
const NOISE_SHARE = 256n;

/**
 * Returns pools as they are published. With `previous`, figures that only changed by noise keep
 * their value, so that an idle node does not write; without it, after an operation on a volume,
 * they are exact.
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

/** Returns pools that cannot be measured: their last figures, not ready. */
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
  // A pool that does not enforce sizes now takes no new volumes either.
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
