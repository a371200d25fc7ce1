import { expect, test } from 'vitest';
import {
  ageOrphans,
  describeOrphan,
  type Findings,
  findOrphans,
  NO_REFERENCES,
  type Orphan,
  overdueOrphans,
} from './orphans.ts';

const volume = (
  id: string,
  more: Partial<Findings['volumes'][number]> = {},
): Findings['volumes'][number] => ({
  ...{ id, name: `name-of-${id}`, pool: 'default', staged: [], published: [] },
  ...more,
});
const found = (findings: Partial<Findings>): Findings => ({
  ...{ volumes: [], snapshots: [], orphans: [] },
  ...findings,
});
const orphan = (id: string, more: Partial<Orphan> = {}): Orphan => ({
  ...{ kind: 'volume', id, pool: 'default', name: id, isInUse: false },
  ...more,
});

test('an orphan is referenced neither by name nor by id', () => {
  const findings = found({
    volumes: [volume('v4'), volume('v1'), volume('v2'), volume('v3'), volume('v5', { ephemeral: true })],
    snapshots: [
      { id: 's1', name: 'name-of-s1', pool: 'default', group: undefined },
      { id: 's2', name: 'name-of-s2', pool: 'default', group: { id: 'g1' } },
    ],
    orphans: [
      { id: 'd1', pool: 'fast' },
      { id: 'd2', pool: 'fast' },
    ],
  });
  const asked = { names: new Set(['name-of-v1']), handles: new Set(['v2', 'g1', 'd2']) };
  expect(findOrphans(findings, asked).map((each) => describeOrphan(each))).toEqual([
    'data d1 in pool fast',
    'name-of-s1 (s1)',
    'name-of-v3 (v3)',
    'name-of-v4 (v4)',
  ]);
});

test.each([
  ['staged', { staged: ['/staging'] }],
  ['published', { published: [{ target: '/pod' }] }],
  ['promised to this node', { controllerPublication: { readonly: false } }],
])('one that is %s is in use', (_, more) => {
  expect(findOrphans(found({ volumes: [volume('v1', more)] }), NO_REFERENCES)).toMatchObject([
    { isInUse: true },
  ]);
});

test('only uninterrupted observed time counts', () => {
  let ages = ageOrphans([orphan('a'), orphan('b')], {}, 1_000);
  expect(ages).toEqual({ a: 0, b: 0 });
  ages = ageOrphans([orphan('a'), orphan('b', { isInUse: true })], ages, 10);
  expect(ages).toEqual({ a: 10 });
  ages = ageOrphans([orphan('a'), orphan('b'), orphan('constructor')], ages, 10);
  expect(ages).toEqual({ a: 20, b: 0, constructor: 0 });
  expect(ageOrphans([orphan('b')], ages, 10)).toEqual({ b: 10 });
});

test('orphans are overdue after their grace period, and groups as a whole', () => {
  const ages = { a: 100, b: 99, c: 100, d: 100, e: 50, f: 200, g: 100 };
  const orphans = [
    ...[orphan('a'), orphan('b'), orphan('f', { isInUse: true })],
    ...[orphan('c', { groupId: 'g1' }), orphan('g', { groupId: 'g1' })],
    ...[orphan('d', { groupId: 'g2' }), orphan('e', { groupId: 'g2' })],
  ];
  expect(overdueOrphans(orphans, ages, 100).map(({ id }) => id)).toEqual(['a', 'c', 'g']);
});
