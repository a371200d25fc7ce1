import { expect, test } from 'vitest';
import { planLostNodeVolume, type LostNodeInput, type LostVolumeView } from './lost-node-volumes.ts';

const volume: LostVolumeView = {
  name: 'pvc-1',
  nodeName: 'n1',
  isSnapshot: false,
  phase: 'Ready',
  message: '',
  handle: 'vol-1',
  isDeleting: false,
  isPublished: true,
  isReleased: false,
};
const owner = { name: 'pvc-1', reclaimPolicy: 'Delete' };
const released = { ...volume, isReleased: true };
const snapshot = { ...released, isSnapshot: true };

test.each<[string, Partial<LostNodeInput>, string, string | undefined]>([
  ['a volume that is served needs nothing', {}, 'nothing', undefined],
  ['one of a silent node may be back in a minute', { node: 'unresponsive' }, 'nothing', undefined],
  ['one of a deleted node is reported, and kept', { node: 'deleted' }, 'nothing', 'NodeLost'],
  [
    'so is one that is being deleted there',
    { node: 'deleted', volume: { ...volume, isDeleting: true } },
    'nothing',
    'NodeLost',
  ],
  ['lost data is reported', { volume: { ...volume, phase: 'Lost' } }, 'nothing', 'VolumeLost'],
  ['one without an owner is kept', { owners: [] }, 'nothing', 'Retained'],
  [
    'one that never had an owner is the provisioner’s',
    { owners: [], volume: { ...volume, isPublished: false } },
    'nothing',
    undefined,
  ],
  ['nothing of a Ready node is released', { volume: released }, 'withdraw-release', 'ReleaseRefused'],
  [
    'also not while it is deleted',
    { volume: { ...released, isDeleting: true } },
    'withdraw-release',
    'ReleaseRefused',
  ],
  ['a released one waits for its claim', { volume: released, node: 'deleted' }, 'nothing', 'VolumeReleased'],
  [
    'and is deleted when it has no owner',
    { volume: released, node: 'deleted', owners: [] },
    'delete',
    'VolumeReleased',
  ],
  [
    'without waiting for its node',
    { volume: { ...released, isDeleting: true }, node: 'unresponsive' },
    'remove-finalizers',
    'VolumeReleased',
  ],
  [
    'a snapshot is pending for its content',
    { volume: snapshot, node: 'deleted' },
    'nothing',
    'VolumeReleased',
  ],
  [
    'and goes with that',
    { volume: { ...snapshot, isDeleting: true }, node: 'deleted', owners: [] },
    'remove-finalizers',
    'VolumeReleased',
  ],
  [
    'one that is not released is reported',
    { volume: { ...snapshot, isReleased: false }, node: 'deleted', owners: [] },
    'nothing',
    'NodeLost',
  ],
  [
    'what a snapshot lacks else is said of its content',
    { volume: { ...snapshot, isReleased: false, phase: 'Lost' }, owners: [] },
    'nothing',
    undefined,
  ],
])('%s', (_name, change, step, reason) => {
  const plan = planLostNodeVolume({ volume, node: 'ready', owners: [owner], ...change });
  expect([plan.do, plan.condition?.reason]).toEqual([step, reason]);
});

test('the message says what to delete', () => {
  const input: LostNodeInput = { volume: released, node: 'deleted', owners: [owner] };
  expect(planLostNodeVolume(input).condition?.message).toContain(
    'longer exists, was released: delete this claim and the pods',
  );
  const kept = { ...input, owners: [{ ...owner, reclaimPolicy: 'Retain' }] };
  expect(planLostNodeVolume(kept).condition?.message).toContain(
    'PersistentVolume pvc-1, which has policy Retain',
  );
});
