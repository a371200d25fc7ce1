import { LOCAL_VOLUMES, type LocalVolume } from '../api/local-volume.ts';
import { isFault } from '../core/fault.ts';
import { DRIVER_NAME } from '../core/driver.ts';
import { planRelease, type ReleasePlan } from '../core/provision-release.ts';
import { PERSISTENT_VOLUMES, type PersistentVolume } from '../kube/built-in.ts';
import { findObject, type KubeClient, type Precondition } from '../kube/client.ts';
import type { EventRecorder } from '../kube/event-recorder.ts';
import type { Logger } from '../runtime/logger.ts';
import type { WorkResult } from '../runtime/work-queue.ts';
import type { Cluster } from './cluster.ts';
import { type Concern, type ConcernContext, onEach, subscriptions } from './concern.ts';
import { annotateVolume } from './local-volume-writes.ts';
import type { ControllerMetrics } from './metrics.ts';
import { FINALIZER, nodeAffinityOf } from './persistent-volume.ts';
import { PUBLISHED_AS } from './views.ts';

export interface ReleaserDeps {
  readonly client: Pick<KubeClient, 'get' | 'patch' | 'delete'>;
  readonly cluster: Cluster;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly metrics: ControllerMetrics;
  readonly logger: Logger;
}

/** Sees PersistentVolumes to their end. Keys are their names. */
export function releasing(context: ConcernContext, { workers }: { readonly workers: number }): Concern {
  const { owners, volumes } = context.cluster;
  const releaser = new Releaser(context);
  const queue = context.queue('release', workers, (name, signal) => releaser.reconcile(name, signal));
  const addAllOf = (handle: string | undefined): void => {
    for (const { metadata } of owners.store.byIndex('handle', handle ?? '')) queue.add(metadata?.name ?? '');
  };
  return {
    queue,
    subscribe: () =>
      subscriptions(
        onEach(volumes, ({ status }) => addAllOf(status?.volumeHandle)),
        onEach(owners, ({ spec }, name) => {
          if (spec?.csi?.driver !== DRIVER_NAME) return;
          queue.add(name);
          // One that shared its volume with this one may go now.
          addAllOf(spec.csi.volumeHandle);
        }),
      ),
  };
}

/** Takes a PersistentVolume, by its name, one step further: from made to marked, from Released to gone. */
export class Releaser {
  readonly #deps: ReleaserDeps;
  /** UIDs of what was deleted and is not seen to be so yet, by name: the news of the step before it must not delete it again. */
  readonly #deleted = new Map<string, string | undefined>();

  constructor(deps: ReleaserDeps) {
    this.#deps = deps;
  }

  /** One step. The write that it makes brings the next one. */
  async reconcile(name: string, signal: AbortSignal): Promise<WorkResult> {
    const known = this.#deps.cluster.owners.store.get(name);
    const isNews = known?.metadata?.deletionTimestamp !== undefined;
    if (known?.metadata?.uid !== this.#deleted.get(name) || isNews) this.#deleted.delete(name);
    if (known?.spec?.csi?.driver !== DRIVER_NAME || this.#deleted.has(name)) return undefined;
    const volume = this.#volumeOf(known);
    const plan = this.#plan(known, volume);
    try {
      await this.#carryOut(known, volume, plan, signal);
      return undefined;
    } catch (error) {
      if (!isFault(error, 'busy') && !isFault(error, 'not-found')) throw error;
      this.#deps.logger.debug({ persistentVolume: name, err: error }, 'a plan met a newer state');
      return { afterMs: 200 };
    }
  }

  async #carryOut(
    owner: PersistentVolume,
    volume: LocalVolume | undefined,
    plan: ReleasePlan,
    signal: AbortSignal,
  ): Promise<void> {
    const finalizers = owner.metadata?.finalizers ?? [];
    switch (plan.do) {
      case 'nothing':
        return;
      case 'mark':
        if (volume !== undefined) await this.#mark(volume, owner, signal);
        return;
      case 'pin':
        if (volume !== undefined) await this.#pin(owner, volume, signal);
        return;
      case 'add-finalizer':
        await this.#setFinalizers(owner, [...finalizers, FINALIZER], signal);
        return;
      case 'remove-finalizer':
        await this.#removeFinalizer(owner, signal);
        return;
      case 'delete-volume':
        if (volume !== undefined) await this.#deleteVolume(owner, volume, signal);
        return;
      case 'delete-persistent-volume':
        await this.#deletePersistentVolume(owner, signal);
        return;
      case 'refuse':
        this.#deps.events.record(PERSISTENT_VOLUMES, owner, {
          type: 'Warning',
          reason: 'VolumeFailedDelete',
          action: 'Delete',
          note: plan.note,
        });
    }
  }

  async #pin(owner: PersistentVolume, volume: LocalVolume, signal: AbortSignal): Promise<void> {
    const merge = { spec: { nodeAffinity: nodeAffinityOf(volume) } };
    const pinned = await this.#deps.client.patch(
      PERSISTENT_VOLUMES,
      nameOf(owner),
      { merge, precondition: versionOf(owner) },
      { signal },
    );
    this.#deps.cluster.owners.remember(pinned);
  }

  async #mark(volume: LocalVolume, owner: PersistentVolume, signal: AbortSignal): Promise<void> {
    await annotateVolume(volume, { [PUBLISHED_AS]: owner.metadata?.name ?? '' }, this.#deps, signal);
  }

  /** The owner is read from the server first: a policy that was just set to Retain counts. */
  async #deleteVolume(owner: PersistentVolume, volume: LocalVolume, signal: AbortSignal): Promise<void> {
    const { client, cluster, logger, metrics } = this.#deps;
    const live = await client.get(PERSISTENT_VOLUMES, nameOf(owner), { signal });
    const isSame = live.metadata?.uid === owner.metadata?.uid;
    if (!isSame || this.#plan(live, volume).do !== 'delete-volume') {
      cluster.owners.remember(live);
      return;
    }
    const { name = '', uid } = volume.metadata ?? {};
    await client.delete(LOCAL_VOLUMES, { name }, { precondition: { uid }, signal });
    metrics.released();
    logger.info({ volume: name, persistentVolume: owner.metadata?.name }, 'a released volume is deleted');
  }

  /**
   * Without a LocalVolume behind it the server is asked whether there really is none. The finalizer has done its work then and goes first:
   * once the deletion has begun, Kubernetes takes off its own at the same time, and one of the two writes would have to be made again.
   * After a crash in between, the object is still Released, and is deleted by the next step.
   */
  async #deletePersistentVolume(owner: PersistentVolume, signal: AbortSignal): Promise<void> {
    const { client, cluster } = this.#deps;
    const { name } = nameOf(owner);
    const missed = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
    const { volumeHandle } = owner.spec?.csi ?? {};
    if (missed !== undefined && missed.status?.volumeHandle === volumeHandle) {
      cluster.volumes.remember(missed);
      return;
    }
    const free = await this.#removeFinalizer(owner, signal);
    if (owner.metadata?.deletionTimestamp !== undefined) return;
    await client.delete(PERSISTENT_VOLUMES, { name }, { precondition: versionOf(free), signal });
    this.#deleted.set(name, owner.metadata?.uid);
  }

  /** Gives the object as it is without the finalizer. */
  async #removeFinalizer(owner: PersistentVolume, signal: AbortSignal): Promise<PersistentVolume> {
    const finalizers = owner.metadata?.finalizers ?? [];
    if (!finalizers.includes(FINALIZER)) return owner;
    const kept = finalizers.filter((finalizer) => finalizer !== FINALIZER);
    return await this.#setFinalizers(owner, kept, signal);
  }

  async #setFinalizers(
    owner: PersistentVolume,
    finalizers: readonly string[],
    signal: AbortSignal,
  ): Promise<PersistentVolume> {
    const changed = await this.#deps.client.patch(
      PERSISTENT_VOLUMES,
      nameOf(owner),
      { merge: { metadata: { finalizers } }, precondition: versionOf(owner) },
      { signal },
    );
    // The last finalizer of an object that is being deleted takes the object with it.
    if (changed.metadata?.deletionTimestamp === undefined) this.#deps.cluster.owners.remember(changed);
    return changed;
  }

  #plan(owner: PersistentVolume, volume: LocalVolume | undefined): ReleasePlan {
    const { store } = this.#deps.cluster.owners;
    const { metadata, spec, status } = owner;
    const sharers = store.byIndex('handle', spec?.csi?.volumeHandle ?? '');
    return planRelease(
      {
        name: metadata?.name ?? '',
        phase: status?.phase ?? 'Pending',
        reclaimPolicy: spec?.persistentVolumeReclaimPolicy ?? 'Retain',
        isDeleting: metadata?.deletionTimestamp !== undefined,
        hasFinalizer: (metadata?.finalizers ?? []).includes(FINALIZER),
        isPinned: spec?.nodeAffinity !== undefined,
        sharers: sharers.flatMap((sharer) =>
          sharer.metadata?.uid === metadata?.uid ? [] : [sharer.metadata?.name ?? ''],
        ),
      },
      volume && {
        isDeleting: volume.metadata?.deletionTimestamp !== undefined,
        isPublished: volume.metadata?.annotations?.[PUBLISHED_AS] !== undefined,
      },
    );
  }

  /** By handle alone: a name proves nothing, anybody who may create PersistentVolumes chooses it. */
  #volumeOf({ spec }: PersistentVolume): LocalVolume | undefined {
    return this.#deps.cluster.volumes.store.byIndex('handle', spec?.csi?.volumeHandle ?? '')[0];
  }
}

function nameOf({ metadata }: PersistentVolume): { readonly name: string } {
  return { name: metadata?.name ?? '' };
}

function versionOf({ metadata }: PersistentVolume): Precondition {
  return { uid: metadata?.uid, resourceVersion: metadata?.resourceVersion };
}
