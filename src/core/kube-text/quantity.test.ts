import { expect, test } from 'vitest';
import { formatBytes, formatQuantity, parseQuantity } from './quantity.ts';

test.each([
  ['4096', 4096n],
  ['1Ki', 1024n],
  ['10GiB', 10n * 2n ** 30n],
  ['1.5G', 1_500_000_000n],
  ['0.1Ki', 103n],
  ['500M', 500_000_000n],
  ['8589934592Gi', 8589934592n * 2n ** 30n],
])('%s is %s bytes', (text, bytes) => {
  expect(parseQuantity(text, 'size')).toBe(bytes);
});

test.each(['', '-1', '1e3', 'ten', '1 Xi', '1.Gi', '0x10'])(
  '%j is refused and the field is named',
  (text) => {
    expect(() => parseQuantity(text, 'pools[0].source.size')).toThrow(/pools\[0\]\.source\.size/);
  },
);

test.each([
  [512n, '512 B'],
  [2n ** 30n, '1 GiB'],
  [12_025_908_428n, '11.1 GiB'],
  [1023n * 1024n, '1023 KiB'],
])('%s bytes read as %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  [0n, '0'],
  [10n << 30n, '10Gi'],
  [1536n << 20n, '1536Mi'],
  [4097n, '4097'],
])('%s bytes are held as %s, exact to the byte', (bytes, text) => {
  expect(formatQuantity(bytes)).toBe(text);
  expect(parseQuantity(text, 'size')).toBe(bytes);
});
