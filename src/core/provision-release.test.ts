import { expect, test } from 'vitest';
import { type PersistentVolumeView, planRelease, type ReleasedVolumeView } from './provision-release.ts';

const owner: PersistentVolumeView = {
  name: 'pvc-1',
  phase: 'Bound',
  reclaimPolicy: 'Delete',
  isDeleting: false,
  hasFinalizer: true,
  isPinned: true,
  sharers: [],
};
const released = { phase: 'Released' };
const retain = { reclaimPolicy: 'Retain' };
const volume: ReleasedVolumeView = { isDeleting: false, isPublished: true };

test.each<[string, Partial<PersistentVolumeView>, ReleasedVolumeView | undefined, string]>([
  ['a new owner is noted before anything else', {}, { ...volume, isPublished: false }, 'mark'],
  ['also one that is released already', released, { ...volume, isPublished: false }, 'mark'],
  ['one that is written by hand learns where it is', { phase: 'Available', isPinned: false }, volume, 'pin'],
  ['a bound one is left alone', {}, volume, 'nothing'],
  ['a bound one without finalizer gets it', { hasFinalizer: false }, volume, 'add-finalizer'],
  ['the data of a released one goes first', released, volume, 'delete-volume'],
  ['then its node is waited for', released, { ...volume, isDeleting: true }, 'nothing'],
  ['then it goes itself', released, undefined, 'delete-persistent-volume'],
  [
    'one that an admin deletes unbound goes too',
    { phase: 'Available', isDeleting: true },
    volume,
    'delete-volume',
  ],
  ['one that is available is kept', { phase: 'Available' }, volume, 'nothing'],
  ['deleting a bound one waits for its claim', { isDeleting: true }, volume, 'nothing'],
  ['Retain keeps the data', { ...released, ...retain, hasFinalizer: false }, volume, 'nothing'],
  ['Retain holds nobody back', { ...released, ...retain }, volume, 'remove-finalizer'],
  ['Retain holds on until the owner is noted', retain, { ...volume, isPublished: false }, 'mark'],
  [
    'a finalizer taken off by hand keeps the data',
    { ...released, isDeleting: true, hasFinalizer: false },
    volume,
    'nothing',
  ],
  ['data that two have stays', { ...released, sharers: ['other'] }, volume, 'refuse'],
])('%s', (_name, change, behind, expected) => {
  expect(planRelease({ ...owner, ...change }, behind).do).toBe(expected);
});
