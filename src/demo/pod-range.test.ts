import { expect, test } from 'vitest';
import { isFault } from '../core/fault.ts';
import { choosePodRange } from './pod-range.ts';

test.each([
  ['nothing', [], 0, '10.88.0.0/24'],
  ['a default route', ['default', '0.0.0.0/0'], 0, '10.88.0.0/24'],
  ['a host route inside the first', ['10.88.0.7'], 0, '10.88.1.0/24'],
  ['a block over many', ['10.88.0.0/16'], 5, '10.89.0.0/24'],
  ['IPv6 alone', ['fd00::/8'], 257, '10.89.1.0/24'],
  ['what follows the last', ['10.103.255.0/24'], 4095, '10.88.0.0/24'],
])('with %s taken, a free range is chosen', (_, taken, seed, expected) => {
  expect(choosePodRange(taken, seed)).toBe(expected);
});

test('throws if every candidate is routed', () => {
  expect(() => choosePodRange(['10.0.0.0/8'], 0)).toThrow(
    expect.toSatisfy((error: unknown) => isFault(error, 'exhausted')),
  );
});
