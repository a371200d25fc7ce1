import { describe, expect, it } from 'vitest';
import {
  type BlockRange,
  changedRanges,
  clipExtents,
  type DataExtent,
  type ExtentList,
  joinRanges,
  splitByData,
} from './block-map.ts';

const range = (start: number, end: number): BlockRange => ({ start: BigInt(start), end: BigInt(end) });
const extent = (start: number, end: number, physical?: number): DataExtent => ({
  ...range(start, end),
  physical: physical === undefined ? undefined : BigInt(physical),
});
const list = (end: number, ...extents: DataExtent[]): ExtentList => ({ ...range(0, end), extents });

describe('the difference of two files', () => {
  it.each([
    ['nothing where both share all', [extent(0, 100, 500)], [extent(0, 100, 500)], []],
    ['nothing where both are zeros', [], [], []],
    ['all that is somewhere else', [extent(0, 100, 500)], [extent(0, 100, 900)], [range(0, 100)]],
    ['what is new', [], [extent(10, 20, 500)], [range(10, 20)]],
    ['what has become zeros', [extent(10, 20, 500)], [], [range(10, 20)]],
    [
      'the middle alone, where it was written again',
      [extent(0, 100, 500)],
      [extent(0, 40, 500), extent(40, 50, 900), extent(50, 100, 550)],
      [range(40, 50)],
    ],
    [
      'nothing if the same data is listed in other extents',
      [extent(0, 100, 500)],
      [extent(0, 40, 500), extent(40, 100, 540)],
      [],
    ],
    ['the same data at another place', [extent(0, 10, 500)], [extent(10, 20, 500)], [range(0, 20)]],
    ['whatever has no place of its own', [extent(0, 10)], [extent(0, 10)], [range(0, 10)]],
  ])('is %s', (_, base, target, expected) => {
    expect(changedRanges(list(100, ...base), list(100, ...target))).toEqual(expected);
  });
});

it('clips a list at an end', () => {
  const whole = list(100, extent(0, 40, 500), extent(60, 90, 900));
  expect(clipExtents(whole, 100n)).toEqual(whole);
  expect(clipExtents(whole, 70n)).toEqual(list(70, extent(0, 40, 500), extent(60, 70, 900)));
  expect(clipExtents(whole, 60n)).toEqual(list(60, extent(0, 40, 500)));
});

it('splits a range into data and zeros', () => {
  const data = list(100, extent(10, 20, 1), extent(20, 30, 9), extent(50, 60, 3));
  const pieces = (start: number, end: number): string =>
    splitByData(range(start, end), data)
      .map(({ start: from, end: to, isData }) => `${isData ? 'data' : 'zeros'} ${from}-${to}`)
      .join(', ');
  expect(pieces(0, 100)).toBe('zeros 0-10, data 10-20, data 20-30, zeros 30-50, data 50-60, zeros 60-100');
  expect(pieces(15, 55)).toBe('data 15-20, data 20-30, zeros 30-50, data 50-55');
  expect(pieces(70, 80)).toBe('zeros 70-80');
});

it('joins ranges that touch', () => {
  expect(joinRanges([range(0, 10), range(10, 20), range(30, 40)])).toEqual([range(0, 20), range(30, 40)]);
  expect(joinRanges([])).toEqual([]);
});
