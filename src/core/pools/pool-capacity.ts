import { Fault } from '../fault.ts';
import { formatBytes, parseQuantity } from '../kube-text/quantity.ts';

/** Usage of a pool, as its file system reports it. */
export interface PoolUsage {
  readonly totalBytes: bigint;
  /** Bytes that could be written now. */
  readonly freeBytes: bigint;
  readonly volumes: ReadonlyMap<string, VolumeUsage>;
  /**
   * Bytes charged to no volume: snapshots, extents that deleted volumes left to their copies, and
   * other users of the file system.
   */
  readonly otherBytes: bigint;
}

/** Usage and limit of one volume. */
export interface VolumeUsage {
  readonly usedBytes: bigint;
  /** The limit that the kernel enforces; undefined for none. */
  readonly limitBytes: bigint | undefined;
  /** Limit of inodes; undefined for none. */
  readonly limitInodes?: bigint | undefined;
}

/** Capacity of a pool, in bytes. */
export interface PoolCapacity {
  readonly totalBytes: bigint;
  /** Bytes that may be promised in total: without the reserve, with the overcommit. */
  readonly promisableBytes: bigint;
  /** Bytes promised to volumes, or used otherwise. */
  readonly allocatedBytes: bigint;
  /** Size of the largest volume that can be created now. */
  readonly availableBytes: bigint;
}

/** Space that is never promised to volumes. */
export type Reserve =
  | { readonly kind: 'bytes'; readonly bytes: bigint }
  | { readonly kind: 'percent'; readonly percent: number };

/** How much of a pool is promised to volumes. */
export interface CapacityPolicy {
  readonly reserve: Reserve;
  /** Share of the space that may be promised, in percent; with 100 every volume can be filled. */
  readonly overcommitPercent: number;
}

/** The policy without reserve and overcommit. */
export const PLAIN_POLICY: CapacityPolicy = { reserve: { kind: 'bytes', bytes: 0n }, overcommitPercent: 100 };

/** Parses a reserve like `10Gi` or `5%`. Throws `invalid`, which names `field`. */
export function parseReserve(text: string, field: string): Reserve {
  const percent = /^(\d{1,2})%$/.exec(text)?.[1];
  if (percent !== undefined) return { kind: 'percent', percent: Number(percent) };
  return { kind: 'bytes', bytes: parseQuantity(text, field) };
}

/**
 * Returns the space reserved for the file system's metadata: 5 %, at least 64 MiB, at most half of
 * the pool.
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
 * Computes a pool's capacity. Available is the smaller of what is not promised and what is free
 * beyond what existing volumes may still write; so without overcommit every volume can be filled.
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

/** Throws `exhausted` unless the pool can promise `requiredBytes` more. */
export function checkRoom(
  pool: string,
  requiredBytes: bigint,
  { availableBytes }: PoolCapacity,
  what: string,
): void {
  if (requiredBytes <= availableBytes) return;
  throw new Fault(
    'exhausted',
    `${what} needs ${formatBytes(requiredBytes)}; pool ${pool} has ${formatBytes(availableBytes)} available`,
    { fields: { pool, requiredBytes, availableBytes } },
  );
}
