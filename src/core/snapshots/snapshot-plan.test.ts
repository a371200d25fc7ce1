import { describe, expect, test } from 'vitest';
import { SNAPSHOT_CONTENT } from '../../../test/fakes/snapshot-content.ts';
import { Fault } from '../fault.ts';
import {
  type ContentView,
  SNAPSHOT_FINALIZERS,
  type SnapshotClassView,
  type SnapshotView,
} from './snapshot.ts';
import { planContentBinding, planSnapshot, type SnapshotState } from './snapshot-plan.ts';

const nothingYet = {
  isReady: false,
  createdMs: undefined,
  sizeBytes: undefined,
  error: undefined,
};
const fresh: SnapshotView = {
  uid: '1',
  namespace: 'team',
  name: 'before',
  isDeleting: false,
  finalizers: [],
  isMember: false,
  claimName: 'data',
  contentName: undefined,
  className: 'local',
  status: { contentName: undefined, ...nothingYet },
};
const kept: SnapshotView = { ...fresh, finalizers: ['x', ...SNAPSHOT_FINALIZERS] };
const given: SnapshotView = { ...kept, claimName: undefined, contentName: 'static' };
const ready = { isReady: true, createdMs: 5_000, sizeBytes: 1n, error: undefined };
const content = SNAPSHOT_CONTENT;
const existing: ContentView = {
  ...content,
  name: 'static',
  volumeHandle: undefined,
  snapshotHandle: 'snap-1',
  snapshot: { namespace: 'team', name: 'before', uid: '' },
};
const ours: SnapshotClassView = {
  name: 'local',
  driver: 'keelson.dev',
  deletionPolicy: 'Delete',
  parameters: {},
  isDefault: true,
};
const other: SnapshotClassView = { ...ours, name: 'other', driver: 'other.dev' };
const source = { driver: 'keelson.dev', volumeHandle: 'vol-1', volumeMode: 'Filesystem' };
const unbound = new Fault('precondition', 'claim team/data is not bound yet');

function plan(change: Partial<SnapshotState>): ReturnType<typeof planSnapshot> {
  return planSnapshot({
    snapshot: kept,
    content: undefined,
    source,
    classes: [ours, other],
    restoring: [],
    ...change,
  });
}

describe('the next step for a VolumeSnapshot', () => {
  const ended = { ...kept, isDeleting: true };
  const table: readonly (readonly [string, Partial<SnapshotState>, string])[] = [
    ['finalizers before anything is made', { snapshot: fresh }, 'add-finalizers'],
    ['the default class when it names none', { snapshot: { ...fresh, className: undefined } }, 'set-class'],
    ['its content', {}, 'create-content'],
    [
      'nothing for a class of another driver',
      { snapshot: { ...fresh, className: 'other' }, source: unbound },
      'nothing',
    ],
    [
      'nothing for a volume of another driver',
      { snapshot: { ...fresh, className: undefined }, source: { ...source, driver: 'other.dev' } },
      'nothing',
    ],
    [
      'words when our class meets a volume of another driver',
      { source: { ...source, driver: 'other.dev' } },
      'wait',
    ],
    [
      'words when the class of another driver meets our volume',
      { snapshot: { ...kept, className: 'other' } },
      'wait',
    ],
    ['words when the claim cannot be used', { source: unbound }, 'wait'],
    ['words when its class does not exist', { classes: [other] }, 'wait'],
    ['its status when it has a content', { content }, 'report'],
    [
      'nothing when its status is true',
      { content, snapshot: { ...kept, status: { contentName: 'snapcontent-1', ...nothingYet } } },
      'nothing',
    ],
    [
      'a new status when it becomes ready',
      {
        content: { ...content, status: { handle: 'snap-1', ...ready } },
        snapshot: { ...kept, status: { contentName: 'snapcontent-1', ...nothingYet } },
      },
      'report',
    ],
    [
      'no second content once there was one',
      { snapshot: { ...kept, status: { contentName: 'snapcontent-1', ...ready } } },
      'wait',
    ],
    ['words when the content that it names is missing', { snapshot: given }, 'wait'],
    ['its UID in a content that was there before', { snapshot: given, content: existing }, 'bind'],
    [
      'words for a content of another snapshot',
      { snapshot: given, content: { ...existing, snapshot: { ...existing.snapshot, name: 'x' } } },
      'wait',
    ],
    [
      'words for a content of an earlier snapshot',
      { content: { ...content, snapshot: { ...content.snapshot, uid: '0' } } },
      'wait',
    ],
    [
      'words for a content that is being taken',
      { snapshot: given, content: { ...content, name: 'static' } },
      'wait',
    ],
    [
      'nothing for the content of another driver',
      { content: { ...content, driver: 'other.dev' } },
      'nothing',
    ],
    ['patience while a volume is made from it', { snapshot: ended, content, restoring: ['pvc-2'] }, 'hold'],
    ['the release of its content at its end', { snapshot: ended, content }, 'release-content'],
    [
      'then the deletion of that',
      { snapshot: ended, content: { ...content, isReleased: true } },
      'delete-content',
    ],
    [
      'patience while that goes',
      { snapshot: ended, content: { ...content, isReleased: true, isDeleting: true } },
      'nothing',
    ],
    ['its own deletion when the content is deleted', { snapshot: ended }, 'remove-finalizers'],
    [
      'its own end when that is retained',
      { snapshot: ended, content: { ...content, isReleased: true, deletionPolicy: 'Retain' } },
      'remove-finalizers',
    ],
    [
      'its own end when the content was never bound',
      { snapshot: { ...given, isDeleting: true }, content: existing },
      'remove-finalizers',
    ],
    ['nothing more at its very end', { snapshot: { ...fresh, isDeleting: true } }, 'nothing'],
  ];

  test.each(table)('is %s', (_name, change, expected) => {
    expect(plan(change).do).toBe(expected);
  });

  test.each([
    [
      'no default class',
      { snapshot: { ...fresh, className: undefined }, classes: [] },
      'no default VolumeSnapshotClass of driver keelson.dev',
    ],
    [
      'two default classes',
      { snapshot: { ...fresh, className: undefined }, classes: [ours, { ...ours, name: 'b' }] },
      '2 VolumeSnapshotClasses of driver keelson.dev are the default: b, local',
    ],
    [
      'a class that is not there',
      { snapshot: { ...kept, className: 'absent' } },
      'VolumeSnapshotClass absent does not exist',
    ],
    ['a parameter', { classes: [{ ...ours, parameters: { fast: 'yes' } }] }, 'unknown parameter "fast"'],
  ])('says what is wrong with %s', (_name, change, words) => {
    const found = plan(change);
    expect('fault' in found && found.fault.message).toContain(words);
    expect('fault' in found && found.fault.message).toContain('snapshot team/before');
  });

  test('names everything that a content needs', () => {
    expect(plan({ classes: [{ ...ours, deletionPolicy: 'Retain' }] })).toEqual({
      do: 'create-content',
      content: {
        name: 'snapcontent-1',
        className: 'local',
        deletionPolicy: 'Retain',
        volumeHandle: 'vol-1',
        volumeMode: 'Filesystem',
      },
    });
  });
});

test.each([
  ['that lacks its finalizer gets it', { hasFinalizer: false }, { uid: '1' }, 'add-finalizer'],
  ['whose snapshot lives is left alone', {}, { uid: '1' }, 'nothing'],
  ['whose snapshot was deleted may be deleted by hand', {}, undefined, 'release-content'],
  ['whose snapshot was replaced may be deleted by hand', {}, { uid: '2' }, 'release-content'],
  ['that is not bound is left alone', { snapshot: existing.snapshot }, undefined, 'nothing'],
  ['of another driver is left alone', { driver: 'other.dev', hasFinalizer: false }, undefined, 'nothing'],
] as const)('a content %s', (_name, change, snapshot, expected) => {
  expect(planContentBinding({ ...content, ...change }, snapshot).do).toBe(expected);
});
