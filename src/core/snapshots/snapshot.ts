/**
 * On a VolumeSnapshot: keeps it until its content is cleaned up. The names are
 * external-snapshotter's.
 */
export const SNAPSHOT_FINALIZERS = [
  'snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection',
  'snapshot.storage.kubernetes.io/volumesnapshot-bound-protection',
] as const;
/** On a VolumeSnapshotContent: keeps it until the driver has done its part. */
export const CONTENT_FINALIZER = 'snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection';
/** On a claim that a snapshot is being taken of. */
export const CLAIM_FINALIZER = 'snapshot.storage.kubernetes.io/pvc-as-source-protection';
/**
 * On a VolumeSnapshotContent whose VolumeSnapshot is being deleted or was deleted: it may be
 * deleted.
 */
export const BEING_DELETED = 'snapshot.storage.kubernetes.io/volumesnapshot-being-deleted';
/** Annotation that marks the default VolumeSnapshotClass of a driver. */
export const DEFAULT_CLASS = 'snapshot.storage.kubernetes.io/is-default-class';
/** On a VolumeSnapshotContent: a claim may restore it with another volumeMode than its source. */
export const MODE_CHANGE = 'snapshot.storage.kubernetes.io/allow-volume-mode-change';

/** A VolumeSnapshot. */
export interface SnapshotView {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly isDeleting: boolean;
  readonly finalizers: readonly string[];
  /** It was created for a VolumeGroupSnapshot, which also creates its content. */
  readonly isMember: boolean;
  /** The claim to snapshot; undefined where `contentName` is set. */
  readonly claimName: string | undefined;
  /** The pre-provisioned content to bind; undefined for a dynamic snapshot. */
  readonly contentName: string | undefined;
  readonly className: string | undefined;
  readonly status: SnapshotStatus;
}

/** Status of a VolumeSnapshot. Undefined fields are absent. */
export interface SnapshotStatus {
  readonly contentName: string | undefined;
  readonly isReady: boolean;
  readonly createdMs: number | undefined;
  readonly sizeBytes: bigint | undefined;
  readonly error: string | undefined;
}

/** What happens to the data when the snapshot object is deleted. */
export type DeletionPolicy = 'Delete' | 'Retain';

/** A VolumeSnapshotContent. */
export interface ContentView {
  readonly name: string;
  readonly driver: string;
  readonly isDeleting: boolean;
  readonly hasFinalizer: boolean;
  /** Its VolumeSnapshot requested its deletion, or was deleted. */
  readonly isReleased: boolean;
  readonly deletionPolicy: DeletionPolicy;
  /** The volume to snapshot. */
  readonly volumeHandle: string | undefined;
  /** The pre-provisioned snapshot. */
  readonly snapshotHandle: string | undefined;
  /** It is a member of a group: no snapshot is created for it alone. */
  readonly isMember: boolean;
  /** `uid` is empty until it is bound. */
  readonly snapshot: { readonly namespace: string; readonly name: string; readonly uid: string };
  readonly status: ContentStatus;
}

/** Status of a snapshot, as the driver reports it. Undefined fields are absent. */
export interface ContentStatus {
  readonly handle: string | undefined;
  readonly isReady: boolean;
  readonly createdMs: number | undefined;
  readonly sizeBytes: bigint | undefined;
  readonly error: string | undefined;
}

/** A class of snapshots or group snapshots. */
export interface SnapshotClassView {
  readonly name: string;
  readonly driver: string;
  readonly deletionPolicy: DeletionPolicy;
  readonly parameters: Readonly<Record<string, string>>;
  readonly isDefault: boolean;
}

/**
 * Returns the name of the content of a VolumeSnapshot, as external-snapshotter derives it, so that
 * two controllers cannot create two.
 */
export function contentNameOf(snapshotUid: string): string {
  return `snapcontent-${snapshotUid}`;
}

/** Returns the name of the LocalVolume of a snapshot. */
export function nodeSnapshotNameOf(snapshotUid: string): string {
  return `snapshot-${snapshotUid}`;
}

/** Returns `snapshot NAMESPACE/NAME` for messages. */
export function describeSnapshot({ namespace, name }: Pick<SnapshotView, 'namespace' | 'name'>): string {
  return `snapshot ${namespace}/${name}`;
}
