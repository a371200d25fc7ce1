import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import {
  VOLUME_GROUP_SNAPSHOT_CONTENTS,
  type VolumeGroupSnapshotContent,
} from '../../api/group-snapshot-kinds.ts';
import { VOLUME_SNAPSHOT_CONTENTS } from '../../api/snapshot-kinds.ts';
import { apiTime } from '../../core/kube-text/api-status.ts';
import {
  GROUP_CONTENT_FINALIZER,
  type GroupContentStatus,
  groupContentNameOf,
  nodeGroupSnapshotNameOf,
  groupNameOf,
} from '../../core/snapshots/group-snapshot.ts';
import {
  type GroupContentMember,
  type GroupContentPlan,
  type GroupContentState,
  planGroupContent,
} from '../../core/snapshots/group-content-plan.ts';
import { planOrphan } from '../../core/snapshots/snapshot-content-plan.ts';
import { findObject, type KubeClient, listAll } from '../../kube/client.ts';
import type { EventRecorder } from '../../kube/event-recorder.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import type { Cluster } from '../context/cluster.ts';
import { annotateVolume } from '../context/local-volume-writes.ts';
import { releaseNodeSnapshot, isOnKnownNode, isOnLiveNode } from './snapshot-nodes.ts';
import { groupContentView, nodeGroupSnapshotView, groupHandlesOf, type GroupKinds } from './group-kinds.ts';
import { handlesOf, type SnapshotKinds } from './kinds.ts';
import { nodeSnapshotSource, nodeSnapshotView, nanoseconds, CONTENT_ANNOTATION } from './views.ts';

export interface GroupContentReconcilerDeps {
  readonly client: KubeClient;
  readonly cluster: Cluster;
  readonly kinds: SnapshotKinds;
  readonly groupKinds: GroupKinds;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** A node that refused is not asked again for the same group before this. */
const REFUSED_MS = 60_000;

/** The part of group snapshots that is the driver's: from a VolumeGroupSnapshotContent to LocalVolumes and back to its status. */
export class GroupContentReconciler {
  readonly #deps: GroupContentReconcilerDeps;
  readonly #refusedUntilMs = new Map<string, number>();

  constructor(deps: GroupContentReconcilerDeps) {
    this.#deps = deps;
  }

  /** One step for the VolumeGroupSnapshotContent `name`. The write that it makes brings the next one. */
  async reconcile(name: string, signal: AbortSignal): Promise<WorkResult> {
    const content = this.#deps.groupKinds.groupContents.store.get(name);
    if (content === undefined) {
      this.#refusedUntilMs.delete(name);
      return undefined;
    }
    return await this.#carryOut(content, planGroupContent(this.#stateOf(content)), signal);
  }

  /** One step for the LocalVolume `name` of a member: it goes when its group's content is gone and nobody has heard of it. */
  async reconcileNodeSnapshot(name: string, signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster, groupKinds, logger } = this.#deps;
    const known = cluster.volumes.store.get(name);
    const contentName = groupContentNameOf(known?.spec.claim?.uid ?? '');
    if (known === undefined || !isUnreported(known) || groupKinds.groupContents.store.get(contentName)) {
      return undefined;
    }
    if (planOrphan(nodeSnapshotView(known), isOnKnownNode(known, cluster)).do === 'nothing') return undefined;
    // Everything that could be a reason to keep it is read from the server.
    const nodeSnapshot = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
    const content = await findObject(
      client,
      VOLUME_GROUP_SNAPSHOT_CONTENTS,
      { name: contentName },
      { signal },
    );
    if (content !== undefined) return { afterMs: 1_000 };
    if (nodeSnapshot === undefined || !isUnreported(nodeSnapshot)) return undefined;
    const plan = planOrphan(nodeSnapshotView(nodeSnapshot), await isOnLiveNode(nodeSnapshot, client, signal));
    if (plan.do === 'abandon') await releaseNodeSnapshot(nodeSnapshot, this.#deps, signal);
    if (plan.do === 'delete') {
      const { uid, resourceVersion } = nodeSnapshot.metadata ?? {};
      await client.delete(LOCAL_VOLUMES, { name }, { precondition: { uid, resourceVersion }, signal });
      logger.info({ volume: name }, 'a member of a group snapshot that nobody has heard of is deleted');
    }
    return undefined;
  }

  async #carryOut(
    content: VolumeGroupSnapshotContent,
    plan: GroupContentPlan,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const { clock } = this.#deps;
    switch (plan.do) {
      case 'nothing': {
        const leftMs = (this.#refusedUntilMs.get(content.metadata?.name ?? '') ?? 0) - clock.nowMs();
        return leftMs > 0 ? { afterMs: leftMs } : undefined;
      }
      case 'create':
        return await this.#create(content, plan.volumeHandles, signal);
      case 'mark':
        for (const name of plan.names) {
          const nodeSnapshot = this.#deps.cluster.volumes.store.get(name);
          if (nodeSnapshot === undefined) continue;
          await annotateVolume(
            nodeSnapshot,
            { [CONTENT_ANNOTATION]: content.metadata?.name ?? '' },
            this.#deps,
            signal,
          );
        }
        return undefined;
      case 'report':
        await this.#report(content, plan.status, signal);
        return undefined;
      case 'refuse':
        this.#recordEvent(content, plan.note);
        return { afterMs: REFUSED_MS };
      case 'discard':
      case 'delete-cuts':
        return await this.#end(content, plan, signal);
      case 'abandon':
        return await this.#abandonAll(plan.names, signal);
      case 'remove-finalizer':
        return await this.#removeFinalizer(content, signal);
    }
  }

  /** The intents come first. Their content is read from the server: one that is gone by now must not get a group snapshot. */
  async #create(
    content: VolumeGroupSnapshotContent,
    volumeHandles: readonly string[],
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const { client, cluster } = this.#deps;
    const live = await this.#live(content, signal);
    if (live === undefined || planGroupContent(this.#stateOf(live)).do !== 'create') return { afterMs: 200 };
    const { namespace = '', name = '', uid = '' } = live.spec.volumeGroupSnapshotRef;
    const { members } = this.#stateOf(live);
    const volumeNames = members.flatMap(({ source }) => (source === undefined ? [] : [source.volumeName]));
    for (const { volumeHandle, source } of members) {
      if (source === undefined || !volumeHandles.includes(volumeHandle)) continue;
      const { nodeName, poolName, size, volumeMode, volumeName } = source;
      // Crash window: some are there. An agent that sees them needs no other one to take the group; the rest are made in the next round.
      const nodeSnapshot = await client.create(
        LOCAL_VOLUMES,
        {
          apiVersion: 'keelson.dev/v1alpha1',
          kind: LOCAL_VOLUMES.kind,
          metadata: { name: nodeGroupSnapshotNameOf(uid, volumeHandle) },
          spec: {
            nodeName,
            poolName,
            type: 'Snapshot',
            size,
            volumeMode,
            source: { volumeName },
            claim: { namespace, name, uid },
            group: { name: groupNameOf(uid), volumeNames },
          },
        },
        { signal },
      );
      cluster.volumes.remember(nodeSnapshot);
    }
    return undefined;
  }

  /** Everything that could be a reason to keep the snapshots is read from the server: this is the step that loses data when it errs. */
  async #end(
    content: VolumeGroupSnapshotContent,
    plan: Extract<GroupContentPlan, { do: 'discard' | 'delete-cuts' }>,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const { client, groupKinds, logger, clock } = this.#deps;
    const live = await this.#live(content, signal);
    if (live === undefined) return { afterMs: 200 };
    if (planGroupContent(this.#stateOf(live)).do !== plan.do) {
      groupKinds.groupContents.remember(live);
      return { afterMs: 200 };
    }
    const held = new Set((await listAll(client, VOLUME_SNAPSHOT_CONTENTS, { signal })).flatMap(handlesOf));
    if (plan.do === 'discard') {
      this.#refusedUntilMs.set(content.metadata?.name ?? '', clock.nowMs() + REFUSED_MS);
      await this.#report(content, plan.status, signal);
    }
    for (const name of plan.names) {
      const nodeSnapshot = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
      const isReported = nodeSnapshot?.metadata?.annotations?.[CONTENT_ANNOTATION] !== undefined;
      if (nodeSnapshot === undefined || held.has(nodeSnapshot.status?.volumeHandle ?? '')) continue;
      if (plan.do === 'discard' && isReported) continue;
      const { uid, resourceVersion } = nodeSnapshot.metadata ?? {};
      await client.delete(LOCAL_VOLUMES, { name }, { precondition: { uid, resourceVersion }, signal });
      logger.info({ volume: name, step: plan.do }, 'a member of a group snapshot is deleted');
    }
    return undefined;
  }

  /** The server is asked whether the node really is gone, and whether really nobody has heard of them. */
  async #abandonAll(names: readonly string[], signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster } = this.#deps;
    for (const name of names) {
      const nodeSnapshot = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
      if (nodeSnapshot === undefined) continue;
      const isUntold = isUnreported(nodeSnapshot) && nodeSnapshot.metadata?.deletionTimestamp !== undefined;
      if (!isUntold || (await isOnLiveNode(nodeSnapshot, client, signal))) {
        cluster.volumes.remember(nodeSnapshot);
        return { afterMs: 200 };
      }
      await releaseNodeSnapshot(nodeSnapshot, this.#deps, signal);
    }
    return undefined;
  }

  /** Without LocalVolumes behind it the server is asked whether there really are none. */
  async #removeFinalizer(content: VolumeGroupSnapshotContent, signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster } = this.#deps;
    const { name = '', uid, resourceVersion, finalizers = [] } = content.metadata ?? {};
    const known = this.#stateOf(content).members;
    for (const { volumeHandle, givenHandle, nodeSnapshot } of known) {
      if (nodeSnapshot !== undefined || givenHandle !== undefined) continue;
      const nodeSnapshotName = nodeGroupSnapshotNameOf(
        content.spec.volumeGroupSnapshotRef.uid ?? '',
        volumeHandle,
      );
      const missed = await findObject(client, LOCAL_VOLUMES, { name: nodeSnapshotName }, { signal });
      if (missed === undefined) continue;
      cluster.volumes.remember(missed);
      return { afterMs: 200 };
    }
    const merge = { metadata: { finalizers: finalizers.filter((each) => each !== GROUP_CONTENT_FINALIZER) } };
    const precondition = { uid, resourceVersion };
    await client.patch(VOLUME_GROUP_SNAPSHOT_CONTENTS, { name }, { merge, precondition }, { signal });
    return undefined;
  }

  async #report(
    content: VolumeGroupSnapshotContent,
    { handle, isReady, createdMs, error, members }: GroupContentStatus,
    signal: AbortSignal,
  ): Promise<void> {
    const { client, groupKinds, clock } = this.#deps;
    const { name = '', uid } = content.metadata ?? {};
    const merge = {
      status: {
        volumeGroupSnapshotHandle: handle,
        readyToUse: isReady,
        creationTime: createdMs === undefined ? undefined : apiTime(new Date(createdMs)),
        error: error === undefined ? null : { message: error, time: apiTime(new Date(clock.nowMs())) },
        volumeSnapshotInfoList: members.map((member) => ({
          volumeHandle: member.volumeHandle,
          snapshotHandle: member.snapshotHandle,
          creationTime: nanoseconds(member.createdMs ?? 0),
          readyToUse: isReady,
          restoreSize: Number(member.sizeBytes),
        })),
      },
    };
    const options = { subresource: 'status', signal };
    const patch = { merge, precondition: { uid } };
    groupKinds.groupContents.remember(
      await client.patch(VOLUME_GROUP_SNAPSHOT_CONTENTS, { name }, patch, options),
    );
    if (error !== undefined && error !== content.status?.error?.message) this.#recordEvent(content, error);
  }

  async #live(
    { metadata }: VolumeGroupSnapshotContent,
    signal: AbortSignal,
  ): Promise<VolumeGroupSnapshotContent | undefined> {
    const name = { name: metadata?.name ?? '' };
    const live = await findObject(this.#deps.client, VOLUME_GROUP_SNAPSHOT_CONTENTS, name, { signal });
    return live?.metadata?.uid === metadata?.uid ? live : undefined;
  }

  #stateOf(content: VolumeGroupSnapshotContent): GroupContentState {
    const { cluster, kinds, groupKinds, clock } = this.#deps;
    const view = groupContentView(content);
    const { store } = cluster.volumes;
    const member = (
      nodeSnapshot: LocalVolume | undefined,
    ): Pick<GroupContentMember, 'nodeSnapshot' | 'holder' | 'hasNode'> => {
      const handle = nodeSnapshot?.status?.volumeHandle;
      const [holder] = handle === undefined ? [] : kinds.contents.store.byIndex('handle', handle);
      const hasNode = nodeSnapshot === undefined || isOnKnownNode(nodeSnapshot, cluster);
      return {
        nodeSnapshot: nodeSnapshot && nodeGroupSnapshotView(nodeSnapshot),
        holder: holder?.metadata?.name,
        hasNode,
      };
    };
    const taken = (view.volumeHandles ?? []).map((volumeHandle): GroupContentMember => {
      const [source] = store.byIndex('handle', volumeHandle).filter(({ spec }) => spec.type === 'Volume');
      const named = store.get(nodeGroupSnapshotNameOf(view.group.uid, volumeHandle));
      const nodeSnapshot = named?.spec.claim?.uid === view.group.uid ? named : undefined;
      return { volumeHandle, source: source && nodeSnapshotSource(source), ...member(nodeSnapshot) };
    });
    const given = (view.given?.snapshotHandles ?? []).map((givenHandle): GroupContentMember => {
      const [nodeSnapshot] = store
        .byIndex('handle', givenHandle)
        .filter(({ spec }) => spec.type === 'Snapshot');
      return { volumeHandle: '', givenHandle, source: undefined, ...member(nodeSnapshot) };
    });
    const handles = groupHandlesOf(content);
    const named = new Set(view.given?.snapshotHandles);
    const ofGroup = view.given === undefined ? [] : store.byIndex('group', view.given.handle);
    const sharers = handles.flatMap((handle) => groupKinds.groupContents.store.byIndex('handle', handle));
    return {
      content: view,
      members: [...taken, ...given],
      unnamed: ofGroup.map(({ status }) => status?.volumeHandle ?? '').filter((each) => !named.has(each)),
      sharers: sharers.flatMap(({ metadata }) =>
        metadata?.uid === content.metadata?.uid ? [] : [metadata?.name ?? ''],
      ),
      isRefused: (this.#refusedUntilMs.get(view.name) ?? 0) > clock.nowMs(),
    };
  }

  #recordEvent(content: VolumeGroupSnapshotContent, note: string): void {
    const { events, logger } = this.#deps;
    logger.info({ content: content.metadata?.name, reason: note }, 'group snapshot content waits');
    const reason = 'GroupSnapshotFailed';
    events.record(VOLUME_GROUP_SNAPSHOT_CONTENTS, content, {
      type: 'Warning',
      reason,
      action: 'Snapshot',
      note,
    });
  }
}

/** A member of a group whose handle was never told. */
function isUnreported({ metadata, spec }: LocalVolume): boolean {
  return (
    spec.group !== undefined &&
    spec.claim !== undefined &&
    spec.group.name === groupNameOf(spec.claim.uid) &&
    metadata?.annotations?.[CONTENT_ANNOTATION] === undefined
  );
}
