import { describe, expect, it } from 'vitest';
import {
  addressBytes,
  addressFromBytes,
  cidrContains,
  cidrsOverlap,
  formatAddress,
  formatCidr,
  parseAddress,
  parseCidr,
} from './cidr.ts';

const canonical = (text: string): string | undefined => {
  const address = parseAddress(text);
  return address === undefined ? undefined : formatAddress(address);
};
const block = (text: string): NonNullable<ReturnType<typeof parseCidr>> => {
  const cidr = parseCidr(text);
  if (cidr === undefined) throw new Error(text);
  return cidr;
};

describe('addresses', () => {
  it.each([
    ['10.88.0.1', '10.88.0.1'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['FD00:0:0:0:0:0:0:A', 'fd00::a'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['fd00::10.0.0.1', 'fd00::a00:1'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ])('%s is written %s', (text, expected) => {
    expect(canonical(text)).toBe(expected);
  });

  it.each([
    '',
    '10.88.0',
    '10.88.0.256',
    '010.88.0.1',
    '10.88.0.1/24',
    '1::2::3',
    '12345::',
    '1:2:3:4:5:6:7',
    ':::',
    'fe80::1%eth0',
    '1:2:3:4:5:6:7:8::',
  ])('%j is not an address', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });

  it('survives the way through bytes', () => {
    for (const text of ['10.88.0.7', 'fd00:1::ff']) {
      const address = parseAddress(text);
      if (address === undefined) throw new Error(text);
      expect(addressFromBytes(addressBytes(address))).toEqual(address);
    }
  });
});

describe('blocks', () => {
  it('drops host bits', () => {
    expect(formatCidr(block('10.88.3.9/16'))).toBe('10.88.0.0/16');
    expect(formatCidr(block('fd00::99/64'))).toBe('fd00::/64');
  });

  it.each(['10.88.0.0', '10.88.0.0/33', 'fd00::/129', '/24', 'x/8', '10.0.0.0/-1'])(
    '%j is not a block',
    (text) => {
      expect(parseCidr(text)).toBeUndefined();
    },
  );

  it('knows its members and its overlaps, within one family', () => {
    expect(cidrContains(block('10.88.0.0/24'), { family: 4, value: 0x0a5800ffn })).toBe(true);
    expect(cidrContains(block('10.88.0.0/24'), { family: 4, value: 0x0a580100n })).toBe(false);
    expect(cidrContains(block('::/0'), { family: 4, value: 1n })).toBe(false);
    expect(cidrsOverlap(block('10.88.0.0/16'), block('10.88.7.0/24'))).toBe(true);
    expect(cidrsOverlap(block('10.88.0.0/24'), block('10.88.1.0/24'))).toBe(false);
  });
});
