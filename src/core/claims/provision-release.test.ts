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
const unprotected = { hasFinalizer: false, isPinned: false };
const retain = { reclaimPolicy: 'Retain' };
const volume: ReleasedVolumeView = { isDeleting: false, isPublished: true };

test.each<[string, Partial<PersistentVolumeView>, ReleasedVolumeView | undefined, string]>([
  ['a new owner is noted', {}, { ...volume, isPublished: false }, 'mark'],
  ['one that nothing holds before anything else', unprotected, { ...volume, isPublished: false }, 'mark'],
  ['one that goes with its data needs no note', released, { ...volume, isPublished: false }, 'delete-volume'],
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
  ['Retain blocks no deletion', { ...released, ...retain }, volume, 'remove-finalizer'],
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

test('the note of an owner can wait while the finalizer keeps it, and not with Retain or without that', () => {
  const unannotated = { ...volume, isPublished: false };
  const marks = [owner, { ...owner, ...retain }, { ...owner, hasFinalizer: false }].map((each) =>
    planRelease(each, unannotated),
  );
  expect(marks).toEqual([
    { do: 'mark', isHeld: true },
    { do: 'mark', isHeld: false },
    { do: 'mark', isHeld: false },
  ]);
});
