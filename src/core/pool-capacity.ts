import { Fault } from './fault.ts';
import { formatBytes } from './quantity.ts';

/** What a pool's filesystem says of itself. */
export interface PoolUsage {
  readonly totalBytes: bigint;
  /** What could be written now. */
  readonly freeBytes: bigint;
  readonly volumes: ReadonlyMap<string, VolumeUsage>;
  /** Charged to no volume: snapshots, what deleted volumes left to their copies, other users of the filesystem. */
  readonly otherBytes: bigint;
}

export interface VolumeUsage {
  readonly usedBytes: bigint;
  /** As the kernel enforces it; undefined for none. */
  readonly limitBytes: bigint | undefined;
}

export interface PoolCapacity {
  readonly totalBytes: bigint;
  /** Promised to volumes or taken by others. */
  readonly allocatedBytes: bigint;
  /** The largest volume that can be made now. */
  readonly availableBytes: bigint;
}

/** Kept for the filesystem's own metadata: a twentieth, at least 64 MiB, but never more than half of a tiny pool. */
export function reservedBytes(totalBytes: bigint): bigint {
  const share = totalBytes / 20n;
  const least = 64n << 20n;
  const reserve = share > least ? share : least;
  return reserve > totalBytes / 2n ? totalBytes / 2n : reserve;
}

/**
 * What a pool can still promise. Nothing is overcommitted: every volume can be filled to its limit. Two bounds hold, the smaller wins: what is
 * not promised to anyone, and what is physically free beyond what the existing volumes may still write.
 */
export function poolCapacity({ totalBytes, freeBytes, volumes, otherBytes }: PoolUsage): PoolCapacity {
  const reserved = reservedBytes(totalBytes);
  let promised = 0n;
  let outstanding = 0n;
  for (const { usedBytes, limitBytes } of volumes.values()) {
    const limit = limitBytes ?? usedBytes;
    promised += limit > usedBytes ? limit : usedBytes;
    outstanding += limit > usedBytes ? limit - usedBytes : 0n;
  }
  const allocatedBytes = promised + otherBytes;
  const unpromised = totalBytes - reserved - allocatedBytes;
  const unwritten = freeBytes - reserved / 2n - outstanding;
  const availableBytes = unpromised < unwritten ? unpromised : unwritten;
  return { totalBytes, allocatedBytes, availableBytes: availableBytes > 0n ? availableBytes : 0n };
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
