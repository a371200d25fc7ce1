import { expect, it } from 'vitest';
import { pinnedBytes, pinsOfCopy, planLimit } from './volume-quota.ts';

it('pins the charge at the time of the copy, and what its parent shares with its sources', () => {
  const grandchild = pinsOfCopy({ id: 'child', pins: pinsOfCopy({ id: 'root', pins: {} }, 10n) }, 3n);
  expect(grandchild).toEqual({ root: 10n, child: 3n });
});

it("adds pins to a volume's limit under simple quotas, not under classic ones", () => {
  expect(planLimit('simple', 100n, 30n)).toBe(130n);
  expect(planLimit('classic', 100n, 30n)).toBe(100n);
});

it('counts only the largest pin, which includes all earlier ones', () => {
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

it('has no pins without copies', () => {
  expect(pinnedBytes([]).get('v')).toBeUndefined();
});
