import { type Cidr, cidrsOverlap, formatCidr, parseCidr } from './cidr.ts';
import { Fault } from '../fault.ts';

/** Parses a list of blocks from configuration; a fault names `field` and the index. */
export function parseCidrs(field: string, texts: readonly string[]): readonly Cidr[] {
  return texts.map((text, position) => {
    const cidr = parseCidr(text);
    if (cidr !== undefined) return cidr;
    throw invalid(
      `${field}[${position}]`,
      `is ${JSON.stringify(text)}; expected an address block such as 10.88.0.0/24`,
    );
  });
}

/** Parses the pod ranges of a node: disjoint, at least one of IPv4, each large enough for a pod. */
export function parsePodRanges(field: string, texts: readonly string[]): readonly Cidr[] {
  const ranges = parseCidrs(field, texts);
  for (const [position, range] of ranges.entries()) {
    const other = ranges.slice(0, position).find((earlier) => cidrsOverlap(earlier, range));
    if (other !== undefined) {
      throw invalid(`${field}[${position}]`, `${formatCidr(range)} overlaps ${formatCidr(other)}`);
    }
  }
  if (!ranges.some(({ family }) => family === 4)) {
    throw invalid(field, 'has no IPv4 range; add one such as 10.88.0.0/24 (IPv6 ranges are optional)');
  }
  return ranges;
}

function invalid(field: string, found: string): Fault {
  return new Fault('invalid', `${field} ${found}`, { fields: { field } });
}
