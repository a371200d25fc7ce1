import type { Attachment } from '../../../src/core/network/attachment.ts';
import { type Cidr, cidrContains, formatCidr, parseAddress } from '../../../src/core/network/cidr.ts';
import { parsePodRanges } from '../../../src/core/network/ipam-ranges.ts';

/** The current pod ranges of this node; empty while unknown. */
export class PodRanges {
  #ranges: readonly Cidr[];

  /** Throws `invalid` that names `field`. */
  constructor(field: string, texts: readonly string[]) {
    this.#ranges = parseRanges(field, texts);
  }

  get current(): readonly Cidr[] {
    return this.#ranges;
  }

  /** Canonical texts of the ranges. */
  get texts(): readonly string[] {
    return this.#ranges.map(formatCidr);
  }

  /** Replaces the ranges; returns whether they changed. Throws `invalid` that names `field`. */
  replace(field: string, texts: readonly string[]): boolean {
    const former = this.texts.join();
    this.#ranges = parseRanges(field, texts);
    return former !== this.texts.join();
  }

  /** Whether the attachment has an address outside the ranges. */
  isStray({ addresses }: Pick<Attachment, 'addresses'>): boolean {
    return addresses.some((text) => {
      const address = parseAddress(text);
      return address === undefined || !this.#ranges.some((range) => cidrContains(range, address));
    });
  }
}

function parseRanges(field: string, texts: readonly string[]): readonly Cidr[] {
  return texts.length === 0 ? [] : parsePodRanges(field, texts);
}
