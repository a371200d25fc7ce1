/** An IP version. */
export type IpFamily = 4 | 6;

/** An IP address as a number of its family. */
export interface IpAddress {
  readonly family: IpFamily;
  readonly value: bigint;
}

/** An address block; `base` has no bit set beyond `prefix`. */
export interface Cidr {
  readonly family: IpFamily;
  readonly base: bigint;
  readonly prefix: number;
}

/** 32 or 128. */
export function addressBits(family: IpFamily): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/** Parses an address; undefined for anything else. Zones (`%eth0`) are not addresses. */
export function parseAddress(text: string): IpAddress | undefined {
  const value = text.includes(':') ? parseIpv6(text) : parseIpv4(text);
  return value === undefined ? undefined : { family: text.includes(':') ? 6 : 4, value };
}

function parseIpv4(text: string): bigint | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  let value = 0n;
  for (const octet of match.slice(1)) {
    // A leading zero means octal to some parsers and decimal to others: rejected.
    if (Number(octet) > 255 || (octet.length > 1 && octet.startsWith('0'))) return undefined;
    value = (value << 8n) | BigInt(octet);
  }
  return value;
}

function parseIpv6(text: string): bigint | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? '');
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '') : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  return groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}

function parseGroups(text: string): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const words = text.split(':');
  for (const [position, word] of words.entries()) {
    if (position === words.length - 1 && word.includes('.')) {
      const embedded = parseIpv4(word);
      if (embedded === undefined) return undefined;
      groups.push(Number(embedded >> 16n), Number(embedded & 0xffffn));
    } else {
      if (!/^[0-9a-f]{1,4}$/i.test(word)) return undefined;
      groups.push(Number.parseInt(word, 16));
    }
  }
  return groups;
}

/** Formats an address canonically (RFC 5952 for IPv6), so that texts can be compared. */
export function formatAddress({ family, value }: IpAddress): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 0xffn)).join('.');
  const groups = Array.from({ length: 8 }, (_, i) =>
    ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16),
  );
  const { start, length } = longestZeroRun(groups);
  if (length < 2) return groups.join(':');
  return `${groups.slice(0, start).join(':')}::${groups.slice(start + length).join(':')}`;
}

function longestZeroRun(groups: readonly string[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let length = 0;
  for (const [position, group] of groups.entries()) {
    length = group === '0' ? length + 1 : 0;
    if (length > best.length) best = { start: position - length + 1, length };
  }
  return best;
}

/** Network-order bytes of an address, 4 or 16. */
export function addressBytes({ family, value }: IpAddress): Uint8Array {
  const length = addressBits(family) / 8;
  return Uint8Array.from({ length }, (_, i) => Number((value >> BigInt(8 * (length - 1 - i))) & 0xffn));
}

/** Returns the address of 4 or 16 network-order bytes. */
export function addressFromBytes(bytes: Uint8Array): IpAddress {
  const value = bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return { family: bytes.length === 4 ? 4 : 6, value };
}

/** Parses a block, without its host bits; undefined for anything else. */
export function parseCidr(text: string): Cidr | undefined {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const address = parseAddress(match?.[1] ?? '');
  const prefix = Number(match?.[2]);
  if (address === undefined || prefix > addressBits(address.family)) return undefined;
  const hostBits = BigInt(addressBits(address.family) - prefix);
  return { family: address.family, base: (address.value >> hostBits) << hostBits, prefix };
}

/** Formats `10.88.0.0/24`. */
export function formatCidr({ family, base, prefix }: Cidr): string {
  return `${formatAddress({ family, value: base })}/${prefix}`;
}

/** Number of addresses of the block, usable or not. */
export function cidrSize({ family, prefix }: Cidr): bigint {
  return 1n << BigInt(addressBits(family) - prefix);
}

/** Whether the block contains the address. */
export function cidrContains(cidr: Cidr, { family, value }: IpAddress): boolean {
  return family === cidr.family && value >= cidr.base && value < cidr.base + cidrSize(cidr);
}

/** Whether two blocks share an address. */
export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  return a.family === b.family && a.base < b.base + cidrSize(b) && b.base < a.base + cidrSize(a);
}
