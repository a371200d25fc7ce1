import {
  VOLUME_GROUP_SNAPSHOT_CONTENTS,
  type VolumeGroupSnapshotContent,
} from '../../api/group-snapshot-kinds.ts';
import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import { VOLUME_SNAPSHOT_CONTENTS } from '../../api/snapshot-kinds.ts';
import { apiTime } from '../../core/kube-text/api-status.ts';
import {
  type GroupContentMember,
  type GroupContentState,
  planGroupContent,
} from '../../core/snapshots/group-content-plan.ts';
import {
  GROUP_CONTENT_FINALIZER,
  type GroupContentStatus,
  groupContentNameOf,
  groupNameOf,
  nodeGroupSnapshotNameOf,
} from '../../core/snapshots/group-snapshot.ts';
import { findObject, type KubeClient, listAll } from '../../kube/client.ts';
import type { Cluster } from '../context/cluster.ts';
import type { ContentKind, LivePlan, NodeSnapshotOwnership } from './content-reconciler.ts';
import { groupContentView, groupHandlesOf, type GroupKinds, nodeGroupSnapshotView } from './group-kinds.ts';
import { handlesOf, sharersOf, type SnapshotKinds } from './kinds.ts';
import { isOnKnownNode, isOnLiveNode } from './snapshot-nodes.ts';
import { nanoseconds, nodeSnapshotIntent, nodeSnapshotSource } from './views.ts';

export interface GroupContentKindDeps {
  readonly client: KubeClient;
  readonly cluster: Cluster;
  readonly kinds: SnapshotKinds;
  readonly groupKinds: GroupKinds;
}

/** How a state sees LocalVolumes: as the informers have them, or as the API server does. */
interface Lookup {
  /** The LocalVolume in its newest version; undefined when it was deleted. */
  current(nodeSnapshot: LocalVolume): LocalVolume | undefined;
  hasNode(nodeSnapshot: LocalVolume): boolean;
  /** Name of a VolumeSnapshotContent with this snapshot handle. */
  holderOf(handle: string): string | undefined;
}

/** VolumeGroupSnapshotContents, which have one LocalVolume for each member. */
export class GroupContentKind implements ContentKind<VolumeGroupSnapshotContent, GroupContentStatus> {
  readonly resource = VOLUME_GROUP_SNAPSHOT_CONTENTS;
  readonly contents: GroupKinds['groupContents'];
  readonly finalizer = GROUP_CONTENT_FINALIZER;
  readonly reasons = {
    creationFailed: 'GroupSnapshotFailed',
    deletionFailed: 'GroupSnapshotDeleteError',
  } as const;
  readonly ownership: NodeSnapshotOwnership<VolumeGroupSnapshotContent>;
  readonly #deps: GroupContentKindDeps;

  constructor(deps: GroupContentKindDeps) {
    this.#deps = deps;
    this.contents = deps.groupKinds.groupContents;
    this.ownership = {
      isOwned: isMember,
      hasContent: (nodeSnapshot) => this.contents.store.get(contentNameOf(nodeSnapshot)) !== undefined,
      hasLiveContent: async (nodeSnapshot, signal) => {
        const name = contentNameOf(nodeSnapshot);
        return (
          (await findObject(deps.client, VOLUME_GROUP_SNAPSHOT_CONTENTS, { name }, { signal })) !== undefined
        );
      },
      absentNamesOf: (content) =>
        this.#stateOf(content, this.#known())
          .members.filter(
            ({ nodeSnapshot, givenHandle }) => nodeSnapshot === undefined && givenHandle === undefined,
          )
          .map(({ volumeHandle }) => nameOf(content, volumeHandle)),
      isOf: ({ spec }, content) => spec.claim?.uid === content.spec.volumeGroupSnapshotRef.uid,
    };
  }

  plan(content: VolumeGroupSnapshotContent, isRefused: boolean): ReturnType<typeof planGroupContent> {
    return planGroupContent({ ...this.#stateOf(content, this.#known()), isRefused });
  }

  async planLive(
    content: VolumeGroupSnapshotContent,
    names: readonly string[],
    signal: AbortSignal,
  ): Promise<LivePlan<GroupContentStatus>> {
    const { client } = this.#deps;
    const holders = new Map(
      (await listAll(client, VOLUME_SNAPSHOT_CONTENTS, { signal })).flatMap((holder) =>
        handlesOf(holder).map((handle) => [handle, holder.metadata?.name ?? ''] as const),
      ),
    );
    const live = new Map<string, LocalVolume>();
    const lost = new Set<string>();
    for (const name of names) {
      const nodeSnapshot = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
      if (nodeSnapshot === undefined) continue;
      live.set(name, nodeSnapshot);
      if (!(await isOnLiveNode(nodeSnapshot, client, signal))) lost.add(name);
    }
    const known = this.#known();
    const isRead = ({ metadata }: LocalVolume): boolean => names.includes(metadata?.name ?? '');
    const state = this.#stateOf(content, {
      current: (each) => (isRead(each) ? live.get(each.metadata?.name ?? '') : each),
      hasNode: (each) => (isRead(each) ? !lost.has(each.metadata?.name ?? '') : known.hasNode(each)),
      holderOf: (handle) => holders.get(handle),
    });
    return { plan: planGroupContent(state), nodeSnapshots: [...live.values()] };
  }

  intentsOf(content: VolumeGroupSnapshotContent, volumeHandles: readonly string[]): readonly LocalVolume[] {
    const { volumeGroupSnapshotRef } = content.spec;
    const { members } = this.#stateOf(content, this.#known());
    const volumeNames = members.flatMap(({ source }) => (source === undefined ? [] : [source.volumeName]));
    const group = { name: groupNameOf(volumeGroupSnapshotRef.uid ?? ''), volumeNames };
    return members.flatMap(({ volumeHandle, source }) =>
      source === undefined || !volumeHandles.includes(volumeHandle)
        ? []
        : [nodeSnapshotIntent(nameOf(content, volumeHandle), source, volumeGroupSnapshotRef, group)],
    );
  }

  statusOf({ handle, isReady, createdMs, error, members }: GroupContentStatus): {
    readonly fields: object;
    readonly error: string | undefined;
  } {
    const fields = {
      volumeGroupSnapshotHandle: handle,
      readyToUse: isReady,
      creationTime: createdMs === undefined ? undefined : apiTime(new Date(createdMs)),
      volumeSnapshotInfoList: members.map((member) => ({
        volumeHandle: member.volumeHandle,
        snapshotHandle: member.snapshotHandle,
        creationTime: nanoseconds(member.createdMs ?? 0),
        readyToUse: isReady,
        restoreSize: Number(member.sizeBytes),
      })),
    };
    return { fields, error };
  }

  #known(): Lookup {
    const { cluster, kinds } = this.#deps;
    return {
      current: (nodeSnapshot) => nodeSnapshot,
      hasNode: (nodeSnapshot) => isOnKnownNode(nodeSnapshot, cluster),
      holderOf: (handle) => kinds.contents.store.byIndex('handle', handle)[0]?.metadata?.name,
    };
  }

  #stateOf(content: VolumeGroupSnapshotContent, lookup: Lookup): GroupContentState {
    const view = groupContentView(content);
    const { store } = this.#deps.cluster.volumes;
    const given = view.given?.snapshotHandles ?? [];
    const ofGroup = view.given === undefined ? [] : store.byIndex('group', view.given.handle);
    return {
      content: view,
      members: this.#membersOf(content, lookup),
      unnamed: ofGroup
        .map(({ status }) => status?.volumeHandle ?? '')
        .filter((handle) => !given.includes(handle)),
      sharers: sharersOf(content, groupHandlesOf(content), this.contents),
      isRefused: false,
    };
  }

  #membersOf(content: VolumeGroupSnapshotContent, lookup: Lookup): readonly GroupContentMember[] {
    const { volumeHandles = [], given, group } = groupContentView(content);
    const { store } = this.#deps.cluster.volumes;
    const member = (
      known: LocalVolume | undefined,
    ): Pick<GroupContentMember, 'nodeSnapshot' | 'holder' | 'hasNode'> => {
      const nodeSnapshot = known && lookup.current(known);
      const handle = nodeSnapshot?.status?.volumeHandle;
      return {
        nodeSnapshot: nodeSnapshot && nodeGroupSnapshotView(nodeSnapshot),
        holder: handle === undefined ? undefined : lookup.holderOf(handle),
        hasNode: nodeSnapshot === undefined || lookup.hasNode(nodeSnapshot),
      };
    };
    const created = volumeHandles.map((volumeHandle): GroupContentMember => {
      const source = store.byIndex('handle', volumeHandle).find(({ spec }) => spec.type === 'Volume');
      const named = store.get(nameOf(content, volumeHandle));
      const own = named?.spec.claim?.uid === group.uid ? named : undefined;
      return { volumeHandle, source: source && nodeSnapshotSource(source), ...member(own) };
    });
    const preProvisioned = (given?.snapshotHandles ?? []).map((givenHandle): GroupContentMember => {
      const known = store.byIndex('handle', givenHandle).find(({ spec }) => spec.type === 'Snapshot');
      return { volumeHandle: '', givenHandle, source: undefined, ...member(known) };
    });
    return [...created, ...preProvisioned];
  }
}

function nameOf({ spec }: VolumeGroupSnapshotContent, volumeHandle: string): string {
  return nodeGroupSnapshotNameOf(spec.volumeGroupSnapshotRef.uid ?? '', volumeHandle);
}

function contentNameOf({ spec }: LocalVolume): string {
  return groupContentNameOf(spec.claim?.uid ?? '');
}

/** Whether a LocalVolume was created for a VolumeGroupSnapshot. */
function isMember({ spec }: LocalVolume): boolean {
  return (
    spec.group !== undefined && spec.claim !== undefined && spec.group.name === groupNameOf(spec.claim.uid)
  );
}
