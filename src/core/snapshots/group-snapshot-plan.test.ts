import { describe, expect, it } from 'vitest';
import { DRIVER_NAME } from '../volumes/driver.ts';
import { Fault } from '../fault.ts';
import type { GroupContentView, GroupView } from './group-snapshot.ts';
import { type GroupContentMember, type GroupContentState, planGroupContent } from './group-content-plan.ts';
import { type GroupState, planGroup, planGroupContentBinding } from './group-snapshot-plan.ts';

const group: GroupView = {
  uid: 'g1',
  namespace: 'team',
  name: 'db',
  isDeleting: false,
  hasFinalizer: true,
  contentName: undefined,
  className: 'keelson',
  status: { contentName: undefined, isReady: false, createdMs: undefined, error: undefined },
};
const reported = [1, 2].map((number) => ({
  volumeHandle: `vol-${number}`,
  snapshotHandle: `snap-${number}`,
  createdMs: 5_000,
  sizeBytes: 64n,
}));
const ready = { handle: 'group-1', isReady: true, createdMs: 5_000, error: undefined, members: reported };
const content: GroupContentView = {
  name: 'groupsnapcontent-g1',
  driver: DRIVER_NAME,
  isDeleting: false,
  hasFinalizer: true,
  isReleased: false,
  deletionPolicy: 'Delete',
  volumeHandles: ['vol-1', 'vol-2'],
  given: undefined,
  group: { namespace: 'team', name: 'db', uid: 'g1' },
  status: { handle: undefined, isReady: false, createdMs: undefined, error: undefined, members: [] },
};
const existing: GroupView = { ...group, contentName: 'static' };
const given: GroupContentView = {
  ...content,
  name: 'static',
  volumeHandles: undefined,
  given: { handle: 'group-1', snapshotHandles: ['snap-1', 'snap-2'] },
};
const source = (handle: string, driver = DRIVER_NAME) => ({
  driver,
  volumeHandle: handle,
  volumeMode: 'Filesystem',
});
const keelson = {
  name: 'keelson',
  driver: DRIVER_NAME,
  deletionPolicy: 'Delete',
  parameters: {},
  isDefault: true,
} as const;
const state = (over: Partial<GroupState> = {}): GroupState => ({
  group,
  content: undefined,
  sources: [
    { claim: 'team/a', isProtected: true, source: source('vol-1') },
    { claim: 'team/b', isProtected: true, source: source('vol-2') },
  ],
  classes: [keelson],
  members: [],
  held: [],
  ...over,
});
const members = (isMade: boolean, restoring: readonly string[] = []): GroupState['members'] =>
  reported.map((member) => ({ member, isMade, restoring }));

describe('a group snapshot', () => {
  const unclassed = { ...group, className: undefined };
  it.each<[string, Partial<GroupState>, object]>([
    ['gets the default class', { group: unclassed }, { do: 'set-class', className: 'keelson' }],
    [
      'takes a class that says its policy twice',
      { classes: [{ ...keelson, parameters: { deletionPolicy: 'Delete' } }] },
      { do: 'create-content' },
    ],
    ['is kept from then on', { group: { ...group, hasFinalizer: false } }, { do: 'add-finalizer' }],
    [
      'gets a content with all volumes',
      {},
      {
        do: 'create-content',
        content: { name: 'groupsnapcontent-g1', volumeHandles: ['vol-1', 'vol-2'], deletionPolicy: 'Delete' },
      },
    ],
    ['tells what its content says', { content }, { do: 'report', status: { isReady: false } }],
    [
      'protects a claim that could be deleted while its snapshot is created',
      { content, sources: [{ claim: 'team/a', isProtected: false, source: source('vol-1') }] },
      { do: 'protect', claims: ['team/a'] },
    ],
    [
      'does not keep a claim that is selected since',
      { content, sources: [{ claim: 'team/c', isProtected: false, source: source('vol-3') }] },
      { do: 'report' },
    ],
    [
      'that was there before is bound to its content',
      { group: existing, content: { ...given, group: { ...given.group, uid: '' } }, sources: [] },
      { do: 'bind', className: 'keelson' },
    ],
    [
      'that was there before tells what its content says',
      { group: existing, content: { ...given, status: { ...ready, members: [] } }, sources: [] },
      { do: 'report', status: { contentName: 'static', isReady: true } },
    ],
    [
      'gets its members when they are taken',
      { content: { ...content, status: ready }, members: members(false) },
      { do: 'create-members', members: reported },
    ],
    [
      'is ready after its members',
      { content: { ...content, status: ready }, members: members(true) },
      { do: 'report', status: { isReady: true, createdMs: 5_000 } },
    ],
    [
      'is done then',
      {
        group: { ...group, status: { ...ready, contentName: content.name } },
        content: { ...content, status: ready },
        members: members(true),
      },
      { do: 'nothing' },
    ],
    ['of another driver is left alone', { content: { ...content, driver: 'other' } }, { do: 'nothing' }],
    [
      'of claims of another driver is left alone',
      { group: unclassed, sources: [{ claim: 'team/a', isProtected: true, source: source('x', 'other') }] },
      { do: 'nothing' },
    ],
  ])('%s', (_, over, plan) => {
    expect(planGroup(state(over))).toMatchObject(plan);
  });

  it.each<[string, Partial<GroupState>, string]>([
    ['no claim', { sources: [] }, 'no claim of its namespace'],
    [
      'a claim without a volume',
      {
        sources: [
          {
            claim: 'team/a',
            isProtected: true,
            source: new Fault('precondition', 'claim team/a is not bound yet'),
          },
        ],
      },
      'claim team/a is not bound yet',
    ],
    [
      'claims of two drivers',
      {
        sources: [
          { claim: 'team/a', isProtected: true, source: source('vol-1') },
          { claim: 'team/b', isProtected: true, source: source('x', 'other') },
        ],
      },
      'claim team/b has a volume of driver other',
    ],
    ['no class', { group: unclassed, classes: [] }, 'cannot find default group snapshot class'],
    [
      'a class with a parameter',
      { classes: [{ ...keelson, parameters: { deletionPolicy: 'Retain' } }] },
      'VolumeGroupSnapshotClass keelson: unknown parameter "deletionPolicy"',
    ],
    [
      'two default classes',
      { group: unclassed, classes: [keelson, { ...keelson, name: 'more' }] },
      '2 default snapshot classes were found',
    ],
    ['a class that is not there', { classes: [] }, 'VolumeGroupSnapshotClass keelson does not exist'],
    [
      'a parameter that means nothing',
      { classes: [{ ...keelson, parameters: { colour: 'blue' } }] },
      'unknown parameter "colour"',
    ],
    [
      'a content that vanished',
      { group: { ...group, status: { ...group.status, contentName: 'absent' } } },
      'VolumeGroupSnapshotContent absent does not exist',
    ],
    [
      'a content of an earlier one',
      { content: { ...content, group: { ...content.group, uid: 'g0' } } },
      'is bound to an earlier group snapshot',
    ],
  ])('waits and says why: %s', (_, over, message) => {
    const plan = planGroup(state(over));
    expect(plan.do).toBe('wait');
    expect('fault' in plan ? plan.fault.message : '').toContain(message);
  });

  it('ends step by step: members, content, itself', () => {
    const ending = { ...group, isDeleting: true };
    const end = (over: Partial<GroupState>) => planGroup(state({ group: ending, content, ...over }));
    expect(end({ members: members(true, ['pvc-1']), held: ['s1'] })).toMatchObject({ do: 'hold' });
    expect(end({ held: ['s1', 's2'] })).toEqual({ do: 'release-members', names: ['s1', 's2'] });
    expect(end({})).toEqual({ do: 'release-content' });
    expect(end({ content: { ...content, isReleased: true } })).toEqual({ do: 'delete-content' });
    expect(end({ content: { ...content, isReleased: true, isDeleting: true } })).toEqual({ do: 'nothing' });
    expect(end({ content: { ...content, isReleased: true, deletionPolicy: 'Retain' } })).toEqual({
      do: 'remove-finalizer',
    });
    expect(end({ content: undefined })).toEqual({ do: 'remove-finalizer' });
    // Not its own yet: none of its business.
    const unbound = { ...given, group: { ...given.group, uid: '' } };
    expect(end({ group: { ...existing, isDeleting: true }, content: unbound })).toEqual({
      do: 'remove-finalizer',
    });
    expect(end({ content: undefined, group: { ...ending, hasFinalizer: false } })).toEqual({ do: 'nothing' });
  });

  it('that vanished releases its content, and the data stays', () => {
    expect(planGroupContentBinding(content, 'g1')).toBe('nothing');
    expect(planGroupContentBinding(content, undefined)).toBe('release-content');
    expect(planGroupContentBinding({ ...content, hasFinalizer: false }, 'g1')).toBe('add-finalizer');
    expect(planGroupContentBinding({ ...content, driver: 'other' }, undefined)).toBe('nothing');
  });
});

describe("the driver's part of a group snapshot", () => {
  const member = (
    number: number,
    over: Partial<GroupContentMember> = {},
    nodeName = 'node-1',
  ): GroupContentMember => ({
    volumeHandle: `vol-${number}`,
    source: {
      volumeName: `pvc-${number}`,
      nodeName,
      poolName: 'default',
      size: '64Mi',
      volumeMode: 'Filesystem',
    },
    nodeSnapshot: undefined,
    holder: undefined,
    hasNode: true,
    ...over,
  });
  const nodeSnapshot = (
    number: number,
    over: Partial<NonNullable<GroupContentMember['nodeSnapshot']>> = {},
  ) => ({
    nodeSnapshot: {
      name: `groupsnapshot-g1.vol-${number}`,
      nodeName: 'node-1',
      poolName: 'default',
      isDeleting: false,
      phase: 'Ready' as const,
      handle: `snap-${number}`,
      createdMs: 5_000,
      sizeBytes: 64n,
      message: '',
      isPublished: true,
      groupHandle: 'group-1',
      ...over,
    },
  });
  const alone = { unnamed: [], sharers: [], isRefused: false };
  const names = ['groupsnapshot-g1.vol-1', 'groupsnapshot-g1.vol-2'];
  const plan = (over: Partial<GroupContentView>, ...of: readonly GroupContentMember[]) =>
    planGroupContent({ ...alone, content: { ...content, ...over }, members: of });

  it('asks the node for all of them, and reports them when all exist', () => {
    expect(plan({}, member(1), member(2))).toEqual({ do: 'create', volumeHandles: ['vol-1', 'vol-2'] });
    expect(plan({}, member(1, nodeSnapshot(1)), member(2))).toEqual({
      do: 'create',
      volumeHandles: ['vol-2'],
    });
    const pending = nodeSnapshot(2, { phase: 'Pending', handle: undefined });
    expect(plan({}, member(1, nodeSnapshot(1)), member(2, pending))).toEqual({ do: 'nothing' });
    const unannotated = [
      member(1, nodeSnapshot(1, { isPublished: false })),
      member(2, nodeSnapshot(2, { isPublished: false })),
    ];
    expect(plan({}, ...unannotated)).toEqual({ do: 'annotate', names });
    expect(plan({}, member(1, nodeSnapshot(1)), member(2, nodeSnapshot(2)))).toEqual({
      do: 'report',
      status: ready,
    });
    expect(plan({ status: ready }, member(1, nodeSnapshot(1)), member(2, nodeSnapshot(2)))).toEqual({
      do: 'nothing',
    });
  });

  it.each<[string, readonly GroupContentMember[], string]>([
    [
      'volumes of two nodes',
      [member(1), member(2, {}, 'node-2')],
      'the volumes of a group snapshot must be on one node; found pvc-1 on node-1; pvc-2 on node-2',
    ],
    [
      'a volume that no node knows',
      [member(1), member(2, { source: undefined })],
      'volume vol-2 not found on any node',
    ],
    [
      'more than a group can have',
      Array.from({ length: 17 }, (_, number) => member(number)),
      'volumeHandles lists 17 volumes; a group has at most 16',
    ],
  ])('is refused for %s', (_, of, error) => {
    const refused = plan({}, ...of);
    expect(refused.do === 'report' ? refused.status.error : '').toContain(error);
  });

  it('withdraws all when one cannot be created, and never does so once they were published', () => {
    const failed = { phase: 'Failed', message: 'no room', handle: undefined } as const;
    const of = (isPublished: boolean) => [
      member(1, nodeSnapshot(1, { isPublished })),
      member(2, nodeSnapshot(2, { ...failed, isPublished })),
    ];
    expect(plan({}, ...of(false))).toMatchObject({ do: 'discard', names });
    expect(plan({}, ...of(true))).toMatchObject({ do: 'report', status: { isReady: false } });
  });

  it('never takes another point in time for a published one', () => {
    expect(plan({ status: ready }, member(1, nodeSnapshot(1)), member(2))).toMatchObject({
      do: 'report',
      status: { error: 'the snapshot of volume vol-2 no longer exists on any node', isReady: false },
    });
  });

  it('ends with the data under Delete, without it under Retain, and leaves members to their contents', () => {
    const ending = { isDeleting: true, isReleased: true, status: ready };
    const both = [member(1, nodeSnapshot(1)), member(2, nodeSnapshot(2))];
    expect(plan({ ...ending, isReleased: false }, ...both)).toEqual({ do: 'nothing' });
    expect(plan(ending, ...both)).toEqual({ do: 'delete-snapshots', names });
    expect(plan({ ...ending, deletionPolicy: 'Retain' }, ...both)).toEqual({ do: 'remove-finalizer' });
    const held = both.map((each) => ({ ...each, holder: 'snapcontent-x' }));
    expect(plan(ending, ...held)).toMatchObject({ do: 'refuse' });
    expect(plan(ending, member(1), member(2))).toEqual({ do: 'remove-finalizer' });
    const unheard = both.map((each, index) => ({
      ...each,
      ...nodeSnapshot(index + 1, { isPublished: false }),
    }));
    expect(plan({ ...ending, deletionPolicy: 'Retain' }, ...unheard)).toEqual({
      do: 'delete-snapshots',
      names,
    });
  });

  describe('that was there before', () => {
    const known = (
      over: Partial<NonNullable<GroupContentMember['nodeSnapshot']>> = {},
    ): readonly GroupContentMember[] =>
      [1, 2].map((number) => ({
        ...member(number, nodeSnapshot(number, over)),
        volumeHandle: '',
        givenHandle: `snap-${number}`,
        source: undefined,
      }));
    const planOf = (over: Partial<GroupContentState>) =>
      planGroupContent({ ...alone, content: given, members: known(), ...over });

    it('is ready as it is, and its members are created by its user', () => {
      const status = { handle: 'group-1', isReady: true, createdMs: 5_000, error: undefined, members: [] };
      expect(planOf({})).toEqual({ do: 'report', status });
      expect(planOf({ content: { ...given, status } })).toEqual({ do: 'nothing' });
      expect(planOf({ members: known({ isPublished: false }) })).toEqual({ do: 'annotate', names });
    });

    it.each<[string, Partial<GroupContentState>, string]>([
      [
        'a snapshot that is not there',
        { members: known().map((each) => ({ ...each, nodeSnapshot: undefined })) },
        'snapshot snap-1 of group snapshot group-1 not found on any node',
      ],
      [
        'a snapshot of another group',
        { members: known({ groupHandle: 'group-2' }) },
        'snapshot snap-1 is a member of group-2, not of group snapshot group-1',
      ],
      [
        'a snapshot that was taken alone',
        { members: known({ groupHandle: undefined }) },
        'snapshot snap-1 is a member of no group, not of group snapshot group-1',
      ],
      [
        'a part of it',
        { unnamed: ['snap-3'] },
        'volumeSnapshotHandles lacks members of group snapshot group-1: snap-3',
      ],
      ['nothing of it', { members: [] }, 'volumeSnapshotHandles of group snapshot group-1 is empty'],
      [
        'one that is lost',
        { members: known({ phase: 'Lost' }) },
        'pool default on node node-1: snapshot snap-1 is Lost',
      ],
      [
        'one that is being deleted',
        { members: known({ isDeleting: true }) },
        'its snapshots are being deleted',
      ],
    ])('is not ready for %s', (_, over, error) => {
      const refused = planOf(over);
      expect(refused).toMatchObject({ do: 'report', status: { isReady: false } });
      expect(refused.do === 'report' ? refused.status.error : '').toContain(error);
    });

    it('ends like any other, but for what another content has as well', () => {
      const ending = { ...given, isDeleting: true, isReleased: true };
      expect(planOf({ content: ending })).toEqual({ do: 'delete-snapshots', names });
      expect(planOf({ content: { ...ending, deletionPolicy: 'Retain' } })).toEqual({
        do: 'remove-finalizer',
      });
      expect(planOf({ content: ending, sharers: ['groupsnapcontent-g1'] })).toMatchObject({ do: 'refuse' });
      expect(planOf({ content: { ...ending, isReleased: false } })).toEqual({ do: 'nothing' });
      const unbound = { ...ending, isReleased: false, group: { ...given.group, uid: '' } };
      expect(planOf({ content: unbound })).toEqual({ do: 'delete-snapshots', names });
    });
  });

  it('of a deleted node is deleted when it was never published, and otherwise only when it is released', () => {
    const deleted = (isPublished: boolean): readonly GroupContentMember[] =>
      [1, 2].map((number) =>
        member(number, { ...nodeSnapshot(number, { isDeleting: true, isPublished }), hasNode: false }),
      );
    const ending = { isDeleting: true, isReleased: true };
    expect(plan(ending, ...deleted(false))).toEqual({ do: 'abandon', names });
    expect(plan({}, ...deleted(false))).toEqual({ do: 'abandon', names });
    expect(plan(ending, ...deleted(true))).toEqual({ do: 'nothing' });
    const back = deleted(false).map((each) => ({ ...each, hasNode: true }));
    expect(plan(ending, ...back)).toEqual({ do: 'nothing' });
  });
});
