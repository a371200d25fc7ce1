import type { DeletionPolicy } from './snapshot.ts';

/** On a VolumeGroupSnapshot: keeps it until its content and its members are cleaned up. */
export const GROUP_FINALIZER = 'groupsnapshot.storage.kubernetes.io/volumegroupsnapshot-bound-protection';
/** On a VolumeGroupSnapshotContent: keeps it until the driver has done its part. */
export const GROUP_CONTENT_FINALIZER =
  'groupsnapshot.storage.kubernetes.io/volumegroupsnapshotcontent-bound-protection';
/** On a VolumeSnapshot of a group: keeps it until the group is being deleted. */
export const IN_GROUP_FINALIZER = 'snapshot.storage.kubernetes.io/volumesnapshot-in-group-protection';
/** On a VolumeGroupSnapshotContent whose VolumeGroupSnapshot is being deleted or was deleted. */
export const GROUP_BEING_DELETED = 'groupsnapshot.storage.kubernetes.io/volumegroupsnapshot-being-deleted';
/** Annotation that marks the default VolumeGroupSnapshotClass of a driver. */
export const DEFAULT_GROUP_CLASS = 'groupsnapshot.storage.kubernetes.io/is-default-class';
/**
 * On a VolumeSnapshotContent: the group that it is a member of. No snapshot is created for it
 * alone.
 */
export const GROUP_HANDLE = 'groupsnapshot.storage.k8s.io/volumeGroupSnapshotHandle';

/** A VolumeGroupSnapshot. */
export interface GroupView {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly isDeleting: boolean;
  readonly hasFinalizer: boolean;
  /** The pre-provisioned content to bind; undefined for a dynamic group snapshot. */
  readonly contentName: string | undefined;
  readonly className: string | undefined;
  readonly status: GroupStatus;
}

/** Status of a VolumeGroupSnapshot. */
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
  /** Its VolumeGroupSnapshot requested its deletion, or was deleted. */
  readonly isReleased: boolean;
  readonly deletionPolicy: DeletionPolicy;
  /** The volumes to snapshot together; undefined for a pre-provisioned group. */
  readonly volumeHandles: readonly string[] | undefined;
  /** The pre-provisioned group. */
  readonly given: PreProvisionedGroup | undefined;
  readonly group: { readonly namespace: string; readonly name: string; readonly uid: string };
  readonly status: GroupContentStatus;
}

/** An existing group snapshot and its members, as its user lists them. */
export interface PreProvisionedGroup {
  readonly handle: string;
  readonly snapshotHandles: readonly string[];
}

/** Status of a group, as the driver reports it. */
export interface GroupContentStatus {
  readonly handle: string | undefined;
  readonly isReady: boolean;
  readonly createdMs: number | undefined;
  readonly error: string | undefined;
  readonly members: readonly GroupMember[];
}

/** A snapshot of a group, as its content lists it. */
export interface GroupMember {
  readonly volumeHandle: string;
  readonly snapshotHandle: string;
  readonly createdMs: number | undefined;
  readonly sizeBytes: bigint;
}

/** Returns the name of the content of a VolumeGroupSnapshot, as external-snapshotter derives it. */
export function groupContentNameOf(groupUid: string): string {
  return `groupsnapcontent-${groupUid}`;
}

/** Returns the name of the group on the node; names of its LocalVolumes begin with it. */
export function groupNameOf(groupUid: string): string {
  return `groupsnapshot-${groupUid}`;
}

/** Returns the name of the LocalVolume of a member, and of its snapshot on the node. */
export function nodeGroupSnapshotNameOf(groupUid: string, volumeHandle: string): string {
  return `${groupNameOf(groupUid)}.${volumeHandle}`;
}

/** Returns `group snapshot NAMESPACE/NAME` for messages. */
export function describeGroup({ namespace, name }: Pick<GroupView, 'namespace' | 'name'>): string {
  return `group snapshot ${namespace}/${name}`;
}
