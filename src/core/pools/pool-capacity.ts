import { Fault } from '../fault.ts';
import { formatBytes, parseQuantity } from '../kube-text/quantity.ts';

/** What a pool's filesystem says of itself. */
export interface PoolUsage {
  readonly totalBytes: bigint;
  /** What could be written now. */
  readonly freeBytes: bigint;
  readonly volumes: ReadonlyMap<string, VolumeUsage>;
  /**
   * Charged to no volume: snapshots, what deleted volumes left to their copies, other users of the
   * filesystem.
   */
  readonly otherBytes: bigint;
}

export interface VolumeUsage {
  readonly usedBytes: bigint;
  /** As the kernel enforces it; undefined for none. */
  readonly limitBytes: bigint | undefined;
  /** How many inodes it may have, where that is limited. */
  readonly limitInodes?: bigint | undefined;
}

export interface PoolCapacity {
  readonly totalBytes: bigint;
  /** What may be promised in all: without the reserve, with the overcommit. */
  readonly promisableBytes: bigint;
  /** Promised to volumes or taken by others. */
  readonly allocatedBytes: bigint;
  /** The largest volume that can be made now. */
  readonly availableBytes: bigint;
}

/** Space that is never given to volumes. */
export type Reserve =
  | { readonly kind: 'bytes'; readonly bytes: bigint }
  | { readonly kind: 'percent'; readonly percent: number };

/** How much of a pool is given away. */
export interface CapacityPolicy {
  readonly reserve: Reserve;
  /**
   * How much may be promised, in percent of what there is; 100: every volume can be filled to its
   * limit.
   */
  readonly overcommitPercent: number;
}

export const PLAIN_POLICY: CapacityPolicy = { reserve: { kind: 'bytes', bytes: 0n }, overcommitPercent: 100 };

/** A reserve as people write it: `10Gi` or `5%`. Throws `invalid` that names `field`. */
export function parseReserve(text: string, field: string): Reserve {
  const percent = /^(\d{1,2})%$/.exec(text)?.[1];
  if (percent !== undefined) return { kind: 'percent', percent: Number(percent) };
  return { kind: 'bytes', bytes: parseQuantity(text, field) };
}

/**
 * Kept for the filesystem's own metadata: a twentieth, at least 64 MiB, but never more than half of
 * a tiny pool.
 */
export function metadataBytes(totalBytes: bigint): bigint {
  const share = totalBytes / 20n;
  const least = 64n << 20n;
  const reserve = share > least ? share : least;
  return reserve > totalBytes / 2n ? totalBytes / 2n : reserve;
}

function reserveBytes(totalBytes: bigint, reserve: Reserve): bigint {
  const bytes = reserve.kind === 'bytes' ? reserve.bytes : (totalBytes * BigInt(reserve.percent)) / 100n;
  return bytes > totalBytes ? totalBytes : bytes;
}

/**
 * What a pool can still promise. Without overcommit every volume can be filled to its limit. Two
 * bounds hold, the smaller wins: what is not promised to anyone, and what is physically free beyond
 * what the existing volumes may still write.
 */
export function poolCapacity(
  { totalBytes, freeBytes, volumes, otherBytes }: PoolUsage,
  { reserve, overcommitPercent }: CapacityPolicy = PLAIN_POLICY,
): PoolCapacity {
  const kept = reserveBytes(totalBytes, reserve);
  const metadata = metadataBytes(totalBytes);
  const stretch = (bytes: bigint): bigint =>
    bytes > 0n ? (bytes * BigInt(overcommitPercent)) / 100n : bytes;
  let promised = 0n;
  let outstanding = 0n;
  for (const { usedBytes, limitBytes } of volumes.values()) {
    const limit = limitBytes ?? usedBytes;
    promised += limit > usedBytes ? limit : usedBytes;
    outstanding += limit > usedBytes ? limit - usedBytes : 0n;
  }
  const allocatedBytes = promised + otherBytes;
  const promisableBytes = positive(stretch(totalBytes - metadata - kept));
  const unpromised = promisableBytes - allocatedBytes;
  const unwritten = stretch(freeBytes - metadata / 2n - kept) - outstanding;
  const availableBytes = positive(unpromised < unwritten ? unpromised : unwritten);
  return { totalBytes, promisableBytes, allocatedBytes, availableBytes };
}

function positive(bytes: bigint): bigint {
  return bytes > 0n ? bytes : 0n;
}

/** Throws `exhausted` unless the pool can promise `wantedBytes` more. */
export function checkRoom(
  pool: string,
  wantedBytes: bigint,
  { availableBytes }: PoolCapacity,
  what: string,
): void {
  if (wantedBytes <= availableBytes) return;
  throw new Fault(
    'exhausted',
    `${what} wants ${formatBytes(wantedBytes)}; pool ${pool} has ${formatBytes(availableBytes)} free`,
    { fields: { pool, wantedBytes, availableBytes } },
  );
}
