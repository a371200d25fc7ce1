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
  ['whose data is lost', { phase: 'Lost' }, 'lost'],
  ['whose node does not exist', { nodeExists: false }, 'node-not-found'],
  ['whose PersistentVolume was deleted', { ownerPhase: undefined, claimExists: false }, 'retained'],
  ['whose claim was deleted under policy Retain', { ownerPhase: 'Released', claimExists: false }, 'retained'],
  [
    'without a PersistentVolume and a claim',
    { ownerPhase: undefined, isPublished: false, claimExists: false },
    'unreferenced',
  ],
  [
    'that is being created',
    { phase: 'Pending', isPublished: false, ownerPhase: undefined, ageSeconds: 5 },
    undefined,
  ],
  [
    'that is pending for too long',
    { phase: 'Pending', isPublished: false, ownerPhase: undefined },
    'pending',
  ],
  ['that is being deleted', { isDeleting: true, ageSeconds: 5 }, undefined],
  ['that is being deleted for too long', { isDeleting: true }, 'deleting'],
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
