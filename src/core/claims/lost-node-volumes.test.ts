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
  isGivenUp: false,
};
const owner = { name: 'pvc-1', reclaimPolicy: 'Delete' };
const released = { ...volume, isGivenUp: true };
const snapshot = { ...released, isSnapshot: true };

test.each<[string, Partial<LostNodeInput>, string, string | undefined]>([
  ['a volume that serves is no news', {}, 'nothing', undefined],
  ['one of a silent node may be back in a minute', { node: 'away' }, 'nothing', undefined],
  ['one of a node that is gone is told of, and kept', { node: 'gone' }, 'nothing', 'NodeGone'],
  [
    'so is one that is being deleted there',
    { node: 'gone', volume: { ...volume, isDeleting: true } },
    'nothing',
    'NodeGone',
  ],
  ['lost data is told of', { volume: { ...volume, phase: 'Lost' } }, 'nothing', 'VolumeLost'],
  ['one without an owner is kept', { owners: [] }, 'nothing', 'Kept'],
  [
    'one that never had an owner is the provisioner’s',
    { owners: [], volume: { ...volume, isPublished: false } },
    'nothing',
    undefined,
  ],
  ['nothing of a Ready node is given up', { volume: released }, 'take-back', 'ReleaseRefused'],
  [
    'also not while it is deleted',
    { volume: { ...released, isDeleting: true } },
    'take-back',
    'ReleaseRefused',
  ],
  [
    'one that is given up waits for its claim',
    { volume: released, node: 'gone' },
    'nothing',
    'VolumeGivenUp',
  ],
  ['and goes when nobody has it', { volume: released, node: 'gone', owners: [] }, 'delete', 'VolumeGivenUp'],
  [
    'without waiting for its node',
    { volume: { ...released, isDeleting: true }, node: 'away' },
    'let-go',
    'VolumeGivenUp',
  ],
  ['a snapshot waits for its content', { volume: snapshot, node: 'gone' }, 'nothing', 'VolumeGivenUp'],
  [
    'and goes with that',
    { volume: { ...snapshot, isDeleting: true }, node: 'gone', owners: [] },
    'let-go',
    'VolumeGivenUp',
  ],
  [
    'one that nobody gives up is told of',
    { volume: { ...snapshot, isGivenUp: false }, node: 'gone', owners: [] },
    'nothing',
    'NodeGone',
  ],
  [
    'what a snapshot lacks else is said of its content',
    { volume: { ...snapshot, isGivenUp: false, phase: 'Lost' }, owners: [] },
    'nothing',
    undefined,
  ],
])('%s', (_name, change, step, reason) => {
  const plan = planLostNodeVolume({ volume, node: 'here', owners: [owner], ...change });
  expect([plan.do, plan.remark?.reason]).toEqual([step, reason]);
});

test('whoever waits is told what to delete', () => {
  const input: LostNodeInput = { volume: released, node: 'gone', owners: [owner] };
  expect(planLostNodeVolume(input).remark?.message).toContain(
    'gone, was given up: delete this claim and the pods',
  );
  const kept = { ...input, owners: [{ ...owner, reclaimPolicy: 'Retain' }] };
  expect(planLostNodeVolume(kept).remark?.message).toContain(
    'PersistentVolume pvc-1, which has policy Retain',
  );
});
