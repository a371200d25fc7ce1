import {
  GROUP_SNAPSHOT_GROUP,
  VOLUME_GROUP_SNAPSHOTS,
  type VolumeGroupSnapshot,
  type VolumeGroupSnapshotContent,
} from '../../api/group-snapshot-kinds.ts';
import {
  VOLUME_SNAPSHOT_CONTENTS,
  VOLUME_SNAPSHOTS,
  type VolumeSnapshot,
  type VolumeSnapshotContent,
} from '../../api/snapshot-kinds.ts';
import { Fault, isFault } from '../../core/fault.ts';
import { GROUP_HANDLE, type GroupMember, IN_GROUP_FINALIZER } from '../../core/snapshots/group-snapshot.ts';
import { CONTENT_FINALIZER } from '../../core/snapshots/snapshot.ts';
import { findObject, type KubeClient } from '../../kube/client.ts';
import type { KubeObject, ObjectName, Resource } from '../../kube/resource.ts';
import type { Cluster } from '../context/cluster.ts';
import { memberNamesOf } from './group-kinds.ts';
import type { SnapshotKinds } from './kinds.ts';
import { nanoseconds } from './views.ts';

export interface MemberRequest {
  readonly group: VolumeGroupSnapshot;
  readonly content: VolumeGroupSnapshotContent;
  readonly member: GroupMember;
}

export interface MemberDeps {
  readonly client: KubeClient;
  readonly cluster: Cluster;
  readonly kinds: SnapshotKinds;
}

const API_VERSION = 'snapshot.storage.k8s.io/v1';

/**
 * Ensures the VolumeSnapshot of a member and its VolumeSnapshotContent, bound to each other. The
 * binding in the status is written last: while it is absent, no controller creates a snapshot for
 * them, and this step is repeated.
 */
export async function makeMember(
  { group, content, member }: MemberRequest,
  { client, cluster, kinds }: MemberDeps,
  signal: AbortSignal,
): Promise<void> {
  const { namespace = '', name: groupName = '', uid: groupUid = '' } = group.metadata ?? {};
  const names = memberNamesOf(groupUid, member.volumeHandle);
  const [owner] = cluster.owners.store.byIndex('handle', member.volumeHandle);
  const groupHandle = content.status?.volumeGroupSnapshotHandle ?? '';
  const wanted = snapshotOf(group, names.snapshot, owner?.spec?.claimRef?.name ?? '');
  const snapshot = await ensure(client, VOLUME_SNAPSHOTS, wanted, signal);
  if (snapshot.metadata?.ownerReferences?.some(({ uid }) => uid === groupUid) !== true) {
    throw new Fault(
      'conflict',
      `VolumeSnapshot ${namespace}/${names.snapshot} does not belong to group snapshot ${groupName}`,
    );
  }
  const bound = contentOf({ content, member }, names.content, snapshot, owner?.spec?.volumeMode);
  const own = await ensure(client, VOLUME_SNAPSHOT_CONTENTS, bound, signal);
  const reported = {
    snapshotHandle: member.snapshotHandle,
    volumeGroupSnapshotHandle: groupHandle,
    creationTime: nanoseconds(member.createdMs ?? 0),
    restoreSize: Number(member.sizeBytes),
    readyToUse: true,
  };
  const options = { subresource: 'status', signal };
  const withStatus = await client.patch(
    VOLUME_SNAPSHOT_CONTENTS,
    { name: names.content },
    { merge: { status: reported }, precondition: { uid: own.metadata?.uid } },
    options,
  );
  kinds.contents.remember(withStatus);
  const binding = { boundVolumeSnapshotContentName: names.content, volumeGroupSnapshotName: groupName };
  const written = await client.patch(
    VOLUME_SNAPSHOTS,
    { namespace, name: names.snapshot },
    { merge: { status: binding }, precondition: { uid: snapshot.metadata.uid } },
    options,
  );
  kinds.snapshots.remember(written);
}

function snapshotOf(group: VolumeGroupSnapshot, name: string, claimName: string): VolumeSnapshot {
  return {
    apiVersion: API_VERSION,
    kind: VOLUME_SNAPSHOTS.kind,
    metadata: {
      name,
      namespace: group.metadata?.namespace ?? '',
      finalizers: [IN_GROUP_FINALIZER],
      ownerReferences: [
        {
          apiVersion: `${GROUP_SNAPSHOT_GROUP}/v1`,
          kind: VOLUME_GROUP_SNAPSHOTS.kind,
          name: group.metadata?.name ?? '',
          uid: group.metadata?.uid ?? '',
          controller: true,
        },
      ],
    },
    spec: { source: { persistentVolumeClaimName: claimName } },
  };
}

function contentOf(
  { content, member }: Pick<MemberRequest, 'content' | 'member'>,
  name: string,
  snapshot: VolumeSnapshot,
  volumeMode: string | undefined,
): VolumeSnapshotContent {
  return {
    apiVersion: API_VERSION,
    kind: VOLUME_SNAPSHOT_CONTENTS.kind,
    metadata: {
      name,
      finalizers: [CONTENT_FINALIZER],
      annotations: { [GROUP_HANDLE]: content.status?.volumeGroupSnapshotHandle ?? '' },
    },
    spec: {
      volumeSnapshotRef: {
        apiVersion: API_VERSION,
        kind: VOLUME_SNAPSHOTS.kind,
        namespace: snapshot.metadata?.namespace ?? '',
        name: snapshot.metadata?.name ?? '',
        uid: snapshot.metadata?.uid ?? '',
      },
      driver: content.spec.driver,
      deletionPolicy: content.spec.deletionPolicy,
      source: { volumeHandle: member.volumeHandle },
      ...(volumeMode === undefined ? {} : { sourceVolumeMode: volumeMode }),
    },
  };
}

/**
 * Deletes a VolumeSnapshot of a group, then removes its finalizer: the deletion comes first, or it
 * would remain as an independent snapshot.
 */
export async function releaseMember(
  { metadata }: VolumeGroupSnapshot,
  name: string,
  { client, kinds }: Pick<MemberDeps, 'client' | 'kinds'>,
  signal: AbortSignal,
): Promise<void> {
  const at = { namespace: metadata?.namespace ?? '', name };
  const live = await findObject(client, VOLUME_SNAPSHOTS, at, { signal });
  if (live === undefined) return;
  const { uid, deletionTimestamp } = live.metadata ?? {};
  if (deletionTimestamp === undefined) {
    await client.delete(VOLUME_SNAPSHOTS, at, { precondition: { uid }, signal });
  }
  const deleted = await findObject(client, VOLUME_SNAPSHOTS, at, { signal });
  if (deleted === undefined || deleted.metadata?.uid !== uid) return;
  const before = deleted.metadata?.finalizers ?? [];
  const finalizers = before.filter((each) => each !== IN_GROUP_FINALIZER);
  // A member of a pre-provisioned group has no such finalizer.
  if (finalizers.length === before.length) return;
  const precondition = { uid, resourceVersion: deleted.metadata?.resourceVersion };
  const written = await client.patch(
    VOLUME_SNAPSHOTS,
    at,
    { merge: { metadata: { finalizers } }, precondition },
    { signal },
  );
  if (finalizers.length > 0) kinds.snapshots.remember(written);
}

/** Creates the object, or returns the existing one of that name. */
async function ensure<T extends KubeObject>(
  client: KubeClient,
  resource: Resource<T>,
  object: T,
  signal: AbortSignal,
): Promise<T> {
  const { name = '', namespace } = object.metadata ?? {};
  try {
    return await client.create(resource, object, { signal });
  } catch (error) {
    if (!isFault(error, 'conflict')) throw error;
    const at: ObjectName = namespace === undefined ? { name } : { name, namespace };
    return await client.get(resource, at, { signal });
  }
}
