import { describe, expect, it } from 'vitest';
import { type Fault, isFault } from '../fault.ts';
import { AddressAllocator } from './ipam.ts';
import { parseCidrs, parsePodRanges } from './ipam-ranges.ts';

function allocator(...ranges: string[]): AddressAllocator {
  return new AddressAllocator({ ranges: parsePodRanges('ranges', ranges), cooldownMs: 120_000 });
}

function fault(work: () => unknown): Fault {
  try {
    work();
  } catch (error) {
    if (isFault(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('allocation', () => {
  it('goes round robin and leaves out the network and broadcast addresses', () => {
    const pool = allocator('10.88.0.0/29');
    const all = Array.from({ length: 6 }, () => pool.allocate(0)[0]);
    expect(all).toEqual(['10.88.0.1', '10.88.0.2', '10.88.0.3', '10.88.0.4', '10.88.0.5', '10.88.0.6']);
  });

  it('does not hand out an address that has just been released, though it is the lowest', () => {
    const pool = allocator('10.88.0.0/29');
    pool.allocate(0);
    pool.release('10.88.0.1', 0);
    expect(pool.allocate(0)).toEqual(['10.88.0.2']);
  });

  it('keeps a released address resting for the whole cooldown', () => {
    const pool = allocator('10.88.0.0/32');
    pool.allocate(0);
    pool.release('10.88.0.0', 1000);
    expect(fault(() => pool.allocate(120_999)).kind).toBe('exhausted');
    expect(pool.allocate(121_000)).toEqual(['10.88.0.0']);
  });

  it('does not let an address rest that was never used', () => {
    const pool = allocator('10.88.0.0/32');
    pool.allocate(0);
    pool.cancel('10.88.0.0');
    expect(pool.allocate(0)).toEqual(['10.88.0.0']);
  });

  it('gives one address of each family', () => {
    const pool = allocator('10.88.0.0/24', 'fd00:88::/64');
    expect(pool.allocate(0)).toEqual(['10.88.0.1', 'fd00:88::1']);
    expect(pool.allocate(0)).toEqual(['10.88.0.2', 'fd00:88::2']);
  });

  it('takes nothing when one family is exhausted', () => {
    const pool = allocator('10.88.0.0/24', 'fd00:88::/128');
    pool.allocate(0);
    expect(fault(() => pool.allocate(0)).kind).toBe('exhausted');
    expect(pool.counts(0).map(({ inUse }) => inUse)).toEqual([1, 1]);
  });

  it('walks on into the next range', () => {
    const pool = allocator('10.88.0.0/32', '10.99.0.0/31');
    expect([1, 2, 3].map(() => pool.allocate(0)[0])).toEqual(['10.88.0.0', '10.99.0.0', '10.99.0.1']);
  });

  it('says range and counts when nothing is left', () => {
    const pool = allocator('10.88.0.0/30');
    pool.allocate(0);
    pool.allocate(0);
    pool.release('10.88.0.1', 50_000);
    const { kind, message } = fault(() => pool.allocate(60_000));
    expect(kind).toBe('exhausted');
    expect(message).toContain(
      '10.88.0.0/30 has no free address: 2 addresses, 1 in use, 1 in cooldown (the next one is free in 110 s)',
    );
  });
});

describe('requested addresses', () => {
  it('are given when free, even while resting', () => {
    const pool = allocator('10.88.0.0/24', 'fd00::/64');
    expect(pool.allocate(0, ['10.88.0.77'])).toEqual(['10.88.0.77', 'fd00::1']);
    pool.release('10.88.0.77', 0);
    expect(pool.allocate(1, ['10.88.0.77'])[0]).toBe('10.88.0.77');
  });

  it.each([
    ['in use', ['10.88.0.1'], 'conflict'],
    ['outside the ranges', ['10.89.0.1'], 'invalid'],
    ['the broadcast address', ['10.88.0.255'], 'invalid'],
    ['no address', ['ten'], 'invalid'],
    ['two of one family', ['10.88.0.8', '10.88.0.9'], 'invalid'],
  ])('are refused when %s', (_, requested, kind) => {
    const pool = allocator('10.88.0.0/24');
    pool.allocate(0);
    expect(fault(() => pool.allocate(0, requested)).kind).toBe(kind);
    expect(pool.counts(0)[0]?.inUse).toBe(1);
  });
});

it('restores what living attachments hold', () => {
  const pool = allocator('10.88.0.0/29');
  pool.restore('10.88.0.1');
  pool.restore('192.168.0.1');
  expect(pool.allocate(0)).toEqual(['10.88.0.2']);
});

describe('other ranges', () => {
  it('are given from at once, and what is in use in the old ones stays so when they come back', () => {
    const pool = allocator('10.88.0.0/29');
    pool.allocate(0);
    pool.setRanges(parsePodRanges('ranges', ['10.88.1.0/29']));
    expect(pool.allocate(0)).toEqual(['10.88.1.1']);
    expect(pool.counts(0)).toEqual([{ family: 4, total: 6n, inUse: 1, cooling: 0 }]);
    pool.setRanges(parsePodRanges('ranges', ['10.88.0.0/29']));
    expect(pool.allocate(0)).toEqual(['10.88.0.2']);
    expect(pool.counts(0)[0]?.inUse).toBe(2);
  });

  it('may not be known yet', () => {
    const pool = new AddressAllocator({ ranges: [], cooldownMs: 0 });
    expect(fault(() => pool.allocate(0)).kind).toBe('unavailable');
    expect(pool.counts(0)).toEqual([]);
    pool.setRanges(parsePodRanges('ranges', ['10.88.1.0/29']));
    expect(pool.allocate(0)).toEqual(['10.88.1.1']);
  });
});

describe('configuration', () => {
  it.each([
    [['10.88.0.0/24', 'nonsense'], 'ranges[1] is "nonsense"'],
    [['10.88.0.0/16', '10.88.4.0/24'], 'ranges[1] 10.88.4.0/24 overlaps 10.88.0.0/16'],
    [['fd00::/64'], 'ranges has no IPv4 range'],
    [[], 'ranges has no IPv4 range'],
  ])('%j is refused by name', (texts, message) => {
    expect(fault(() => parsePodRanges('ranges', texts)).message).toContain(message);
  });

  it('may exclude IPv6 alone from masquerading', () => {
    expect(parseCidrs('masqueradeExclusions', ['fd00::/8'])).toHaveLength(1);
  });
});
