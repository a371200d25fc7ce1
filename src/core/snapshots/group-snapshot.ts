import type { DeletionPolicy } from './snapshot.ts';

/** On a VolumeGroupSnapshot: keeps it until its content and its members are taken care of. */
export const GROUP_FINALIZER = 'groupsnapshot.storage.kubernetes.io/volumegroupsnapshot-bound-protection';
/** On a VolumeGroupSnapshotContent: keeps it until the driver has done its part. */
export const GROUP_CONTENT_FINALIZER =
  'groupsnapshot.storage.kubernetes.io/volumegroupsnapshotcontent-bound-protection';
/** On a VolumeSnapshot that is a member: keeps it until its group is being deleted. */
export const IN_GROUP_FINALIZER = 'snapshot.storage.kubernetes.io/volumesnapshot-in-group-protection';
/** On a VolumeGroupSnapshotContent whose VolumeGroupSnapshot is being deleted or gone. */
export const GROUP_BEING_DELETED = 'groupsnapshot.storage.kubernetes.io/volumegroupsnapshot-being-deleted';
export const DEFAULT_GROUP_CLASS = 'groupsnapshot.storage.kubernetes.io/is-default-class';
/** On a VolumeSnapshotContent: the group that it is a member of. No snapshot is ever taken for it alone. */
export const GROUP_HANDLE = 'groupsnapshot.storage.k8s.io/volumeGroupSnapshotHandle';

/** A VolumeGroupSnapshot. */
export interface GroupView {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly isDeleting: boolean;
  readonly hasFinalizer: boolean;
  /** The content that it wants to be bound to; undefined where it is to be taken. */
  readonly contentName: string | undefined;
  readonly className: string | undefined;
  readonly status: GroupStatus;
}

/** What a VolumeGroupSnapshot says of its content. */
export interface GroupStatus {
  readonly contentName: string | undefined;
  readonly isReady: boolean;
  readonly createdMs: number | undefined;
  readonly error: string | undefined;
}

/** A VolumeGroupSnapshotContent. */
export interface GroupContentView {
  readonly name: string;
  readonly driver: string;
  readonly isDeleting: boolean;
  readonly hasFinalizer: boolean;
  /** Its VolumeGroupSnapshot asks for its end, or had its own. */
  readonly isReleased: boolean;
  readonly deletionPolicy: DeletionPolicy;
  /** The volumes to take together; undefined where the group was there before. */
  readonly volumeHandles: readonly string[] | undefined;
  /** The group that was there before. */
  readonly given: PreProvisionedGroup | undefined;
  readonly group: { readonly namespace: string; readonly name: string; readonly uid: string };
  readonly status: GroupContentStatus;
}

/** A group snapshot that exists, and its members, as whoever wants it names them. */
export interface PreProvisionedGroup {
  readonly handle: string;
  readonly snapshotHandles: readonly string[];
}

/** What the driver says of a group. */
export interface GroupContentStatus {
  readonly handle: string | undefined;
  readonly isReady: boolean;
  readonly createdMs: number | undefined;
  readonly error: string | undefined;
  readonly members: readonly GroupMember[];
}

/** A snapshot of a group, as its content tells of it. */
export interface GroupMember {
  readonly volumeHandle: string;
  readonly snapshotHandle: string;
  readonly createdMs: number | undefined;
  readonly sizeBytes: bigint;
}

/** Name of the content that is made for a VolumeGroupSnapshot: the one that every snapshot controller chooses. */
export function groupContentNameOf(groupUid: string): string {
  return `groupsnapcontent-${groupUid}`;
}

/** Name of the group on the node; names of its LocalVolumes begin with it. */
export function groupNameOf(groupUid: string): string {
  return `groupsnapshot-${groupUid}`;
}

/** Name of the LocalVolume of a member, and of its snapshot on the node. */
export function nodeGroupSnapshotNameOf(groupUid: string, volumeHandle: string): string {
  return `${groupNameOf(groupUid)}.${volumeHandle}`;
}

/** `group snapshot NAMESPACE/NAME`, as messages call it. */
export function describeGroup({ namespace, name }: Pick<GroupView, 'namespace' | 'name'>): string {
  return `group snapshot ${namespace}/${name}`;
}
