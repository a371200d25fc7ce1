import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import { VOLUME_SNAPSHOT_CONTENTS, type VolumeSnapshotContent } from '../../api/snapshot-kinds.ts';
import { apiTime } from '../../core/kube-text/api-status.ts';
import { CONTENT_FINALIZER, type ContentStatus, nodeSnapshotNameOf } from '../../core/snapshots/snapshot.ts';
import {
  type ContentPlan,
  type NodeSnapshotSource,
  type ContentState,
  planContent,
  planOrphan,
} from '../../core/snapshots/snapshot-content-plan.ts';
import { findObject, type KubeClient, listAll } from '../../kube/client.ts';
import type { EventRecorder } from '../../kube/event-recorder.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import type { Cluster } from '../context/cluster.ts';
import { annotateVolume } from '../context/local-volume-writes.ts';
import { releaseNodeSnapshot, isOnKnownNode, isOnLiveNode } from './snapshot-nodes.ts';
import { handlesOf, type SnapshotKinds } from './kinds.ts';
import {
  contentView,
  nodeSnapshotSource,
  nodeSnapshotView,
  isOurs,
  nanoseconds,
  CONTENT_ANNOTATION,
} from './views.ts';

export interface SnapshotContentReconcilerDeps {
  readonly client: KubeClient;
  readonly cluster: Cluster;
  readonly kinds: SnapshotKinds;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** A node that refused is not asked again for the same snapshot before this. */
const REFUSED_MS = 60_000;

/**
 * The part of snapshots that is the driver's: from a VolumeSnapshotContent to a LocalVolume of type Snapshot and back to its status. Where
 * other drivers have a sidecar for it, it is in here.
 */
export class SnapshotContentReconciler {
  readonly #deps: SnapshotContentReconcilerDeps;
  readonly #refusedUntilMs = new Map<string, number>();

  constructor(deps: SnapshotContentReconcilerDeps) {
    this.#deps = deps;
  }

  /** One step for the VolumeSnapshotContent `name`. The write that it makes brings the next one. */
  async reconcile(name: string, signal: AbortSignal): Promise<WorkResult> {
    const content = this.#deps.kinds.contents.store.get(name);
    if (content === undefined) this.#refusedUntilMs.delete(name);
    if (content === undefined || !isOurs(content)) return undefined;
    const nodeSnapshot = this.#nodeSnapshotOf(content);
    const plan = planContent(this.#stateOf(content, nodeSnapshot));
    return await this.#carryOut(content, nodeSnapshot, plan, signal);
  }

  /** One step for the LocalVolume `name` of a snapshot: it goes when no content stands for it and nobody has heard of it. */
  async reconcileNodeSnapshot(name: string, signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster, kinds, logger } = this.#deps;
    const known = cluster.volumes.store.get(name);
    if (
      known === undefined ||
      !isNodeSnapshot(known) ||
      kinds.contents.store.byIndex('nodeSnapshot', name).length > 0
    ) {
      return undefined;
    }
    if (planOrphan(nodeSnapshotView(known), isOnKnownNode(known, cluster)).do === 'nothing') return undefined;
    // Everything that could be a reason to keep it is read from the server.
    const nodeSnapshot = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
    if (nodeSnapshot === undefined || !isNodeSnapshot(nodeSnapshot)) return undefined;
    const contents = await listAll(client, VOLUME_SNAPSHOT_CONTENTS, { signal });
    if (contents.some(({ spec }) => nodeSnapshotNameOf(spec.volumeSnapshotRef.uid ?? '') === name)) {
      return { afterMs: 1_000 };
    }
    const plan = planOrphan(nodeSnapshotView(nodeSnapshot), await isOnLiveNode(nodeSnapshot, client, signal));
    if (plan.do === 'abandon') await releaseNodeSnapshot(nodeSnapshot, this.#deps, signal);
    if (plan.do === 'delete') {
      const { uid, resourceVersion } = nodeSnapshot.metadata ?? {};
      await client.delete(LOCAL_VOLUMES, { name }, { precondition: { uid, resourceVersion }, signal });
      logger.info({ volume: name }, 'a snapshot that nobody has heard of is deleted');
    }
    return undefined;
  }

  async #carryOut(
    content: VolumeSnapshotContent,
    nodeSnapshot: LocalVolume | undefined,
    plan: ContentPlan,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    switch (plan.do) {
      case 'nothing': {
        const untilMs = this.#refusedUntilMs.get(content.metadata?.name ?? '') ?? 0;
        const leftMs = untilMs - this.#deps.clock.nowMs();
        return leftMs > 0 ? { afterMs: leftMs } : undefined;
      }
      case 'create':
        return await this.#create(content, plan.source, signal);
      case 'mark':
        if (nodeSnapshot !== undefined) {
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
      case 'remove-finalizer':
        return await this.#removeFinalizer(content, signal);
      case 'refuse':
        this.#recordEvent(content, 'SnapshotDeleteError', plan.note);
        return undefined;
      case 'discard':
      case 'delete-cut':
      case 'abandon':
        return nodeSnapshot === undefined ? undefined : await this.#end(content, nodeSnapshot, plan, signal);
    }
  }

  /** The intent comes first. Its content is read from the server: one that is gone by now must not get a snapshot. */
  async #create(
    content: VolumeSnapshotContent,
    source: NodeSnapshotSource,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const { client, cluster } = this.#deps;
    const live = await this.#live(content, signal);
    if (live === undefined || planContent(this.#stateOf(live, undefined)).do !== 'create')
      return { afterMs: 200 };
    const { nodeName, poolName, size, volumeMode, volumeName } = source;
    const { namespace = '', name = '', uid = '' } = live.spec.volumeSnapshotRef;
    const nodeSnapshot = await client.create(
      LOCAL_VOLUMES,
      {
        apiVersion: 'keelson.dev/v1alpha1',
        kind: LOCAL_VOLUMES.kind,
        metadata: { name: nodeSnapshotNameOf(uid) },
        spec: {
          nodeName,
          poolName,
          type: 'Snapshot',
          size,
          volumeMode,
          source: { volumeName },
          claim: { namespace, name, uid },
        },
      },
      { signal },
    );
    cluster.volumes.remember(nodeSnapshot);
    return undefined;
  }

  /** Everything that could be a reason to keep the snapshot is read from the server: this is the step that loses data when it errs. */
  async #end(
    content: VolumeSnapshotContent,
    known: LocalVolume,
    plan: Extract<ContentPlan, { do: 'discard' | 'delete-cut' | 'abandon' }>,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const { client, cluster, kinds, logger, clock } = this.#deps;
    const { name = '', uid } = known.metadata ?? {};
    const live = await this.#live(content, signal);
    const nodeSnapshot = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
    if (live === undefined || nodeSnapshot === undefined || nodeSnapshot.metadata?.uid !== uid)
      return { afterMs: 200 };
    const hasNode = await isOnLiveNode(nodeSnapshot, client, signal);
    if (planContent({ ...this.#stateOf(live, nodeSnapshot), hasNode }).do !== plan.do) {
      kinds.contents.remember(live);
      cluster.volumes.remember(nodeSnapshot);
      return { afterMs: 200 };
    }
    if (plan.do === 'abandon') {
      await releaseNodeSnapshot(nodeSnapshot, this.#deps, signal);
      return undefined;
    }
    if (plan.do === 'discard') {
      this.#refusedUntilMs.set(content.metadata?.name ?? '', clock.nowMs() + REFUSED_MS);
      await this.#report(content, plan.status, signal);
    }
    const precondition = { uid, resourceVersion: nodeSnapshot.metadata?.resourceVersion };
    await client.delete(LOCAL_VOLUMES, { name }, { precondition, signal });
    logger.info({ volume: name, content: content.metadata?.name, step: plan.do }, 'a snapshot is deleted');
    return undefined;
  }

  /** Without a LocalVolume behind it the server is asked whether there really is none. */
  async #removeFinalizer(content: VolumeSnapshotContent, signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster } = this.#deps;
    const { name = '', uid, resourceVersion, finalizers = [] } = content.metadata ?? {};
    const nodeSnapshotName = nodeSnapshotNameOf(content.spec.volumeSnapshotRef.uid ?? '');
    const missed = await findObject(client, LOCAL_VOLUMES, { name: nodeSnapshotName }, { signal });
    if (
      missed !== undefined &&
      this.#nodeSnapshotOf(content) === undefined &&
      isNodeSnapshotOf(missed, content)
    ) {
      cluster.volumes.remember(missed);
      return { afterMs: 200 };
    }
    const merge = { metadata: { finalizers: finalizers.filter((each) => each !== CONTENT_FINALIZER) } };
    await client.patch(
      VOLUME_SNAPSHOT_CONTENTS,
      { name },
      { merge, precondition: { uid, resourceVersion } },
      { signal },
    );
    return undefined;
  }

  async #report(content: VolumeSnapshotContent, status: ContentStatus, signal: AbortSignal): Promise<void> {
    const { client, kinds, clock } = this.#deps;
    const { handle, isReady, createdMs, sizeBytes, error } = status;
    const { name = '', uid } = content.metadata ?? {};
    const merge = {
      status: {
        snapshotHandle: handle,
        readyToUse: isReady,
        creationTime: createdMs === undefined ? undefined : nanoseconds(createdMs),
        restoreSize: sizeBytes === undefined ? undefined : Number(sizeBytes),
        error: error === undefined ? null : { message: error, time: apiTime(new Date(clock.nowMs())) },
      },
    };
    const options = { subresource: 'status', signal };
    const patch = { merge, precondition: { uid } };
    kinds.contents.remember(await client.patch(VOLUME_SNAPSHOT_CONTENTS, { name }, patch, options));
    if (error !== undefined && error !== content.status?.error?.message) {
      this.#recordEvent(content, 'SnapshotCreationFailed', error);
    }
  }

  async #live(
    content: VolumeSnapshotContent,
    signal: AbortSignal,
  ): Promise<VolumeSnapshotContent | undefined> {
    const name = { name: content.metadata?.name ?? '' };
    const live = await findObject(this.#deps.client, VOLUME_SNAPSHOT_CONTENTS, name, { signal });
    return live?.metadata?.uid === content.metadata?.uid ? live : undefined;
  }

  #nodeSnapshotOf(content: VolumeSnapshotContent): LocalVolume | undefined {
    const { store } = this.#deps.cluster.volumes;
    const [known] = handlesOf(content)
      .flatMap((handle) => store.byIndex('handle', handle))
      .filter(({ spec }) => spec.type === 'Snapshot');
    if (known !== undefined) return known;
    const named = store.get(nodeSnapshotNameOf(content.spec.volumeSnapshotRef.uid ?? ''));
    return named !== undefined && isNodeSnapshotOf(named, content) ? named : undefined;
  }

  #stateOf(content: VolumeSnapshotContent, nodeSnapshot: LocalVolume | undefined): ContentState {
    const { cluster, kinds, clock } = this.#deps;
    const { name = '', uid } = content.metadata ?? {};
    const [source] = cluster.volumes.store
      .byIndex('handle', content.spec.source.volumeHandle ?? '')
      .filter(({ spec }) => spec.type === 'Volume');
    const sharers = [
      ...handlesOf(content),
      ...(nodeSnapshot?.status?.volumeHandle === undefined ? [] : [nodeSnapshot.status.volumeHandle]),
    ].flatMap((handle) => kinds.contents.store.byIndex('handle', handle));
    return {
      content: contentView(content),
      nodeSnapshot: nodeSnapshot && nodeSnapshotView(nodeSnapshot),
      source: source && nodeSnapshotSource(source),
      sharers: sharers.flatMap(({ metadata }) => (metadata?.uid === uid ? [] : [metadata?.name ?? ''])),
      isRefused: (this.#refusedUntilMs.get(name) ?? 0) > clock.nowMs(),
      hasNode: nodeSnapshot === undefined || isOnKnownNode(nodeSnapshot, cluster),
    };
  }

  #recordEvent(content: VolumeSnapshotContent, reason: string, note: string): void {
    const { events, logger } = this.#deps;
    logger.info({ content: content.metadata?.name, reason: note }, 'snapshot content waits');
    events.record(VOLUME_SNAPSHOT_CONTENTS, content, { type: 'Warning', reason, action: 'Snapshot', note });
  }
}

/** The LocalVolume of a snapshot that was taken for a VolumeSnapshot; others somebody made by hand. */
function isNodeSnapshot({ metadata, spec }: LocalVolume): boolean {
  return (
    spec.type === 'Snapshot' &&
    spec.claim !== undefined &&
    metadata?.name === nodeSnapshotNameOf(spec.claim.uid)
  );
}

/** By its name alone: for a content that it was made for, not for one that stands for a snapshot that exists. */
function isNodeSnapshotOf(nodeSnapshot: LocalVolume, { spec }: VolumeSnapshotContent): boolean {
  return (
    isNodeSnapshot(nodeSnapshot) &&
    spec.source.volumeHandle !== undefined &&
    nodeSnapshot.spec.claim?.uid === spec.volumeSnapshotRef.uid
  );
}
