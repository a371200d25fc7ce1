import { expect, test } from 'vitest';
import { DATA_FINALIZER, type LocalVolume } from '../../src/api/local-volume.ts';
import { type Copy, type Observed, planVolume } from './local-volume-plan.ts';

const GIB = 1n << 30n;
const copy: Copy = { id: 'vol-1', name: 'pvc-1', pool: 'fast', sizeBytes: GIB, createdAtMs: 0 };
const nothing: Observed = { copy: undefined, unreadable: undefined, source: undefined };

function volume(
  over: {
    readonly spec?: Partial<LocalVolume['spec']>;
    readonly status?: LocalVolume['status'];
    readonly metadata?: LocalVolume['metadata'];
  } = {},
): LocalVolume {
  return {
    metadata: { name: 'pvc-1', generation: 2, finalizers: [DATA_FINALIZER], ...over.metadata },
    spec: {
      nodeName: 'n1',
      poolName: 'fast',
      type: 'Volume',
      size: '1Gi',
      volumeMode: 'Filesystem',
      ...over.spec,
    },
    ...(over.status === undefined ? {} : { status: over.status }),
  };
}

const deleted = { deletionTimestamp: '2026-01-01T00:00:00Z' };

test.each<[string, LocalVolume, Partial<Observed>, object]>([
  [
    'nothing is made before the finalizer is there',
    volume({ metadata: { finalizers: [] } }),
    {},
    { step: 'protect' },
  ],
  ['a new volume is made', volume(), {}, { step: 'create', sizeBytes: GIB, source: undefined }],
  [
    'a clone is made from its source',
    volume({ spec: { source: { volumeName: 'pvc-0' } } }),
    { source: { kind: 'volume', id: 'vol-0' } },
    { step: 'create', source: { kind: 'volume', id: 'vol-0' } },
  ],
  [
    'a snapshot is taken of its volume',
    volume({ spec: { type: 'Snapshot', source: { volumeName: 'pvc-0' } } }),
    { source: { kind: 'volume', id: 'vol-0' } },
    { step: 'snapshot', volumeId: 'vol-0' },
  ],
  [
    'a source that is being made is waited for',
    volume(),
    { source: 'awaited' },
    { step: 'report', phase: 'Pending' },
  ],
  [
    'a source that does not exist is a failure',
    volume(),
    { source: 'missing' },
    { step: 'report', phase: 'Failed' },
  ],
  ['an existing volume is adopted', volume(), { copy }, { step: 'report-ready', copy }],
  [
    'a larger spec grows it',
    volume({ spec: { size: '2Gi' } }),
    { copy },
    { step: 'change', sizeBytes: 2n * GIB, attributes: undefined },
  ],
  ['a smaller spec changes nothing', volume({ spec: { size: '1Mi' } }), { copy }, { step: 'report-ready' }],
  [
    'a snapshot never grows',
    volume({ spec: { type: 'Snapshot', size: '2Gi' } }),
    { copy },
    { step: 'report-ready' },
  ],
  [
    'a volume in another pool is not the one that is meant',
    volume({ spec: { poolName: 'slow' } }),
    { copy },
    { step: 'report', phase: 'Failed' },
  ],
  [
    'an empty volume of that name is not taken for a restored one',
    volume({ spec: { source: { snapshotName: 'snap-0' } } }),
    { copy },
    { step: 'report', phase: 'Failed', fault: { kind: 'conflict' } },
  ],
  [
    'a restored volume is recognised after its source was deleted',
    volume({ spec: { source: { snapshotName: 'snap-0' } } }),
    { copy: { ...copy, source: { kind: 'snapshot', id: 'snap-1' } }, source: 'missing' },
    { step: 'report-ready' },
  ],
  [
    'one that was made and is not there is lost, and no empty one takes its place',
    volume({ status: { phase: 'Ready', volumeHandle: 'vol-1' } }),
    {},
    { step: 'report', phase: 'Lost' },
  ],
  [
    'one whose record cannot be read is lost too',
    volume({ status: { volumeHandle: 'vol-1' } }),
    { unreadable: 'vol-1.json: broken' },
    { step: 'report', phase: 'Lost' },
  ],
  [
    'room that turns up late makes no volume for a claim that was sent elsewhere',
    volume({ status: { phase: 'Exhausted', observedGeneration: 2 } }),
    {},
    { step: 'none' },
  ],
  [
    'a spec that changed after exhaustion is tried again',
    volume({ status: { phase: 'Exhausted', observedGeneration: 1 } }),
    {},
    { step: 'create' },
  ],
  [
    'deletion removes the data first',
    volume({ metadata: deleted }),
    { copy },
    { step: 'delete', id: 'vol-1' },
  ],
  ['deletion lets go of what has no data', volume({ metadata: deleted }), {}, { step: 'release' }],
  [
    'deletion without our finalizer is not ours',
    volume({ metadata: { ...deleted, finalizers: [] } }),
    { copy },
    { step: 'none' },
  ],
  [
    'deletion does not forget data whose record cannot be read',
    volume({ metadata: deleted, status: { volumeHandle: 'vol-1' } }),
    { unreadable: 'vol-1.json: broken' },
    { step: 'hold' },
  ],
])('%s', (_name, object, observed, plan) => {
  expect(planVolume(object, { ...nothing, ...observed })).toMatchObject(plan);
});
