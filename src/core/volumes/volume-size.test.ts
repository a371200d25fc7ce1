import { describe, expect, it } from 'vitest';
import { DEFAULT_VOLUME_BYTES, fitsRange, MIN_VOLUME_BYTES, planExpansion, planSize } from './volume-size.ts';

const MIB = 1n << 20n;
const range = (requiredBytes: bigint, limitBytes: bigint) => ({ requiredBytes, limitBytes });

describe('the size of a new volume', () => {
  it.each([
    ['exactly what is required', 5_000_001n, 0n, 0n, 5_000_001n],
    ['what is required even where more is allowed', 5n * MIB, 9n * MIB, 0n, 5n * MIB],
    ['what is required when it is also the limit', 5n * MIB, 5n * MIB, 0n, 5n * MIB],
    ['a default when nothing is asked', 0n, 0n, 0n, DEFAULT_VOLUME_BYTES],
    ['the limit when the default is above it', 0n, 5n * MIB, 0n, 5n * MIB],
    ['the least possible when less is required', 1n, 0n, 0n, MIN_VOLUME_BYTES],
    ["the source's when nothing is asked", 0n, 0n, 7n * MIB, 7n * MIB],
    ['more than the source when that is required', 9n * MIB, 0n, 7n * MIB, 9n * MIB],
    ['beyond what a double can count', 2n ** 62n + 1n, 0n, 0n, 2n ** 62n + 1n],
  ])('is %s', (_, required, limit, source, expected) => {
    expect(planSize(range(required, limit), source)).toBe(expected);
  });

  it.each([
    ['a limit below the requirement', 'invalid', 5n, 4n, 0n],
    ['a negative size', 'invalid', -1n, 0n, 0n],
    ['a limit that no volume fits', 'out-of-range', 0n, 1n, 0n],
    ['less than the source', 'out-of-range', 5n * MIB, 0n, 7n * MIB],
    ['a limit below the source', 'out-of-range', 0n, 5n * MIB, 7n * MIB],
  ])('refuses %s as %s', (_, kind, required, limit, source) => {
    expect(() => planSize(range(required, limit), source)).toThrow(expect.objectContaining({ kind }));
  });
});

describe('the size after expansion', () => {
  it.each([
    ['grows to what is required', 9n * MIB, 0n, 9n * MIB],
    ['never shrinks', 3n * MIB, 0n, 5n * MIB],
    ['stays with a limit alone', 0n, 9n * MIB, 5n * MIB],
  ])('%s', (_, required, limit, expected) => {
    expect(planExpansion(range(required, limit), 5n * MIB)).toBe(expected);
  });

  it('refuses a limit below what the volume has', () => {
    expect(() => planExpansion(range(0n, 4n * MIB), 5n * MIB)).toThrow(
      expect.objectContaining({ kind: 'out-of-range' }),
    );
  });

  it('refuses an empty range', () => {
    expect(() => planExpansion(range(0n, 0n), 5n)).toThrow(expect.objectContaining({ kind: 'invalid' }));
  });
});

it('accepts an existing volume whose size is within the range', () => {
  expect(fitsRange(5n, range(5n, 5n))).toBe(true);
  expect(fitsRange(5n, range(6n, 0n))).toBe(false);
  expect(fitsRange(5n, range(0n, 4n))).toBe(false);
});
