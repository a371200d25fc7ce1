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
  groupCutNameOf,
  groupNameOf,
} from '../../core/snapshots/group-snapshot.ts';
import {
  type GroupCutMember,
  type GroupCutPlan,
  type GroupCutState,
  planGroupCut,
} from '../../core/snapshots/group-content-plan.ts';
import { planOrphan } from '../../core/snapshots/snapshot-content-plan.ts';
import { findObject, type KubeClient, listAll } from '../../kube/client.ts';
import type { EventRecorder } from '../../kube/event-recorder.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import type { Cluster } from '../context/cluster.ts';
import { annotateVolume } from '../context/local-volume-writes.ts';
import { giveUpCut, isOnKnownNode, isOnLiveNode } from './cut-nodes.ts';
import { groupContentView, groupCutView, groupHandlesOf, type GroupKinds } from './group-kinds.ts';
import { handlesOf, type SnapshotKinds } from './kinds.ts';
import { cutSource, cutView, nanoseconds, TOLD_BY } from './views.ts';

export interface GroupCutterDeps {
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
export class GroupCutter {
  readonly #deps: GroupCutterDeps;
  readonly #refusedUntilMs = new Map<string, number>();

  constructor(deps: GroupCutterDeps) {
    this.#deps = deps;
  }

  /** One step for the VolumeGroupSnapshotContent `name`. The write that it makes brings the next one. */
  async reconcile(name: string, signal: AbortSignal): Promise<WorkResult> {
    const content = this.#deps.groupKinds.groupContents.store.get(name);
    if (content === undefined) {
      this.#refusedUntilMs.delete(name);
      return undefined;
    }
    return await this.#carryOut(content, planGroupCut(this.#stateOf(content)), signal);
  }

  /** One step for the LocalVolume `name` of a member: it goes when its group's content is gone and nobody has heard of it. */
  async reconcileCut(name: string, signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster, groupKinds, logger } = this.#deps;
    const known = cluster.volumes.store.get(name);
    const contentName = groupContentNameOf(known?.spec.claim?.uid ?? '');
    if (known === undefined || !isUnheardOf(known) || groupKinds.groupContents.store.get(contentName)) {
      return undefined;
    }
    if (planOrphan(cutView(known), isOnKnownNode(known, cluster)).do === 'nothing') return undefined;
    // Everything that could be a reason to keep it is read from the server.
    const cut = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
    const content = await findObject(
      client,
      VOLUME_GROUP_SNAPSHOT_CONTENTS,
      { name: contentName },
      { signal },
    );
    if (content !== undefined) return { afterMs: 1_000 };
    if (cut === undefined || !isUnheardOf(cut)) return undefined;
    const plan = planOrphan(cutView(cut), await isOnLiveNode(cut, client, signal));
    if (plan.do === 'abandon') await giveUpCut(cut, this.#deps, signal);
    if (plan.do === 'delete') {
      const { uid, resourceVersion } = cut.metadata ?? {};
      await client.delete(LOCAL_VOLUMES, { name }, { precondition: { uid, resourceVersion }, signal });
      logger.info({ volume: name }, 'a member of a group snapshot that nobody has heard of is deleted');
    }
    return undefined;
  }

  async #carryOut(
    content: VolumeGroupSnapshotContent,
    plan: GroupCutPlan,
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
          const cut = this.#deps.cluster.volumes.store.get(name);
          if (cut === undefined) continue;
          await annotateVolume(cut, { [TOLD_BY]: content.metadata?.name ?? '' }, this.#deps, signal);
        }
        return undefined;
      case 'report':
        await this.#report(content, plan.status, signal);
        return undefined;
      case 'refuse':
        this.#say(content, plan.note);
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
    if (live === undefined || planGroupCut(this.#stateOf(live)).do !== 'create') return { afterMs: 200 };
    const { namespace = '', name = '', uid = '' } = live.spec.volumeGroupSnapshotRef;
    const { members } = this.#stateOf(live);
    const volumeNames = members.flatMap(({ source }) => (source === undefined ? [] : [source.volumeName]));
    for (const { volumeHandle, source } of members) {
      if (source === undefined || !volumeHandles.includes(volumeHandle)) continue;
      const { nodeName, poolName, size, volumeMode, volumeName } = source;
      // Crash window: some are there. An agent that sees them needs no other one to take the group; the rest are made in the next round.
      const cut = await client.create(
        LOCAL_VOLUMES,
        {
          apiVersion: 'keelson.dev/v1alpha1',
          kind: LOCAL_VOLUMES.kind,
          metadata: { name: groupCutNameOf(uid, volumeHandle) },
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
      cluster.volumes.remember(cut);
    }
    return undefined;
  }

  /** Everything that could be a reason to keep the snapshots is read from the server: this is the step that loses data when it errs. */
  async #end(
    content: VolumeGroupSnapshotContent,
    plan: Extract<GroupCutPlan, { do: 'discard' | 'delete-cuts' }>,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const { client, groupKinds, logger, clock } = this.#deps;
    const live = await this.#live(content, signal);
    if (live === undefined) return { afterMs: 200 };
    if (planGroupCut(this.#stateOf(live)).do !== plan.do) {
      groupKinds.groupContents.remember(live);
      return { afterMs: 200 };
    }
    const held = new Set((await listAll(client, VOLUME_SNAPSHOT_CONTENTS, { signal })).flatMap(handlesOf));
    if (plan.do === 'discard') {
      this.#refusedUntilMs.set(content.metadata?.name ?? '', clock.nowMs() + REFUSED_MS);
      await this.#report(content, plan.status, signal);
    }
    for (const name of plan.names) {
      const cut = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
      const isTold = cut?.metadata?.annotations?.[TOLD_BY] !== undefined;
      if (cut === undefined || held.has(cut.status?.volumeHandle ?? '')) continue;
      if (plan.do === 'discard' && isTold) continue;
      const { uid, resourceVersion } = cut.metadata ?? {};
      await client.delete(LOCAL_VOLUMES, { name }, { precondition: { uid, resourceVersion }, signal });
      logger.info({ volume: name, step: plan.do }, 'a member of a group snapshot is deleted');
    }
    return undefined;
  }

  /** The server is asked whether the node really is gone, and whether really nobody has heard of them. */
  async #abandonAll(names: readonly string[], signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster } = this.#deps;
    for (const name of names) {
      const cut = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
      if (cut === undefined) continue;
      const isUntold = isUnheardOf(cut) && cut.metadata?.deletionTimestamp !== undefined;
      if (!isUntold || (await isOnLiveNode(cut, client, signal))) {
        cluster.volumes.remember(cut);
        return { afterMs: 200 };
      }
      await giveUpCut(cut, this.#deps, signal);
    }
    return undefined;
  }

  /** Without LocalVolumes behind it the server is asked whether there really are none. */
  async #removeFinalizer(content: VolumeGroupSnapshotContent, signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster } = this.#deps;
    const { name = '', uid, resourceVersion, finalizers = [] } = content.metadata ?? {};
    const known = this.#stateOf(content).members;
    for (const { volumeHandle, givenHandle, cut } of known) {
      if (cut !== undefined || givenHandle !== undefined) continue;
      const cutName = groupCutNameOf(content.spec.volumeGroupSnapshotRef.uid ?? '', volumeHandle);
      const missed = await findObject(client, LOCAL_VOLUMES, { name: cutName }, { signal });
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
    if (error !== undefined && error !== content.status?.error?.message) this.#say(content, error);
  }

  async #live(
    { metadata }: VolumeGroupSnapshotContent,
    signal: AbortSignal,
  ): Promise<VolumeGroupSnapshotContent | undefined> {
    const name = { name: metadata?.name ?? '' };
    const live = await findObject(this.#deps.client, VOLUME_GROUP_SNAPSHOT_CONTENTS, name, { signal });
    return live?.metadata?.uid === metadata?.uid ? live : undefined;
  }

  #stateOf(content: VolumeGroupSnapshotContent): GroupCutState {
    const { cluster, kinds, groupKinds, clock } = this.#deps;
    const view = groupContentView(content);
    const { store } = cluster.volumes;
    const member = (cut: LocalVolume | undefined): Pick<GroupCutMember, 'cut' | 'holder' | 'hasNode'> => {
      const handle = cut?.status?.volumeHandle;
      const [holder] = handle === undefined ? [] : kinds.contents.store.byIndex('handle', handle);
      const hasNode = cut === undefined || isOnKnownNode(cut, cluster);
      return { cut: cut && groupCutView(cut), holder: holder?.metadata?.name, hasNode };
    };
    const taken = (view.volumeHandles ?? []).map((volumeHandle): GroupCutMember => {
      const [source] = store.byIndex('handle', volumeHandle).filter(({ spec }) => spec.type === 'Volume');
      const named = store.get(groupCutNameOf(view.group.uid, volumeHandle));
      const cut = named?.spec.claim?.uid === view.group.uid ? named : undefined;
      return { volumeHandle, source: source && cutSource(source), ...member(cut) };
    });
    const given = (view.given?.snapshotHandles ?? []).map((givenHandle): GroupCutMember => {
      const [cut] = store.byIndex('handle', givenHandle).filter(({ spec }) => spec.type === 'Snapshot');
      return { volumeHandle: '', givenHandle, source: undefined, ...member(cut) };
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

  #say(content: VolumeGroupSnapshotContent, note: string): void {
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
function isUnheardOf({ metadata, spec }: LocalVolume): boolean {
  return (
    spec.group !== undefined &&
    spec.claim !== undefined &&
    spec.group.name === groupNameOf(spec.claim.uid) &&
    metadata?.annotations?.[TOLD_BY] === undefined
  );
}
