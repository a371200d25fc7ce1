import { describe, expect, it } from 'vitest';
import { checkRoom, metadataBytes, parseReserve, poolCapacity } from './pool-capacity.ts';

const GIB = 1n << 30n;
const usage = { totalBytes: 100n * GIB, freeBytes: 100n * GIB, volumes: new Map(), otherBytes: 0n };

describe('the capacity of a pool', () => {
  it('is all but the reserve when it is empty', () => {
    expect(poolCapacity(usage).availableBytes).toBe(95n * GIB);
  });

  it('counts a volume with its limit, not with its usage', () => {
    const volumes = new Map([['v', { usedBytes: GIB, limitBytes: 10n * GIB }]]);
    expect(poolCapacity({ ...usage, volumes }).availableBytes).toBe(85n * GIB);
  });

  it('counts a volume above its limit with its usage', () => {
    const volumes = new Map([['v', { usedBytes: 12n * GIB, limitBytes: 10n * GIB }]]);
    expect(poolCapacity({ ...usage, volumes }).allocatedBytes).toBe(12n * GIB);
  });

  it('counts snapshots and extents of deleted volumes', () => {
    expect(poolCapacity({ ...usage, otherBytes: 20n * GIB }).availableBytes).toBe(75n * GIB);
  });

  it('is bounded by free space that is not promised to a volume', () => {
    const volumes = new Map([['v', { usedBytes: 0n, limitBytes: 10n * GIB }]]);
    expect(poolCapacity({ ...usage, freeBytes: 30n * GIB, volumes }).availableBytes).toBe(
      30n * GIB - 10n * GIB - (5n * GIB) / 2n,
    );
  });

  it('leaves the reserve out, as a size or as a share', () => {
    const policy = { overcommitPercent: 100 };
    const bytes = { kind: 'bytes', bytes: 10n * GIB } as const;
    const percent = { kind: 'percent', percent: 20 } as const;
    expect(poolCapacity(usage, { ...policy, reserve: bytes }).availableBytes).toBe(85n * GIB);
    expect(poolCapacity(usage, { ...policy, reserve: percent }).promisableBytes).toBe(75n * GIB);
  });

  it('is scaled by overcommit, if it is positive', () => {
    const policy = { reserve: parseReserve('5Gi', 'reserve'), overcommitPercent: 200 };
    expect(poolCapacity(usage, policy)).toMatchObject({
      promisableBytes: 180n * GIB,
      availableBytes: 180n * GIB,
    });
    expect(poolCapacity({ ...usage, freeBytes: 7n * GIB }, policy).availableBytes).toBe(0n);
  });

  it('is never negative', () => {
    expect(poolCapacity({ ...usage, otherBytes: 200n * GIB }).availableBytes).toBe(0n);
  });
});

it('keeps a twentieth, at least 64 MiB, at most half', () => {
  expect(metadataBytes(100n * GIB)).toBe(5n * GIB);
  expect(metadataBytes(256n << 20n)).toBe(64n << 20n);
  expect(metadataBytes(100n << 20n)).toBe(50n << 20n);
});

it('names the request and the available space when the pool is full', () => {
  const capacity = { totalBytes: GIB, promisableBytes: GIB, allocatedBytes: 0n, availableBytes: GIB };
  expect(() => checkRoom('fast', 2n * GIB, capacity, 'volume a')).toThrow(
    expect.objectContaining({
      kind: 'exhausted',
      message: 'volume a needs 2 GiB; pool fast has 1 GiB available',
    }),
  );
  expect(() => checkRoom('fast', GIB, capacity, 'volume a')).not.toThrow();
});
