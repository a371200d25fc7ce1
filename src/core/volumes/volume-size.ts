import { Fault } from '../fault.ts';
import { formatBytes } from '../kube-text/quantity.ts';

/** A requested size; 0 is unset, as in CSI's CapacityRange. */
export interface SizeRange {
  readonly requiredBytes: bigint;
  readonly limitBytes: bigint;
}

/** A range without a requested size. */
export const ANY_SIZE: SizeRange = { requiredBytes: 0n, limitBytes: 0n };

/** Smaller volumes have no usable space besides metadata. */
export const MIN_VOLUME_BYTES = 1n << 20n;
/** Size of a volume without a requested size. */
export const DEFAULT_VOLUME_BYTES = 1n << 30n;

/**
 * Returns the size of a new volume: the required size, or that of its source, or a default within
 * the limit. `sourceBytes` is 0 without a source; `leastBytes` is the file system's minimum. Throws
 * `invalid` for a contradictory range, `out-of-range` for one that no volume fits.
 */
export function planSize(range: SizeRange, sourceBytes = 0n, leastBytes = MIN_VOLUME_BYTES): bigint {
  checkRange(range);
  const { requiredBytes, limitBytes } = range;
  const fallback = sourceBytes > 0n ? sourceBytes : capped(DEFAULT_VOLUME_BYTES, limitBytes);
  const requested = requiredBytes > 0n ? requiredBytes : fallback;
  const sizeBytes = requested < leastBytes ? leastBytes : requested;
  if (sizeBytes < sourceBytes) {
    throw new Fault(
      'out-of-range',
      `the requested size is ${formatBytes(sizeBytes)}, but the source has ${formatBytes(sourceBytes)}; request that or more`,
      { fields: { sizeBytes, sourceBytes } },
    );
  }
  if (limitBytes > 0n && sizeBytes > limitBytes) {
    throw new Fault(
      'out-of-range',
      `the volume needs at least ${formatBytes(sizeBytes)}, but its limit is ${formatBytes(limitBytes)}`,
      { fields: { sizeBytes, limitBytes } },
    );
  }
  return sizeBytes;
}

/**
 * Returns the size of a volume after expansion, which never shrinks it. Throws `invalid` without a
 * size, `out-of-range` for a limit below the current size.
 */
export function planExpansion(range: SizeRange, currentBytes: bigint): bigint {
  checkRange(range);
  const { requiredBytes, limitBytes } = range;
  if (requiredBytes === 0n && limitBytes === 0n) {
    throw new Fault('invalid', 'no size is given; set required_bytes or limit_bytes');
  }
  if (limitBytes > 0n && currentBytes > limitBytes) {
    throw new Fault(
      'out-of-range',
      `the volume already has ${formatBytes(currentBytes)}, above the limit of ${formatBytes(limitBytes)}`,
      { fields: { currentBytes, limitBytes } },
    );
  }
  return requiredBytes > currentBytes ? requiredBytes : currentBytes;
}

/** Whether the size of an existing volume satisfies the range. */
export function fitsRange(sizeBytes: bigint, { requiredBytes, limitBytes }: SizeRange): boolean {
  return sizeBytes >= requiredBytes && (limitBytes === 0n || sizeBytes <= limitBytes);
}

function checkRange({ requiredBytes, limitBytes }: SizeRange): void {
  if (requiredBytes < 0n || limitBytes < 0n) {
    throw new Fault('invalid', `sizes must not be negative, found ${requiredBytes} and limit ${limitBytes}`);
  }
  if (limitBytes > 0n && requiredBytes > limitBytes) {
    throw new Fault(
      'invalid',
      `the required size ${formatBytes(requiredBytes)} is above the limit ${formatBytes(limitBytes)}`,
    );
  }
}

function capped(bytes: bigint, limitBytes: bigint): bigint {
  return limitBytes > 0n && limitBytes < bytes ? limitBytes : bytes;
}
