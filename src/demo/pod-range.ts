import { type Cidr, cidrsOverlap, formatCidr, parseCidr } from '../core/network/cidr.ts';
import { Fault } from '../core/fault.ts';

/** 10.88.0.0/24 to 10.103.255.0/24: rarely used by home networks and cluster defaults. */
const FIRST = { a: 10, b: 88 };
const CANDIDATES = 16 * 256;

/**
 * Returns a /24 that overlaps none of `taken` (routes, addresses, ranges; other text is ignored).
 * `seed` spreads concurrent runs. Throws `exhausted` if all overlap.
 */
export function choosePodRange(taken: readonly string[], seed: number): string {
  const blocks = taken
    .map((text) => parseCidr(text.includes('/') ? text : `${text}/32`))
    .filter((block) => block !== undefined);
  for (let step = 0; step < CANDIDATES; step += 1) {
    const candidate = candidateAt((seed + step) % CANDIDATES);
    if (!blocks.some((block) => block.prefix > 0 && cidrsOverlap(block, candidate)))
      return formatCidr(candidate);
  }
  throw new Fault(
    'exhausted',
    `every range from 10.88.0.0/24 to 10.103.255.0/24 overlaps a route of this machine`,
  );
}

function candidateAt(index: number): Cidr {
  const base =
    (BigInt(FIRST.a) << 24n) | (BigInt(FIRST.b + (index >> 8)) << 16n) | (BigInt(index & 0xff) << 8n);
  return { family: 4, base, prefix: 24 };
}
