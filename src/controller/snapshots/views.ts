import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import type { VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent } from '../../api/snapshot-kinds.ts';
import { GROUP_SNAPSHOT_GROUP } from '../../api/group-snapshot-kinds.ts';
import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import { Fault } from '../../core/fault.ts';
import { GROUP_HANDLE } from '../../core/snapshots/group-snapshot.ts';
import type { KubeObject } from '../../kube/resource.ts';
import { parseQuantity } from '../../core/kube-text/quantity.ts';
import {
  BEING_DELETED,
  CONTENT_FINALIZER,
  type ContentView,
  DEFAULT_CLASS,
  type SnapshotClassView,
  type SnapshotView,
} from '../../core/snapshots/snapshot.ts';
import type { NodeSnapshotSource, NodeSnapshotView } from '../../core/snapshots/content-plan.ts';
import type { SnapshotSource } from '../../core/snapshots/snapshot-plan.ts';
import type { Cluster } from '../context/cluster.ts';
import { classNameOf } from '../context/views.ts';

/**
 * On the LocalVolume of a snapshot: the content that published its handle. Never removed, so that a
 * race cannot take the snapshot for one without an owner.
 */
export const CONTENT_ANNOTATION = 'keelson.dev/volume-snapshot-content';

const NS_PER_MS = 1_000_000;

export function isOurs({ spec }: VolumeSnapshotContent): boolean {
  return spec.driver === DRIVER_NAME;
}

export function snapshotView({ metadata, spec, status }: VolumeSnapshot): SnapshotView {
  return {
    uid: metadata?.uid ?? '',
    namespace: metadata?.namespace ?? '',
    name: metadata?.name ?? '',
    isDeleting: metadata?.deletionTimestamp !== undefined,
    finalizers: metadata?.finalizers ?? [],
    isMember: groupUidsOf(metadata).length > 0,
    claimName: spec.source.persistentVolumeClaimName,
    contentName: spec.source.volumeSnapshotContentName,
    className: spec.volumeSnapshotClassName,
    status: {
      contentName: status?.boundVolumeSnapshotContentName,
      isReady: status?.readyToUse ?? false,
      createdMs: status?.creationTime === undefined ? undefined : Date.parse(status.creationTime),
      sizeBytes: readSize(status?.restoreSize),
      error: status?.error?.message,
    },
  };
}

/** UIDs of the VolumeGroupSnapshots that own an object. */
export function groupUidsOf(metadata: KubeObject['metadata']): readonly string[] {
  return (metadata?.ownerReferences ?? [])
    .filter(
      ({ apiVersion, kind }) =>
        kind === 'VolumeGroupSnapshot' && apiVersion.startsWith(`${GROUP_SNAPSHOT_GROUP}/`),
    )
    .map(({ uid }) => uid);
}

/** A value that another controller wrote in an unknown form differs from every desired value. */
function readSize(text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined;
  try {
    return parseQuantity(text, 'restoreSize');
  } catch {
    return undefined;
  }
}

export function contentView({ metadata, spec, status }: VolumeSnapshotContent): ContentView {
  const { namespace = '', name = '', uid = '' } = spec.volumeSnapshotRef;
  const { creationTime, restoreSize } = status ?? {};
  return {
    name: metadata?.name ?? '',
    driver: spec.driver,
    isDeleting: metadata?.deletionTimestamp !== undefined,
    hasFinalizer: metadata?.finalizers?.includes(CONTENT_FINALIZER) ?? false,
    isReleased: metadata?.annotations?.[BEING_DELETED] !== undefined,
    deletionPolicy: spec.deletionPolicy,
    volumeHandle: spec.source.volumeHandle,
    snapshotHandle: spec.source.snapshotHandle,
    isMember: metadata?.annotations?.[GROUP_HANDLE] !== undefined,
    snapshot: { namespace, name, uid },
    status: {
      handle: status?.snapshotHandle,
      isReady: status?.readyToUse ?? false,
      createdMs: creationTime === undefined ? undefined : Math.floor(creationTime / NS_PER_MS),
      sizeBytes: restoreSize === undefined ? undefined : BigInt(restoreSize),
      error: status?.error?.message,
    },
  };
}

/** Returns nanoseconds, as in the content's status. Whole seconds are exact in a double. */
export function nanoseconds(ms: number): number {
  return Math.floor(ms / 1_000) * 1_000 * NS_PER_MS;
}

export function snapshotClassView({
  metadata,
  driver,
  deletionPolicy,
  parameters = {},
}: VolumeSnapshotClass): SnapshotClassView {
  const isDefault = metadata?.annotations?.[DEFAULT_CLASS] === 'true';
  return { name: metadata?.name ?? '', driver, deletionPolicy, parameters, isDefault };
}

export function nodeSnapshotView({ metadata, spec, status }: LocalVolume): NodeSnapshotView {
  return {
    name: metadata?.name ?? '',
    nodeName: spec.nodeName,
    poolName: spec.poolName,
    isDeleting: metadata?.deletionTimestamp !== undefined,
    phase: status?.phase ?? 'Pending',
    handle: status?.volumeHandle,
    createdMs: status?.creationTime === undefined ? undefined : Date.parse(status.creationTime),
    sizeBytes: parseQuantity(status?.capacity ?? spec.size, 'LocalVolume size'),
    message: status?.message ?? '',
    isPublished: metadata?.annotations?.[CONTENT_ANNOTATION] !== undefined,
  };
}

export function nodeSnapshotSource({ metadata, spec, status }: LocalVolume): NodeSnapshotSource {
  const { nodeName, poolName, volumeMode } = spec;
  const size = status?.capacity ?? spec.size;
  return { volumeName: metadata?.name ?? '', nodeName, poolName, size, volumeMode };
}

/**
 * Returns the LocalVolume that asks a node for a snapshot, created for the snapshot object `owner`.
 */
export function nodeSnapshotIntent(
  name: string,
  { volumeName, ...source }: NodeSnapshotSource,
  owner: Readonly<Partial<Record<'namespace' | 'name' | 'uid', string | undefined>>>,
  group?: LocalVolume['spec']['group'],
): LocalVolume {
  return {
    apiVersion: 'keelson.dev/v1alpha1',
    kind: LOCAL_VOLUMES.kind,
    metadata: { name },
    spec: {
      ...source,
      type: 'Snapshot',
      source: { volumeName },
      claim: { namespace: owner.namespace ?? '', name: owner.name ?? '', uid: owner.uid ?? '' },
      ...(group === undefined ? {} : { group }),
    },
  };
}

/** Returns the volume of the claim `key`, or a Fault that says why it cannot be snapshotted. */
export function snapshotSource(key: string, { claims, owners, classes }: Cluster): SnapshotSource | Fault {
  const fault = (what: string): Fault => new Fault('precondition', `claim ${key} ${what}`);
  const claim = claims.store.get(key);
  if (claim === undefined) return fault('does not exist');
  const volume = owners.store.get(claim.spec?.volumeName ?? '');
  if (claim.status?.phase !== 'Bound' || volume === undefined) {
    const driver = classes.store.get(classNameOf(claim))?.provisioner ?? DRIVER_NAME;
    // Of another driver in any case: its handle does not matter.
    if (driver !== DRIVER_NAME) return { driver, volumeHandle: '', volumeMode: '' };
    return fault('is not bound yet');
  }
  const { csi, claimRef, volumeMode = 'Filesystem' } = volume.spec ?? {};
  if (claimRef?.uid !== claim.metadata?.uid)
    return fault('is not the claim that its PersistentVolume is bound to');
  if (csi?.driver === DRIVER_NAME && claim.metadata?.deletionTimestamp !== undefined) {
    return fault('is being deleted');
  }
  return { driver: csi?.driver ?? 'no CSI', volumeHandle: csi?.volumeHandle ?? '', volumeMode };
}
