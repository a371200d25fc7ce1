import { createHash } from 'node:crypto';
import type { LocalVolume } from '../../api/local-volume.ts';
import {
  VOLUME_GROUP_SNAPSHOT_CLASSES,
  VOLUME_GROUP_SNAPSHOT_CONTENTS,
  VOLUME_GROUP_SNAPSHOTS,
  type VolumeGroupSnapshot,
  type VolumeGroupSnapshotClass,
  type VolumeGroupSnapshotContent,
} from '../../api/group-snapshot-kinds.ts';
import {
  DEFAULT_GROUP_CLASS,
  GROUP_BEING_DELETED,
  GROUP_CONTENT_FINALIZER,
  GROUP_FINALIZER,
  type GroupContentView,
  type GroupView,
} from '../../core/snapshots/group-snapshot.ts';
import type { SnapshotClassView } from '../../core/snapshots/snapshot.ts';
import type { GroupContentMember } from '../../core/snapshots/group-content-plan.ts';
import { Informer, type InformerDeps } from '../../kube/informer.ts';
import { nodeSnapshotView } from './views.ts';

/** The group snapshot objects of all drivers. Empty while the cluster does not serve the kinds. */
export interface GroupKinds {
  readonly groups: Informer<VolumeGroupSnapshot>;
  readonly groupContents: Informer<VolumeGroupSnapshotContent>;
  readonly groupClasses: Informer<VolumeGroupSnapshotClass>;
}

export const GROUP_RESOURCES = [
  VOLUME_GROUP_SNAPSHOT_CLASSES,
  VOLUME_GROUP_SNAPSHOT_CONTENTS,
  VOLUME_GROUP_SNAPSHOTS,
];

/** Creates the informers; nothing is listed before they run. */
export function createGroupKinds(deps: InformerDeps): GroupKinds {
  return {
    groups: new Informer({ resource: VOLUME_GROUP_SNAPSHOTS }, deps),
    groupContents: new Informer(
      {
        resource: VOLUME_GROUP_SNAPSHOT_CONTENTS,
        indexers: { handle: (content) => [...groupHandlesOf(content)] },
      },
      deps,
    ),
    groupClasses: new Informer({ resource: VOLUME_GROUP_SNAPSHOT_CLASSES }, deps),
  };
}

/** The group handles of a content: pre-provisioned, or published by Keelson. */
export function groupHandlesOf({ spec, status }: VolumeGroupSnapshotContent): readonly string[] {
  const given = spec.source.groupSnapshotHandles?.volumeGroupSnapshotHandle;
  const handles = [given, status?.volumeGroupSnapshotHandle];
  return [...new Set(handles.filter((handle) => handle !== undefined && handle !== ''))] as string[];
}

/**
 * Names of the VolumeSnapshot and VolumeSnapshotContent of a member, as external-snapshotter
 * derives them.
 */
export function memberNamesOf(
  groupUid: string,
  volumeHandle: string,
): { readonly snapshot: string; readonly content: string } {
  const hash = createHash('sha256').update(`${groupUid}${volumeHandle}`).digest('hex');
  return { snapshot: `snapshot-${hash}`, content: `snapcontent-${hash}` };
}

export function groupView({ metadata, spec, status }: VolumeGroupSnapshot): GroupView {
  return {
    uid: metadata?.uid ?? '',
    namespace: metadata?.namespace ?? '',
    name: metadata?.name ?? '',
    isDeleting: metadata?.deletionTimestamp !== undefined,
    hasFinalizer: metadata?.finalizers?.includes(GROUP_FINALIZER) ?? false,
    contentName: spec.source.volumeGroupSnapshotContentName,
    className: spec.volumeGroupSnapshotClassName,
    status: {
      contentName: status?.boundVolumeGroupSnapshotContentName,
      isReady: status?.readyToUse ?? false,
      createdMs: timeOf(status?.creationTime),
      error: status?.error?.message,
    },
  };
}

export function groupContentView({ metadata, spec, status }: VolumeGroupSnapshotContent): GroupContentView {
  const { namespace = '', name = '', uid = '' } = spec.volumeGroupSnapshotRef;
  return {
    name: metadata?.name ?? '',
    driver: spec.driver,
    isDeleting: metadata?.deletionTimestamp !== undefined,
    hasFinalizer: metadata?.finalizers?.includes(GROUP_CONTENT_FINALIZER) ?? false,
    isReleased: metadata?.annotations?.[GROUP_BEING_DELETED] !== undefined,
    deletionPolicy: spec.deletionPolicy,
    volumeHandles: spec.source.volumeHandles,
    given: spec.source.groupSnapshotHandles && {
      handle: spec.source.groupSnapshotHandles.volumeGroupSnapshotHandle,
      snapshotHandles: spec.source.groupSnapshotHandles.volumeSnapshotHandles,
    },
    group: { namespace, name, uid },
    status: {
      handle: status?.volumeGroupSnapshotHandle,
      isReady: status?.readyToUse ?? false,
      createdMs: timeOf(status?.creationTime),
      error: status?.error?.message,
      members: (status?.volumeSnapshotInfoList ?? []).map((info) => ({
        volumeHandle: info.volumeHandle ?? '',
        snapshotHandle: info.snapshotHandle ?? '',
        createdMs: info.creationTime === undefined ? undefined : Math.floor(info.creationTime / 1e6),
        sizeBytes: BigInt(info.restoreSize ?? 0),
      })),
    },
  };
}

export function groupClassView({
  metadata,
  driver,
  deletionPolicy,
  parameters = {},
}: VolumeGroupSnapshotClass): SnapshotClassView {
  const isDefault = metadata?.annotations?.[DEFAULT_GROUP_CLASS] === 'true';
  return { name: metadata?.name ?? '', driver, deletionPolicy, parameters, isDefault };
}

export function nodeGroupSnapshotView(
  nodeSnapshot: LocalVolume,
): NonNullable<GroupContentMember['nodeSnapshot']> {
  return { ...nodeSnapshotView(nodeSnapshot), groupHandle: nodeSnapshot.status?.groupHandle };
}

function timeOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Date.parse(text);
}
