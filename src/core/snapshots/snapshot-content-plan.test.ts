import { describe, expect, test } from 'vitest';
import { SNAPSHOT_CONTENT } from '../../../test/fakes/snapshot-content.ts';
import type { ContentView } from './snapshot.ts';
import { type NodeSnapshotView, planOrphan } from './content-plan.ts';
import { planSnapshotContent, type SnapshotContentState } from './snapshot-content-plan.ts';

const content = SNAPSHOT_CONTENT;
const existing: ContentView = { ...content, volumeHandle: undefined, snapshotHandle: 'snap-1' };
const nodeSnapshot: NodeSnapshotView = {
  name: 'snapshot-1',
  nodeName: 'n1',
  poolName: 'default',
  isDeleting: false,
  phase: 'Pending',
  handle: undefined,
  createdMs: undefined,
  sizeBytes: 5n,
  message: '',
  isPublished: false,
};
const taken: NodeSnapshotView = { ...nodeSnapshot, phase: 'Ready', handle: 'snap-1', createdMs: 7_000 };
const published: NodeSnapshotView = { ...taken, isPublished: true };
const source = {
  volumeName: 'pvc-1',
  nodeName: 'n1',
  poolName: 'default',
  size: '1Gi',
  volumeMode: 'Filesystem',
} as const;
const ending = { ...content, isDeleting: true, isReleased: true };
const known = { ...content.status, handle: 'snap-1', isReady: true };

function plan(change: Partial<SnapshotContentState>): ReturnType<typeof planSnapshotContent> {
  return planSnapshotContent({
    content,
    nodeSnapshot: undefined,
    source,
    sharers: [],
    isRefused: false,
    hasNode: true,
    ...change,
  });
}

describe('the next step for a VolumeSnapshotContent', () => {
  const table: readonly (readonly [string, Partial<SnapshotContentState>, string])[] = [
    ['an intent on the node of the volume', {}, 'create'],
    ['nothing for another driver', { content: { ...content, driver: 'other.dev' } }, 'nothing'],
    ['nothing before its finalizer is there', { content: { ...content, hasFinalizer: false } }, 'nothing'],
    ['nothing when its snapshot goes already', { content: { ...content, isReleased: true } }, 'nothing'],
    ['words when no node knows the volume', { source: undefined }, 'report'],
    ['patience after a refusal', { isRefused: true }, 'nothing'],
    ['no second snapshot once its handle is known', { content: { ...content, status: known } }, 'report'],
    ['patience while the node works', { nodeSnapshot }, 'nothing'],
    [
      'words when the node cannot yet',
      { nodeSnapshot: { ...nodeSnapshot, message: 'the pool is not mounted' } },
      'report',
    ],
    ['an annotation before the handle is published', { nodeSnapshot: taken }, 'annotate'],
    ['then the handle', { nodeSnapshot: published }, 'report'],
    [
      'nothing when all is published',
      {
        nodeSnapshot: published,
        content: { ...content, status: { ...known, createdMs: 7_000, sizeBytes: 5n } },
      },
      'nothing',
    ],
    [
      'another try when the pool is full',
      { nodeSnapshot: { ...nodeSnapshot, phase: 'Exhausted' } },
      'discard',
    ],
    ['another try when the node cannot', { nodeSnapshot: { ...nodeSnapshot, phase: 'Failed' } }, 'discard'],
    [
      'an error, and no deletion, once it may be published',
      { nodeSnapshot: { ...published, phase: 'Failed' } },
      'report',
    ],
    ['words when it is lost', { nodeSnapshot: { ...published, phase: 'Lost' } }, 'report'],
    [
      'patience while an unheard-of one goes',
      { nodeSnapshot: { ...nodeSnapshot, isDeleting: true } },
      'nothing',
    ],
    [
      'no wait for a deleted node',
      { nodeSnapshot: { ...nodeSnapshot, isDeleting: true }, hasNode: false },
      'abandon',
    ],
    ['the state of a snapshot that exists', { content: existing, nodeSnapshot: published }, 'report'],
    ['words when no node knows the one that should exist', { content: existing }, 'report'],
    [
      'patience while its snapshot lives',
      { content: { ...content, isDeleting: true }, nodeSnapshot: published },
      'nothing',
    ],
    ['the end of the data', { content: ending, nodeSnapshot: published }, 'delete-snapshots'],
    ['the end of a half-made one', { content: ending, nodeSnapshot }, 'delete-snapshots'],
    [
      'patience while the node cleans up',
      { content: ending, nodeSnapshot: { ...published, isDeleting: true } },
      'nothing',
    ],
    [
      'patience for what a lost node has',
      { content: ending, nodeSnapshot: { ...published, isDeleting: true }, hasNode: false },
      'nothing',
    ],
    [
      'none for a handle that was never published',
      { content: ending, nodeSnapshot: { ...nodeSnapshot, isDeleting: true }, hasNode: false },
      'abandon',
    ],
    ['its own deletion when the data is deleted', { content: ending }, 'remove-finalizer'],
    [
      'its own end when the data is retained',
      { content: { ...ending, deletionPolicy: 'Retain' }, nodeSnapshot: published },
      'remove-finalizer',
    ],
    [
      'no retention of an unpublished snapshot',
      { content: { ...ending, deletionPolicy: 'Retain' }, nodeSnapshot: taken },
      'delete-snapshots',
    ],
    [
      'a refusal when another content has the same',
      { content: ending, nodeSnapshot: published, sharers: ['b'] },
      'refuse',
    ],
    [
      'the end of an unbound one',
      {
        content: { ...existing, isDeleting: true, snapshot: { ...content.snapshot, uid: '' } },
        nodeSnapshot: published,
      },
      'delete-snapshots',
    ],
    [
      'nothing without its finalizer',
      { content: { ...ending, hasFinalizer: false }, nodeSnapshot: published },
      'nothing',
    ],
  ];

  test.each(table)('is %s', (_name, change, expected) => {
    expect(plan(change).do).toBe(expected);
  });

  test('tells all that the node says', () => {
    expect(plan({ nodeSnapshot: published })).toEqual({
      do: 'report',
      status: { handle: 'snap-1', isReady: true, createdMs: 7_000, sizeBytes: 5n, error: undefined },
    });
  });

  test('keeps what is known of a snapshot that is lost', () => {
    const found = plan({
      content: { ...content, status: known },
      nodeSnapshot: { ...published, phase: 'Lost', message: 'deleted' },
    });
    const error = 'pool default on node n1 lost the snapshot: deleted';
    expect(found).toEqual({ do: 'report', status: { ...known, isReady: false, error } });
  });
});

test.each([
  [{ isDeleting: false, isPublished: false }, true, 'delete'],
  [{ isDeleting: true, isPublished: false }, true, 'nothing'],
  [{ isDeleting: true, isPublished: false }, false, 'abandon'],
  [{ isDeleting: false, isPublished: true }, false, 'nothing'],
] as const)('a snapshot without content: %j with its node %s', (found, hasNode, expected) => {
  expect(planOrphan(found, hasNode).do).toBe(expected);
});
