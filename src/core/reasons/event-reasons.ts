/**
 * Reasons of the events that Keelson records, with what each means. The documentation lists them
 * from here. Where a CSI sidecar or snapshot-controller records the same event, the reason is
 * theirs.
 */
export const EVENT_REASONS = {
  Provisioning: 'The volume of a claim takes longer than 2 s to create; names its node and pool.',
  ProvisioningFailed: 'The claim cannot get a volume now; the message says why. It is retried.',
  ProvisioningSucceeded: 'The volume of a claim is ready and its PersistentVolume exists.',
  VolumeFailedDelete: 'The volume of a released PersistentVolume cannot be deleted now. It is retried.',
  Resizing: 'The controller asks the node to expand a volume.',
  FileSystemResizeRequired: 'The volume is larger; kubelet expands its file system on next use.',
  VolumeResizeSuccessful: 'The volume has the requested size.',
  VolumeResizeFailed: 'The volume cannot be expanded; the message says why.',
  VolumeModify: 'The controller applies a VolumeAttributesClass to a volume.',
  VolumeModifySuccessful: 'The volume has the parameters of its VolumeAttributesClass.',
  VolumeModifyFailed: 'The VolumeAttributesClass cannot be applied; the message says why.',
  VolumeModifyCanceled: 'The claim went back to its former VolumeAttributesClass.',
  NodeLost: 'The node of a volume no longer exists. The data is kept until an administrator releases it.',
  VolumeLost: 'The node no longer has the data of a volume.',
  VolumeReleased: 'An administrator released the data of a volume on an unreachable node.',
  ReleaseRefused: 'A release was refused, because the node is Ready and can serve the volume.',
  CreatingSnapshot: 'A snapshot of a claim is being created.',
  SnapshotCreated: 'The snapshot exists.',
  SnapshotReady: 'The snapshot can be restored.',
  SnapshotCreationFailed: 'The snapshot cannot be created now; the message says why. It is retried.',
  SnapshotDeletePending: 'The snapshot is being deleted and something still uses it.',
  SnapshotDeleteError: 'The data of a deleted snapshot must stay; the message says why.',
  SnapshotDeleted: 'The VolumeSnapshot of a content was deleted; the content keeps the data.',
  SnapshotContentCreationFailed: 'A VolumeSnapshotContent cannot be created; the message says why.',
  SnapshotContentMissing: 'The VolumeSnapshotContent that a VolumeSnapshot refers to does not exist.',
  SnapshotContentMisbound: 'The VolumeSnapshotContent refers to another VolumeSnapshot.',
  CreatingGroupSnapshot: 'A group snapshot is being created.',
  GroupSnapshotPending: 'The group snapshot cannot be created now; the message says why.',
  GroupSnapshotReady: 'The members of the group snapshot can be restored.',
  GroupSnapshotCreationFailed: 'The group snapshot cannot be created; the message says why.',
  GroupSnapshotFailed: 'The node cannot create the group snapshot; the message says why.',
  GroupSnapshotDeleteError: 'The data of a deleted group snapshot must stay; the message says why.',
} as const;

/** A documented event reason. */
export type EventReason = keyof typeof EVENT_REASONS;
