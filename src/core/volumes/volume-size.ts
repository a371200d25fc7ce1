import { Fault } from '../fault.ts';
import { formatBytes } from '../kube-text/quantity.ts';

/** What a caller asks for: 0 stands for "not given", as in CSI's CapacityRange. */
export interface SizeRange {
  readonly requiredBytes: bigint;
  readonly limitBytes: bigint;
}

export const ANY_SIZE: SizeRange = { requiredBytes: 0n, limitBytes: 0n };

/** Below this, a filesystem's own bookkeeping leaves no room for files. */
export const MIN_VOLUME_BYTES = 1n << 20n;
/** For a caller that does not care. */
export const DEFAULT_VOLUME_BYTES = 1n << 30n;

/**
 * The size of a new volume: exactly what is required, else what its source needs, else a default
 * within the limit. `sourceBytes` is the source's size, 0 without one; `leastBytes` is what the
 * file system needs. Throws `invalid` for a contradictory range, `out-of-range` for one that no
 * volume fits.
 */
export function planSize(range: SizeRange, sourceBytes = 0n, leastBytes = MIN_VOLUME_BYTES): bigint {
  checkRange(range);
  const { requiredBytes, limitBytes } = range;
  const fallback = sourceBytes > 0n ? sourceBytes : capped(DEFAULT_VOLUME_BYTES, limitBytes);
  const wanted = requiredBytes > 0n ? requiredBytes : fallback;
  const sizeBytes = wanted < leastBytes ? leastBytes : wanted;
  if (sizeBytes < sourceBytes) {
    throw new Fault(
      'out-of-range',
      `the volume wants ${formatBytes(sizeBytes)}, but its source has ${formatBytes(sourceBytes)}; ask for that or more`,
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
 * The size of an existing volume after expansion: it never shrinks. Throws `invalid` without a
 * range, `out-of-range` when the limit is below what it has.
 */
export function planExpansion(range: SizeRange, currentBytes: bigint): bigint {
  checkRange(range);
  const { requiredBytes, limitBytes } = range;
  if (requiredBytes === 0n && limitBytes === 0n) {
    throw new Fault('invalid', 'no size is given; say how many bytes the volume should have');
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

/** Whether an existing volume of `sizeBytes` is what a caller with `range` means. */
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
