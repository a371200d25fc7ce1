import type { BackendKind } from '../volumes/backend-features.ts';
import { Fault } from '../fault.ts';
import type { Snapshot, VolumeMode } from '../volumes/volume.ts';

/** Limits the volumes of a group: on btrfs each needs a worker thread of about 15 MiB meanwhile. */
export const MAX_GROUP_MEMBERS = 16;

/** Snapshots of several volumes at one instant; members are ordered by source volume id. */
export interface SnapshotGroup {
  readonly id: string;
  readonly name: string;
  readonly createdAtMs: number;
  readonly members: readonly Snapshot[];
}

/**
 * Checks and sorts the volumes of a requested group. Throws `invalid` for none, too many, or a
 * repeated one.
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
 * Returns the ids of groups with a member that is being created or removed, which recovery removes
 * as a whole. A group that lacks a member with a quarantined record is not among them.
 */
export function unfinishedGroups(snapshots: Iterable<Snapshot>): ReadonlySet<string> {
  const unfinished = new Set<string>();
  for (const { group, phase } of snapshots) {
    if (group !== undefined && phase !== 'ready') unfinished.add(group.id);
  }
  return unfinished;
}

/** Lists the finished groups by id. */
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

/** Returns the group of these members. */
export function groupOf(
  { id, name }: { readonly id: string; readonly name: string },
  members: readonly Snapshot[],
): SnapshotGroup {
  const sorted = [...members].sort((a, b) => (a.sourceVolumeId < b.sourceVolumeId ? -1 : 1));
  return { id, name, createdAtMs: sorted[0]?.createdAtMs ?? 0, members: sorted };
}

/** Throws `conflict` unless the group consists of exactly these volumes. */
export function requireSameVolumes(group: SnapshotGroup, volumeIds: readonly string[]): void {
  const sources = group.members.map(({ sourceVolumeId }) => sourceVolumeId);
  if (sources.length === volumeIds.length && sources.every((id) => volumeIds.includes(id))) return;
  throw new Fault(
    'conflict',
    `group snapshot ${group.name} exists, of volumes ${sources.join(', ')}; the request names other volumes`,
    { fields: { groupId: group.id } },
  );
}

/**
 * Throws `invalid` unless `snapshotIds` are the members of the group (CSI
 * DeleteVolumeGroupSnapshot). Unknown ids are deleted members; an empty list is not checked.
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
    throw new Fault('invalid', `snapshot_ids: ${foreign} is not a member of group snapshot ${id}`);
  }
  const missing = own.find((each) => !snapshotIds.includes(each));
  if (missing === undefined) return;
  throw new Fault('invalid', `snapshot_ids: ${missing} is missing, a member of group snapshot ${id}`);
}

/** A volume of a group, by what decides about a common instant. */
export interface GroupMember {
  readonly volumeId: string;
  readonly pool: string;
  readonly backend: BackendKind;
  readonly volumeMode: VolumeMode;
  /** Whether a pod may write to it. */
  readonly isInUse: boolean;
}

/**
 * Throws `precondition` for volumes that cannot be snapshotted at one instant. A unit is what is
 * snapshotted atomically: all volumes of a btrfs pool (one commit), or one file of an image pool.
 * With the writers of all units but one frozen, the moment of that one is the instant of all.
 * Writers of a file system in an image can be frozen; those of a block device or of btrfs cannot.
 */
export function checkOneInstant(members: readonly GroupMember[]): void {
  const units = new Set<string>();
  for (const { volumeId, pool, backend, volumeMode, isInUse } of members) {
    if (!isInUse) continue;
    if (backend === 'btrfs') units.add(`the volumes of pool ${pool} (btrfs)`);
    else if (volumeMode === 'Block') units.add(`Block volume ${volumeId} of pool ${pool} (${backend})`);
  }
  if (units.size < 2) return;
  throw new Fault(
    'precondition',
    `volumes in use that cannot be snapshotted at one instant: ${[...units].sort().join('; ')}; use one btrfs pool for them, or stop the pods of all but one`,
  );
}
