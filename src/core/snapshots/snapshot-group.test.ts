import { describe, expect, it } from 'vitest';
import {
  checkGroupVolumes,
  checkKnownMembers,
  checkOneInstant,
  type GroupMember,
  finishedGroups,
  groupOf,
  MAX_GROUP_MEMBERS,
  requireSameVolumes,
  unfinishedGroups,
} from './snapshot-group.ts';
import type { Snapshot } from '../volumes/volume.ts';

const snapshot = (
  number: number,
  phase: Snapshot['phase'] = 'ready',
  group: Snapshot['group'] = { id: 'group-a', name: 'a' },
): Snapshot => ({
  id: `snap-${number}`,
  name: `s${number}`,
  pool: 'default',
  sourceVolumeId: `vol-${number}`,
  group,
  sizeBytes: 1n,
  volumeMode: 'Filesystem',
  fsType: 'btrfs',
  phase,
  createdAtMs: number,
  pins: {},
});

describe('the volumes of a group', () => {
  it.each([
    [[], 'is empty'],
    [['v1', 'v2', 'v1'], 'names volume v1 twice'],
    [Array.from({ length: MAX_GROUP_MEMBERS + 1 }, (_, number) => `v${number}`), 'names 17 volumes'],
  ])('cannot be %j', (ids, message) => {
    expect(() => checkGroupVolumes(ids, 'source_volume_ids')).toThrow(message);
  });

  it('are locked in one order, whatever their order in the request', () => {
    expect(checkGroupVolumes(['v2', 'v1'], 'x')).toEqual(['v1', 'v2']);
  });
});

describe('a group', () => {
  it('is finished when no member is being made or removed', () => {
    const other = { id: 'group-b', name: 'b' };
    const all = [
      snapshot(3),
      snapshot(1),
      snapshot(4, 'ready', other),
      snapshot(5, 'creating', other),
      snapshot(6, 'ready', undefined),
    ];
    expect([...unfinishedGroups(all)]).toEqual(['group-b']);
    expect(finishedGroups([...all].filter(({ id }) => id !== 'snap-6'))).toMatchObject([
      { id: 'group-a', name: 'a', createdAtMs: 1, members: [{ id: 'snap-1' }, { id: 'snap-3' }] },
    ]);
  });

  it('that lacks a member without a removal stays', () => {
    expect(finishedGroups([snapshot(1)])).toHaveLength(1);
    expect(unfinishedGroups([snapshot(1)]).size).toBe(0);
  });

  it('does not contain a snapshot without a group', () => {
    expect(finishedGroups([{ ...snapshot(1), group: undefined }])).toEqual([]);
  });

  it('keeps its name for the same volumes only', () => {
    const group = groupOf({ id: 'group-a', name: 'a' }, [snapshot(1), snapshot(2)]);
    expect(() => requireSameVolumes(group, ['vol-2', 'vol-1'])).not.toThrow();
    for (const others of [['vol-1'], ['vol-1', 'vol-3'], ['vol-1', 'vol-2', 'vol-3']]) {
      expect(() => requireSameVolumes(group, others)).toThrow('the request names other volumes');
    }
  });
});

describe('the members that a caller names', () => {
  const group = groupOf({ id: 'group-a', name: 'a' }, [snapshot(1), snapshot(2)]);
  const isThere = (id: string): boolean => ['snap-1', 'snap-2', 'snap-9'].includes(id);

  it.each([[[]], [['snap-2', 'snap-1']], [['snap-1', 'snap-2', 'snap-deleted']]])('may be %j', (ids) => {
    expect(() => checkKnownMembers(group, ids, isThere)).not.toThrow();
  });

  it.each([
    [['snap-1'], 'snap-2 is missing, a member of group snapshot group-a'],
    [['snap-1', 'snap-2', 'snap-9'], 'snap-9 is not a member of group snapshot group-a'],
  ])('cannot be %j', (ids, message) => {
    expect(() => checkKnownMembers(group, ids, isThere)).toThrow(message);
  });
});

describe('one instant', () => {
  const member = (volumeId: string, over: Partial<GroupMember> = {}): GroupMember => ({
    volumeId,
    pool: 'fast',
    backend: 'btrfs',
    volumeMode: 'Filesystem',
    isInUse: true,
    ...over,
  });
  const image = { backend: 'image', pool: 'images' } as const;
  const block = { volumeMode: 'Block' } as const;

  it.each([
    ['any volumes of one btrfs pool', [member('a'), member('b', block)]],
    ['file systems in images, of any pools', [member('a', image), member('b', { ...image, pool: 'more' })]],
    ['one device of an image pool among them', [member('a', image), member('b', { ...image, ...block })]],
    ['one btrfs pool among them', [member('a', image), member('b'), member('c')]],
    ['two btrfs pools, one not in use', [member('a'), member('b', { pool: 'slow', isInUse: false })]],
  ])('can be had of %s', (_, members) => {
    expect(() => checkOneInstant(members)).not.toThrow();
  });

  it.each([
    [
      'two btrfs pools',
      [member('a'), member('b', { pool: 'slow' })],
      'the volumes of pool fast (btrfs); the volumes of pool slow (btrfs)',
    ],
    [
      'two devices of an image pool',
      [member('a', { ...image, ...block }), member('b', { ...image, ...block })],
      'Block volume a of pool images (image); Block volume b of pool images (image)',
    ],
    ['a btrfs pool and a device', [member('a'), member('b', { ...image, ...block })], 'Block volume b'],
  ])('cannot be had of %s', (_, members, message) => {
    expect(() => checkOneInstant(members)).toThrow(message);
  });
});
