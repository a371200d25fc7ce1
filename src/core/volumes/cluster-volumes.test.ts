import { expect, test } from 'vitest';
import { formatAge, markVolume, type VolumeStanding } from './cluster-volumes.ts';

const STANDING: VolumeStanding = {
  phase: 'Ready',
  isSnapshot: false,
  isDeleting: false,
  isPublished: true,
  nodeExists: true,
  ownerPhase: 'Bound',
  claimExists: true,
  ageSeconds: 1_000,
};

test.each<[string, Partial<VolumeStanding>, string | undefined]>([
  ['that is in use', {}, undefined],
  ['whose data is gone', { phase: 'Lost' }, 'lost'],
  ['whose node is gone', { nodeExists: false }, 'node-gone'],
  ['whose PersistentVolume was deleted', { ownerPhase: undefined, claimExists: false }, 'kept'],
  ['whose claim was deleted under policy Retain', { ownerPhase: 'Released', claimExists: false }, 'kept'],
  ['that nothing ever had', { ownerPhase: undefined, isPublished: false, claimExists: false }, 'unowned'],
  [
    'that is being made',
    { phase: 'Pending', isPublished: false, ownerPhase: undefined, ageSeconds: 5 },
    undefined,
  ],
  ['that is not made for long', { phase: 'Pending', isPublished: false, ownerPhase: undefined }, 'unmade'],
  ['that is being deleted', { isDeleting: true, ageSeconds: 5 }, undefined],
  ['that is being deleted for long', { isDeleting: true }, 'deleting'],
  [
    'that is a snapshot',
    { isSnapshot: true, isPublished: false, ownerPhase: undefined, claimExists: false },
    undefined,
  ],
])('a volume %s', (_name, change, expected) => {
  expect(markVolume({ ...STANDING, ...change })).toBe(expected);
});

test.each([
  [17, '17s'],
  [119, '119s'],
  [300, '5m'],
  [11_520, '3h12m'],
  [7_200, '2h'],
  [400_000, '4d'],
])('%d seconds are %s', (seconds, text) => {
  expect(formatAge(seconds)).toBe(text);
});
