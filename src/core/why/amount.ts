import { Fault } from '../fault.ts';

/** Amounts of resources by name, in thousandths: cpu `500m` is 500n, memory `1Ki` is 1024000n. */
export type Amounts = Readonly<Record<string, bigint>>;

const FACTORS: Readonly<Record<string, readonly [numerator: bigint, denominator: bigint]>> = {
  n: [1n, 1_000_000n],
  u: [1n, 1_000n],
  m: [1n, 1n],
  '': [1_000n, 1n],
  k: [10n ** 6n, 1n],
  M: [10n ** 9n, 1n],
  G: [10n ** 12n, 1n],
  T: [10n ** 15n, 1n],
  P: [10n ** 18n, 1n],
  E: [10n ** 21n, 1n],
  Ki: [1_000n * 2n ** 10n, 1n],
  Mi: [1_000n * 2n ** 20n, 1n],
  Gi: [1_000n * 2n ** 30n, 1n],
  Ti: [1_000n * 2n ** 40n, 1n],
  Pi: [1_000n * 2n ** 50n, 1n],
  Ei: [1_000n * 2n ** 60n, 1n],
};

/**
 * Parses a resource.Quantity to thousandths, rounded up as the scheduler does. Throws `invalid` for
 * anything else.
 */
export function parseAmount(text: string): bigint {
  const match = /^\+?(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)$/.exec(text.trim());
  const [, whole = '', fraction = '', exponent = '0', suffix = ''] = match ?? [];
  const factor = FACTORS[suffix];
  if (match === null || factor === undefined || whole + fraction === '') {
    throw new Fault('invalid', `${JSON.stringify(text)} is not a quantity`);
  }
  const power = Number(exponent);
  const [numerator, denominator] = factor;
  const up = BigInt(whole + fraction) * numerator * 10n ** BigInt(Math.max(power, 0));
  const down = denominator * 10n ** BigInt(fraction.length + Math.max(-power, 0));
  return (up + down - 1n) / down;
}

/** Adds two, resource by resource. */
export function addAmounts(a: Amounts, b: Amounts): Amounts {
  const sum: Record<string, bigint> = { ...a };
  for (const [name, amount] of Object.entries(b)) sum[name] = (sum[name] ?? 0n) + amount;
  return sum;
}

/** Returns the larger of two, resource by resource. */
export function maxAmounts(a: Amounts, b: Amounts): Amounts {
  const larger: Record<string, bigint> = { ...a };
  for (const [name, amount] of Object.entries(b)) {
    if (amount > (larger[name] ?? 0n)) larger[name] = amount;
  }
  return larger;
}
