import {
  addressBits,
  type Cidr,
  cidrContains,
  cidrSize,
  formatAddress,
  formatCidr,
  type IpAddress,
  type IpFamily,
  parseAddress,
} from './cidr.ts';
import { Fault } from '../fault.ts';

/** Options of an address allocator. */
export interface AllocatorOptions {
  readonly ranges: readonly Cidr[];
  /**
   * How long a released address is not reused, so that peers forget its last owner. Conntrack keeps
   * an unanswered SYN for 120 s (nf_conntrack_tcp_timeout_syn_sent).
   */
  readonly cooldownMs: number;
}

/** Numbers of addresses of one family. */
export interface AddressCounts {
  readonly family: IpFamily;
  readonly total: bigint;
  readonly inUse: number;
  readonly cooling: number;
}

/**
 * Allocates pod addresses: one of each family with a range, round robin, never one in its cooldown.
 * It has no clock and stores nothing; its owner restores it from the records of attachments.
 */
export class AddressAllocator {
  /** Addresses in use or in cooldown are tracked for both families, with or without ranges. */
  readonly #all: readonly FamilyPool[];

  constructor({ ranges, cooldownMs }: AllocatorOptions) {
    this.#all = ([4, 6] as const).map((family) => new FamilyPool(family, cooldownMs));
    this.setRanges(ranges);
  }

  /**
   * Allocates from these ranges from now on. Addresses in use or in cooldown stay so, also in a
   * range that was removed or is added again.
   */
  setRanges(ranges: readonly Cidr[]): void {
    for (const pool of this.#all) pool.setRanges(ranges.filter(({ family }) => family === pool.family));
  }

  /**
   * Allocates one address of each family, in canonical form. `requested` fixes those of its
   * families. Throws `exhausted`, `invalid` (outside the ranges), `conflict` (in use) or
   * `unavailable` (no range), and then has allocated nothing.
   */
  allocate(nowMs: number, requested: readonly string[] = []): readonly string[] {
    if (this.#families.length === 0) {
      throw new Fault('unavailable', 'this node has no pod address range yet');
    }
    const wanted = new Map<FamilyPool, IpAddress>();
    for (const text of requested) {
      const address = parseAddress(text);
      const pool = this.#families.find((candidate) => address !== undefined && candidate.contains(address));
      if (address === undefined || pool === undefined) {
        const ranges = this.#families.map(({ name }) => name).join(', ');
        throw new Fault('invalid', `requested address ${text} is not usable in the pod ranges ${ranges}`, {
          fields: { address: text },
        });
      }
      if (wanted.has(pool)) {
        throw new Fault(
          'invalid',
          `two IPv${pool.family} addresses are requested (${text} is the second); a pod has one per family`,
        );
      }
      wanted.set(pool, address);
    }
    const chosen = this.#families.map((pool) => {
      const request = wanted.get(pool);
      return { pool, value: request === undefined ? pool.choose(nowMs) : pool.claim(request) };
    });
    return chosen.map(({ pool, value }) => pool.take(value));
  }

  /** Marks an address as in use by an attachment, inside the ranges or not. */
  restore(address: string): void {
    this.#pool(address)?.take(valueOf(address));
  }

  /** Releases an address; its cooldown begins at `releasedAtMs`. Unknown addresses are ignored. */
  release(address: string, releasedAtMs: number): void {
    this.#pool(address)?.release(valueOf(address), releasedAtMs);
  }

  /** Releases an address that was never in use, without a cooldown. */
  cancel(address: string): void {
    this.#pool(address)?.cancel(valueOf(address));
  }

  /** Returns the counts per family at `nowMs`. */
  counts(nowMs: number): readonly AddressCounts[] {
    return this.#families.map((pool) => pool.counts(nowMs));
  }

  /** Families with ranges. */
  get #families(): readonly FamilyPool[] {
    return this.#all.filter(({ hasRanges }) => hasRanges);
  }

  #pool(address: string): FamilyPool | undefined {
    const parsed = parseAddress(address);
    return parsed && this.#all.find(({ family }) => family === parsed.family);
  }
}

function valueOf(address: string): bigint {
  return parseAddress(address)?.value ?? 0n;
}

/** The usable part of a block: without the network and broadcast addresses, where it has them. */
interface Span {
  readonly first: bigint;
  readonly size: bigint;
}

function usable(range: Cidr): Span {
  const size = cidrSize(range);
  const hostBits = addressBits(range.family) - range.prefix;
  if (hostBits < 2) return { first: range.base, size };
  // IPv6 has no broadcast address, but the first address is the subnet-router anycast (RFC 4291
  // 2.6.1).
  return { first: range.base + 1n, size: range.family === 4 ? size - 2n : size - 1n };
}

class FamilyPool {
  readonly family: IpFamily;
  #ranges: readonly Cidr[] = [];
  #spans: readonly Span[] = [];
  #total = 0n;
  readonly #cooldownMs: number;
  readonly #used = new Set<bigint>();
  /** Release times, oldest first. */
  readonly #cooling = new Map<bigint, number>();
  #next = 0n;

  constructor(family: IpFamily, cooldownMs: number) {
    this.family = family;
    this.#cooldownMs = cooldownMs;
  }

  get name(): string {
    return this.#ranges.map(formatCidr).join(' + ');
  }

  get hasRanges(): boolean {
    return this.#ranges.length > 0;
  }

  setRanges(ranges: readonly Cidr[]): void {
    if (ranges.map(formatCidr).join() === this.#ranges.map(formatCidr).join()) return;
    this.#ranges = ranges;
    this.#spans = ranges.map(usable);
    this.#total = this.#spans.reduce((sum, { size }) => sum + size, 0n);
    this.#next = 0n;
  }

  contains(address: IpAddress): boolean {
    return (
      this.#ranges.some((range) => cidrContains(range, address)) &&
      this.#spans.some(({ first, size }) => address.value >= first && address.value < first + size)
    );
  }

  /**
   * Returns the next free address after the last allocated one. Checks at most used + cooling + 1
   * candidates.
   */
  choose(nowMs: number): bigint {
    this.#expire(nowMs);
    const attempts = BigInt(this.#used.size + this.#cooling.size + 1);
    for (let step = 0n; step < attempts && step < this.#total; step += 1n) {
      const position = (this.#next + step) % this.#total;
      const value = this.#at(position);
      if (this.#used.has(value) || this.#cooling.has(value)) continue;
      this.#next = (position + 1n) % this.#total;
      return value;
    }
    throw this.#exhausted(nowMs);
  }

  /** Claims a requested address, also during its cooldown: its requester knows its last owner. */
  claim(address: IpAddress): bigint {
    if (this.#used.has(address.value)) {
      const text = formatAddress(address);
      throw new Fault('conflict', `requested address ${text} is in use by another pod`, {
        fields: { address: text },
      });
    }
    return address.value;
  }

  take(value: bigint): string {
    this.#cooling.delete(value);
    this.#used.add(value);
    return formatAddress({ family: this.family, value });
  }

  release(value: bigint, releasedAtMs: number): void {
    this.#used.delete(value);
    this.#cooling.delete(value);
    this.#cooling.set(value, releasedAtMs);
  }

  cancel(value: bigint): void {
    this.#used.delete(value);
  }

  counts(nowMs: number): AddressCounts {
    this.#expire(nowMs);
    return {
      family: this.family,
      total: this.#total,
      inUse: this.#within(this.#used.keys()).length,
      cooling: this.#within(this.#cooling.keys()).length,
    };
  }

  /** Those in the current ranges. */
  #within(values: Iterable<bigint>): bigint[] {
    return [...values].filter((value) => this.contains({ family: this.family, value }));
  }

  #at(position: bigint): bigint {
    let rest = position;
    for (const { first, size } of this.#spans) {
      if (rest < size) return first + rest;
      rest -= size;
    }
    throw new Fault('bug', `position ${position} is outside ${this.name}`);
  }

  #expire(nowMs: number): void {
    for (const [value, releasedAtMs] of this.#cooling) {
      if (nowMs - releasedAtMs >= this.#cooldownMs) this.#cooling.delete(value);
    }
  }

  #exhausted(nowMs: number): Fault {
    const used = this.#within(this.#used.keys()).length;
    const resting = this.#within(this.#cooling.keys());
    const cooling = resting.length;
    const waits = resting.map((value) => (this.#cooling.get(value) ?? 0) + this.#cooldownMs - nowMs);
    const next = cooling === 0 ? '' : ` (the next one is free in ${Math.ceil(Math.min(...waits) / 1000)} s)`;
    return new Fault(
      'exhausted',
      `pod range ${this.name} has no free address: ${this.#total} addresses, ${used} in use, ${cooling} in cooldown${next}; ` +
        'delete pods or add a range',
      { fields: { range: this.name, total: this.#total, inUse: used, cooling } },
    );
  }
}
