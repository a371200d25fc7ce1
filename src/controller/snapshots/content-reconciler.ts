import type { EventReason } from '../../core/reasons/event-reasons.ts';
import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import { apiTime } from '../../core/kube-text/api-status.ts';
import { type ContentPlan, planOrphan } from '../../core/snapshots/content-plan.ts';
import { findObject, type KubeClient } from '../../kube/client.ts';
import type { EventRecorder } from '../../kube/event-recorder.ts';
import type { Informer } from '../../kube/informer.ts';
import type { KubeObject, Resource } from '../../kube/resource.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import type { Cluster } from '../context/cluster.ts';
import { annotateVolume } from '../context/local-volume-writes.ts';
import { isOnKnownNode, isOnLiveNode, releaseNodeSnapshot } from './snapshot-nodes.ts';
import { CONTENT_ANNOTATION, nodeSnapshotView } from './views.ts';

/** A VolumeSnapshotContent or a VolumeGroupSnapshotContent. */
export interface ContentObject extends KubeObject {
  readonly status?:
    | { readonly error?: { readonly message?: string | undefined } | null | undefined }
    | undefined;
}

/** A plan made from the API server's answers, and the LocalVolumes that it names, as read there. */
export interface LivePlan<Status> {
  readonly plan: ContentPlan<Status>;
  readonly nodeSnapshots: readonly LocalVolume[];
}

/** What the ContentReconciler needs to know of one kind of content. */
export interface ContentKind<C extends ContentObject, Status> {
  readonly resource: Resource<C>;
  readonly contents: Pick<Informer<C>, 'store' | 'remember'>;
  readonly finalizer: string;
  /** Event reasons. */
  readonly reasons: { readonly creationFailed: EventReason; readonly deletionFailed: EventReason };
  readonly ownership: NodeSnapshotOwnership<C>;
  /** Returns the next step by the informers. */
  plan(content: C, isRefused: boolean): ContentPlan<Status>;
  /**
   * Returns the next step with the LocalVolumes `names`, their nodes and holders read from the API
   * server.
   */
  planLive(content: C, names: readonly string[], signal: AbortSignal): Promise<LivePlan<Status>>;
  /** Returns the LocalVolumes to create for the snapshots of these volumes. */
  intentsOf(content: C, volumeHandles: readonly string[]): readonly LocalVolume[];
  /** Returns the fields of the content's status without `error`, and its message. */
  statusOf(status: Status): { readonly fields: object; readonly error: string | undefined };
}

/** How LocalVolumes of type Snapshot belong to contents. */
export interface NodeSnapshotOwnership<C> {
  /** Whether the LocalVolume was created for a content of this kind. */
  isOwned(nodeSnapshot: LocalVolume): boolean;
  /** Whether the informers have its content. */
  hasContent(nodeSnapshot: LocalVolume): boolean;
  /** Whether the API server has its content. */
  hasLiveContent(nodeSnapshot: LocalVolume, signal: AbortSignal): Promise<boolean>;
  /**
   * Returns the names of LocalVolumes that may exist for the content and that the informers lack.
   */
  absentNamesOf(content: C): readonly string[];
  /** Whether the LocalVolume was created for this content. */
  isOf(nodeSnapshot: LocalVolume, content: C): boolean;
}

export interface ContentReconcilerDeps {
  readonly client: KubeClient;
  readonly cluster: Cluster;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** A node that refused a snapshot is not asked for it again for this long. */
const REFUSED_MS = 60_000;
/** For informers to catch up. */
const RETRY: WorkResult = { afterMs: 200 };

/**
 * The driver's part of snapshots: from a content to LocalVolumes of type Snapshot and back to the
 * content's status. Other CSI drivers have the csi-snapshotter sidecar for it.
 */
export class ContentReconciler<C extends ContentObject, Status> {
  readonly #kind: ContentKind<C, Status>;
  readonly #deps: ContentReconcilerDeps;
  readonly #refusedUntilMs = new Map<string, number>();

  constructor(kind: ContentKind<C, Status>, deps: ContentReconcilerDeps) {
    this.#kind = kind;
    this.#deps = deps;
  }

  /** Takes one step for the content `name`. The write that it makes triggers the next step. */
  async reconcile(name: string, signal: AbortSignal): Promise<WorkResult> {
    const content = this.#kind.contents.store.get(name);
    if (content === undefined) {
      this.#refusedUntilMs.delete(name);
      return undefined;
    }
    return await this.#carryOut(content, this.#plan(content), signal);
  }

  /**
   * Takes one step for the LocalVolume `name`: deletes it when it has no content and was never
   * published.
   */
  async reconcileNodeSnapshot(name: string, signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster, logger } = this.#deps;
    const { ownership } = this.#kind;
    const known = cluster.volumes.store.get(name);
    if (known === undefined || !ownership.isOwned(known) || ownership.hasContent(known)) return undefined;
    if (planOrphan(nodeSnapshotView(known), isOnKnownNode(known, cluster)).do === 'nothing') return undefined;
    // Re-reads every reason to keep it from the API server.
    const nodeSnapshot = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
    if (nodeSnapshot === undefined || !ownership.isOwned(nodeSnapshot)) return undefined;
    if (await ownership.hasLiveContent(nodeSnapshot, signal)) return { afterMs: 1_000 };
    const plan = planOrphan(nodeSnapshotView(nodeSnapshot), await isOnLiveNode(nodeSnapshot, client, signal));
    if (plan.do === 'abandon') await releaseNodeSnapshot(nodeSnapshot, this.#deps, signal);
    if (plan.do === 'delete') {
      await this.#delete(nodeSnapshot, signal);
      logger.info({ volume: name }, 'deleted a snapshot without a content');
    }
    return undefined;
  }

  #plan(content: C): ContentPlan<Status> {
    return this.#kind.plan(content, this.#refusedForMs(content) > 0);
  }

  #refusedForMs({ metadata }: C): number {
    return (this.#refusedUntilMs.get(metadata?.name ?? '') ?? 0) - this.#deps.clock.nowMs();
  }

  async #carryOut(content: C, plan: ContentPlan<Status>, signal: AbortSignal): Promise<WorkResult> {
    switch (plan.do) {
      case 'nothing': {
        const leftMs = this.#refusedForMs(content);
        return leftMs > 0 ? { afterMs: leftMs } : undefined;
      }
      case 'create':
        return await this.#create(content, plan.volumeHandles, signal);
      case 'annotate':
        return await this.#annotate(content, plan.names, signal);
      case 'report':
        await this.#report(content, plan.status, signal);
        return undefined;
      case 'refuse':
        this.#recordWarning(content, this.#kind.reasons.deletionFailed, plan.note);
        return { afterMs: REFUSED_MS };
      case 'discard':
      case 'delete-snapshots':
      case 'abandon':
        return await this.#end(content, plan, signal);
      case 'remove-finalizer':
        return await this.#removeFinalizer(content, signal);
    }
  }

  /**
   * Re-reads the content from the API server: a content that was deleted meanwhile must not get a
   * snapshot.
   */
  async #create(content: C, volumeHandles: readonly string[], signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster } = this.#deps;
    const live = await this.#live(content, signal);
    if (live === undefined || this.#plan(live).do !== 'create') return RETRY;
    for (const intent of this.#kind.intentsOf(live, volumeHandles)) {
      // Crash window: some LocalVolumes of a group exist. The next step creates the others; the
      // agent takes the group when it has all of them.
      cluster.volumes.remember(await client.create(LOCAL_VOLUMES, intent, { signal }));
    }
    return undefined;
  }

  async #annotate({ metadata }: C, names: readonly string[], signal: AbortSignal): Promise<WorkResult> {
    for (const name of names) {
      const nodeSnapshot = this.#deps.cluster.volumes.store.get(name);
      if (nodeSnapshot === undefined) continue;
      const annotations = { [CONTENT_ANNOTATION]: metadata?.name ?? '' };
      await annotateVolume(nodeSnapshot, annotations, this.#deps, signal);
    }
    return undefined;
  }

  /**
   * Re-reads the content, its snapshots and their nodes from the API server: deleting the wrong one
   * loses data.
   */
  async #end(
    content: C,
    known: Extract<ContentPlan<Status>, { do: 'discard' | 'delete-snapshots' | 'abandon' }>,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const { cluster, logger, clock } = this.#deps;
    const live = await this.#live(content, signal);
    if (live === undefined) return RETRY;
    const { plan, nodeSnapshots } = await this.#kind.planLive(live, known.names, signal);
    if (plan.do !== known.do || !('names' in plan)) {
      this.#kind.contents.remember(live);
      for (const each of nodeSnapshots) cluster.volumes.remember(each);
      return RETRY;
    }
    if (plan.do === 'discard') {
      this.#refusedUntilMs.set(live.metadata?.name ?? '', clock.nowMs() + REFUSED_MS);
      await this.#report(live, plan.status, signal);
    }
    for (const nodeSnapshot of nodeSnapshots) {
      const { name = '' } = nodeSnapshot.metadata ?? {};
      if (!plan.names.includes(name)) continue;
      if (plan.do === 'abandon') await releaseNodeSnapshot(nodeSnapshot, this.#deps, signal);
      else await this.#delete(nodeSnapshot, signal);
      logger.info({ volume: name, content: live.metadata?.name, step: plan.do }, 'deleted a snapshot');
    }
    return undefined;
  }

  async #delete({ metadata }: LocalVolume, signal: AbortSignal): Promise<void> {
    const { name = '', uid, resourceVersion } = metadata ?? {};
    const precondition = { uid, resourceVersion };
    await this.#deps.client.delete(LOCAL_VOLUMES, { name }, { precondition, signal });
  }

  /** Asks the API server for LocalVolumes that the informers may not have yet. */
  async #removeFinalizer(content: C, signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster } = this.#deps;
    const { resource, finalizer, ownership } = this.#kind;
    for (const name of ownership.absentNamesOf(content)) {
      const missed = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
      if (missed === undefined || !ownership.isOf(missed, content)) continue;
      cluster.volumes.remember(missed);
      return RETRY;
    }
    const { name = '', uid, resourceVersion, finalizers = [] } = content.metadata ?? {};
    const merge = { metadata: { finalizers: finalizers.filter((each) => each !== finalizer) } };
    await client.patch(resource, { name }, { merge, precondition: { uid, resourceVersion } }, { signal });
    return undefined;
  }

  async #report(content: C, status: Status, signal: AbortSignal): Promise<void> {
    const { client, clock } = this.#deps;
    const { resource, contents, reasons } = this.#kind;
    const { name = '', uid } = content.metadata ?? {};
    const { fields, error } = this.#kind.statusOf(status);
    const failure = error === undefined ? null : { message: error, time: apiTime(new Date(clock.nowMs())) };
    const patch = { merge: { status: { ...fields, error: failure } }, precondition: { uid } };
    contents.remember(await client.patch(resource, { name }, patch, { subresource: 'status', signal }));
    if (error !== undefined && error !== content.status?.error?.message) {
      this.#recordWarning(content, reasons.creationFailed, error);
    }
  }

  async #live({ metadata }: C, signal: AbortSignal): Promise<C | undefined> {
    const name = { name: metadata?.name ?? '' };
    const live = await findObject(this.#deps.client, this.#kind.resource, name, { signal });
    return live?.metadata?.uid === metadata?.uid ? live : undefined;
  }

  #recordWarning(content: C, reason: EventReason, note: string): void {
    const { events, logger } = this.#deps;
    const { resource } = this.#kind;
    logger.info({ content: content.metadata?.name, kind: resource.kind, reason, note }, 'snapshot pending');
    events.record(resource, content, { type: 'Warning', reason, action: 'Snapshot', note });
  }
}
