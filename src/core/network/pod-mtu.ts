import type { Cidr } from './cidr.ts';
import { Fault } from '../fault.ts';

const LEAST = { 4: 576, 6: 1280 } as const;

/** Parses the configured MTU of pods; undefined for `auto`. Throws `invalid` for an invalid one. */
export function parseMtu(mtu: 'auto' | number, ranges: readonly Cidr[]): number | undefined {
  if (mtu === 'auto') return undefined;
  const least = leastMtu(ranges);
  if (Number.isInteger(mtu) && mtu >= least && mtu <= 65_535) return mtu;
  throw new Fault('invalid', `network.mtu is ${mtu}; expected "auto" or a number from ${least} to 65535`, {
    fields: { field: 'network.mtu' },
  });
}

/** Returns the minimum MTU of the families of these ranges (RFC 791, RFC 8200). */
export function leastMtu(ranges: readonly Cidr[]): number {
  return LEAST[ranges.some(({ family }) => family === 6) ? 6 : 4];
}
