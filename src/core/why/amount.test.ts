import { expect, test } from 'vitest';
import { addAmounts, maxAmounts, parseAmount } from './amount.ts';

test.each([
  ['500m', 500n],
  ['2', 2_000n],
  ['0.1', 100n],
  ['1Ki', 1_024_000n],
  ['1.5Gi', 1_610_612_736_000n],
  ['128974848', 128_974_848_000n],
  ['129e6', 129_000_000_000n],
  ['1E3', 1_000_000n],
  ['1E', 10n ** 21n],
  ['100u', 1n],
])('%s is %d thousandths', (text, expected) => {
  expect(parseAmount(text)).toBe(expected);
});

test.each(['', 'm', '1.2.3', '5GiB', '-1'])('%j is refused', (text) => {
  expect(() => parseAmount(text)).toThrow('is not a quantity');
});

test('amounts add up and compare resource by resource', () => {
  expect(addAmounts({ cpu: 1n }, { cpu: 2n, memory: 3n })).toEqual({ cpu: 3n, memory: 3n });
  expect(maxAmounts({ cpu: 1n, memory: 5n }, { cpu: 2n, memory: 3n })).toEqual({ cpu: 2n, memory: 5n });
});
