import { expect, it } from 'vitest';
import { pinnedBytes, pinsOfCopy, planLimit } from './volume-quota.ts';

it('pins what was charged when the copy was taken, and what its parent shares with others', () => {
  const grandchild = pinsOfCopy({ id: 'child', pins: pinsOfCopy({ id: 'root', pins: {} }, 10n) }, 3n);
  expect(grandchild).toEqual({ root: 10n, child: 3n });
});

it('allows a pinned volume its whole size once more under simple quotas, and not under classic ones', () => {
  expect(planLimit('simple', 100n, 30n)).toBe(130n);
  expect(planLimit('classic', 100n, 30n)).toBe(100n);
});

it('counts the largest pin only, for it was charged with all earlier ones in it', () => {
  const holders = [
    { id: 's1', pins: { v: 10n } },
    { id: 's2', pins: { v: 25n, w: 1n } },
  ];
  expect(pinnedBytes(holders)).toEqual(
    new Map([
      ['v', 25n],
      ['w', 1n],
    ]),
  );
});

it('has no pin left when the copies are gone', () => {
  expect(pinnedBytes([]).get('v')).toBeUndefined();
});
