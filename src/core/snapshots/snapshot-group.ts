import type { BackendKind } from '../volumes/backend-features.ts';
import { Fault } from '../fault.ts';
import type { Snapshot, VolumeMode } from '../volumes/volume.ts';

/**
 * Most volumes in one group: on btrfs each needs a thread of the agent, of about 15 MiB, while the
 * group is cut.
 */
export const MAX_GROUP_MEMBERS = 16;

/**
 * Snapshots of several volumes that show one instant. Members are in the order of their volumes'
 * ids.
 */
export interface SnapshotGroup {
  readonly id: string;
  readonly name: string;
  readonly createdAtMs: number;
  readonly members: readonly Snapshot[];
}

/**
 * The volumes of a group that is asked for, in the order in which they are worked on. Throws
 * `invalid` for none, too many, or one twice.
 */
export function checkGroupVolumes(volumeIds: readonly string[], field: string): readonly string[] {
  if (volumeIds.length === 0) throw new Fault('invalid', `${field} is empty; name at least one volume`);
  if (volumeIds.length > MAX_GROUP_MEMBERS) {
    throw new Fault(
      'invalid',
      `${field} names ${volumeIds.length} volumes; a group has at most ${MAX_GROUP_MEMBERS}`,
    );
  }
  const sorted = [...volumeIds].sort();
  const twice = sorted.find((id, index) => id === sorted[index + 1]);
  if (twice === undefined) return sorted;
  throw new Fault('invalid', `${field} names volume ${twice.slice(0, 128)} twice`);
}

/**
 * Ids of groups of which a member is being made or removed, so that what is left of them has to go:
 * a group is whole or nothing. One that merely lacks a member (its record cannot be read) is not
 * among them; nobody wanted the rest to go.
 */
export function unfinishedGroups(snapshots: Iterable<Snapshot>): ReadonlySet<string> {
  const unfinished = new Set<string>();
  for (const { group, phase } of snapshots) {
    if (group !== undefined && phase !== 'ready') unfinished.add(group.id);
  }
  return unfinished;
}

/** The groups that are finished, in the order of their ids. */
export function finishedGroups(snapshots: Iterable<Snapshot>): readonly SnapshotGroup[] {
  const all = [...snapshots];
  const unfinished = unfinishedGroups(all);
  const byId = Map.groupBy(all, ({ group }) => group?.id ?? '');
  return [...byId]
    .flatMap(([id, members]) => {
      const [first] = members;
      if (first?.group === undefined || unfinished.has(id)) return [];
      return [groupOf(first.group, members)];
    })
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** The group of these members. */
export function groupOf(
  { id, name }: { readonly id: string; readonly name: string },
  members: readonly Snapshot[],
): SnapshotGroup {
  const sorted = [...members].sort((a, b) => (a.sourceVolumeId < b.sourceVolumeId ? -1 : 1));
  return { id, name, createdAtMs: sorted[0]?.createdAtMs ?? 0, members: sorted };
}

/** Throws `conflict` unless the group is of exactly these volumes. */
export function requireSameVolumes(group: SnapshotGroup, volumeIds: readonly string[]): void {
  const has = group.members.map(({ sourceVolumeId }) => sourceVolumeId);
  if (has.length === volumeIds.length && has.every((id) => volumeIds.includes(id))) return;
  throw new Fault(
    'conflict',
    `group snapshot ${group.name} exists, of volumes ${has.join(', ')}; what is asked for differs`,
    { fields: { groupId: group.id } },
  );
}

/**
 * Throws `invalid` unless the caller's idea of the members agrees with what is there: who would
 * delete a snapshot that he does not know of? Ids that are nobody's are members that are gone
 * already. An empty list is no idea at all.
 */
export function checkKnownMembers(
  { id, members }: SnapshotGroup,
  snapshotIds: readonly string[],
  isThere: (snapshotId: string) => boolean,
): void {
  if (snapshotIds.length === 0) return;
  const own = members.map((member) => member.id);
  const foreign = snapshotIds.find((each) => isThere(each) && !own.includes(each));
  if (foreign !== undefined) {
    throw new Fault('invalid', `snapshot_ids: ${foreign} is no member of group snapshot ${id}`);
  }
  const missing = own.find((each) => !snapshotIds.includes(each));
  if (missing === undefined) return;
  throw new Fault('invalid', `snapshot_ids: ${missing} is a member of group snapshot ${id} and is not named`);
}

/** A volume of a group, as far as its instant goes. */
export interface CutMember {
  readonly volumeId: string;
  readonly pool: string;
  readonly backend: BackendKind;
  readonly volumeMode: VolumeMode;
  /** Somebody may write to it. */
  readonly isInUse: boolean;
}

/**
 * Throws `precondition` when the volumes cannot be cut at one instant. While all writers but those
 * of one unit are held, the moment at which that unit is cut is the instant of all. A unit is what
 * is cut at once by itself: all volumes of one btrfs pool (one commit of its file system), or one
 * file of an image pool. Writers of a file system in an image can be held; those of a block device,
 * or of btrfs, cannot.
 */
export function checkOneInstant(members: readonly CutMember[]): void {
  const units = new Set<string>();
  for (const { volumeId, pool, backend, volumeMode, isInUse } of members) {
    if (!isInUse) continue;
    if (backend === 'btrfs') units.add(`the volumes of pool ${pool} (btrfs)`);
    else if (volumeMode === 'Block') units.add(`Block volume ${volumeId} of pool ${pool} (${backend})`);
  }
  if (units.size < 2) return;
  throw new Fault(
    'precondition',
    `these volumes are in use and cannot be cut at one instant: ${[...units].sort().join('; ')}; have them in one btrfs pool, or stop the pods of all but one of these`,
  );
}
