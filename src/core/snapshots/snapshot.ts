/** On a VolumeSnapshot: keeps it until its content is taken care of. The names are those that every tool knows. */
export const SNAPSHOT_FINALIZERS = [
  'snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection',
  'snapshot.storage.kubernetes.io/volumesnapshot-bound-protection',
] as const;
/** On a VolumeSnapshotContent: keeps it until the driver has done its part. */
export const CONTENT_FINALIZER = 'snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection';
/** On a claim that a snapshot is being taken of. */
export const CLAIM_FINALIZER = 'snapshot.storage.kubernetes.io/pvc-as-source-protection';
/** On a VolumeSnapshotContent whose VolumeSnapshot is being deleted or gone: from then on it may be deleted. */
export const BEING_DELETED = 'snapshot.storage.kubernetes.io/volumesnapshot-being-deleted';
export const DEFAULT_CLASS = 'snapshot.storage.kubernetes.io/is-default-class';
/** On a VolumeSnapshotContent: a claim may use the snapshot in another volumeMode than its source. */
export const MODE_CHANGE = 'snapshot.storage.kubernetes.io/allow-volume-mode-change';

/** A VolumeSnapshot. */
export interface SnapshotView {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly isDeleting: boolean;
  readonly finalizers: readonly string[];
  /** It was made for a VolumeGroupSnapshot, which also makes its content. */
  readonly isMember: boolean;
  /** The claim to take it of; undefined where `contentName` is given. */
  readonly claimName: string | undefined;
  /** The content that it wants to be bound to; undefined where it is to be taken. */
  readonly contentName: string | undefined;
  readonly className: string | undefined;
  readonly status: SnapshotStatus;
}

/** What a VolumeSnapshot says of its content. Undefined fields are absent. */
export interface SnapshotStatus {
  readonly contentName: string | undefined;
  readonly isReady: boolean;
  readonly createdMs: number | undefined;
  readonly sizeBytes: bigint | undefined;
  readonly error: string | undefined;
}

export type DeletionPolicy = 'Delete' | 'Retain';

/** A VolumeSnapshotContent. */
export interface ContentView {
  readonly name: string;
  readonly driver: string;
  readonly isDeleting: boolean;
  readonly hasFinalizer: boolean;
  /** Its VolumeSnapshot asks for its end, or had its own. */
  readonly isReleased: boolean;
  readonly deletionPolicy: DeletionPolicy;
  /** The volume to take it of. */
  readonly volumeHandle: string | undefined;
  /** The snapshot that it stands for, where that was there before. */
  readonly snapshotHandle: string | undefined;
  /** It is a member of a group: no snapshot is taken for it alone. */
  readonly isMember: boolean;
  /** `uid` is empty until it is bound. */
  readonly snapshot: { readonly namespace: string; readonly name: string; readonly uid: string };
  readonly status: ContentStatus;
}

/** What the driver says of a snapshot. Undefined fields are absent. */
export interface ContentStatus {
  readonly handle: string | undefined;
  readonly isReady: boolean;
  readonly createdMs: number | undefined;
  readonly sizeBytes: bigint | undefined;
  readonly error: string | undefined;
}

export interface SnapshotClassView {
  readonly name: string;
  readonly driver: string;
  readonly deletionPolicy: DeletionPolicy;
  readonly parameters: Readonly<Record<string, string>>;
  readonly isDefault: boolean;
}

/** Name of the content that is made for a VolumeSnapshot: the one that every snapshot controller chooses, so that two never make two. */
export function contentNameOf(snapshotUid: string): string {
  return `snapcontent-${snapshotUid}`;
}

/** Name of the LocalVolume of a snapshot that is taken for a VolumeSnapshot. */
export function nodeSnapshotNameOf(snapshotUid: string): string {
  return `snapshot-${snapshotUid}`;
}

/** `snapshot NAMESPACE/NAME`, as messages call it. */
export function describeSnapshot({ namespace, name }: Pick<SnapshotView, 'namespace' | 'name'>): string {
  return `snapshot ${namespace}/${name}`;
}
