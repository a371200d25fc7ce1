import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import { isFault } from '../../core/fault.ts';
import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import { planRelease, type ReleasePlan } from '../../core/claims/provision-release.ts';
import { PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, type PersistentVolume } from '../../kube/built-in.ts';
import { findObject, type KubeClient, type Precondition } from '../../kube/client.ts';
import type { EventRecorder } from '../../kube/event-recorder.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import type { QuietPeriod } from '../../runtime/quiet-period.ts';
import type { Cluster } from '../context/cluster.ts';
import {
  type Reconciler,
  type ControllerContext,
  onEach,
  subscriptions,
} from '../context/controller-context.ts';
import { annotateVolume } from '../context/local-volume-writes.ts';
import type { ControllerMetrics } from '../context/metrics.ts';
import { FINALIZER, nodeAffinityOf } from '../context/persistent-volume.ts';
import type { UnannotatedVolumes } from '../context/unannotated-volumes.ts';
import { PERSISTENT_VOLUME_ANNOTATION } from '../context/views.ts';

interface ReclaimerDeps {
  readonly client: Pick<KubeClient, 'get' | 'patch' | 'delete'>;
  readonly cluster: Cluster;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly metrics: ControllerMetrics;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly quietPeriod: QuietPeriod;
  readonly unannotated: UnannotatedVolumes;
}

/**
 * Creates the reconciler that applies reclaim policies to PersistentVolumes. Keys are their names.
 */
export function createReclaimer(
  context: ControllerContext,
  { workers }: { readonly workers: number },
): Reconciler {
  const { owners, volumes } = context.cluster;
  const releaser = new Reclaimer(context);
  const queue = context.queue('release', workers, (name, signal) => releaser.reconcile(name, signal));
  const addAllOf = (handle: string | undefined): void => {
    for (const { metadata } of owners.store.byIndex('handle', handle ?? '')) queue.add(metadata?.name ?? '');
  };
  return {
    queue,
    subscribe: () =>
      subscriptions(
        volumes.subscribe(({ previous, current }) => {
          if (current === undefined) releaser.volumeGone(previous?.status?.volumeHandle ?? '');
          addAllOf(previous?.status?.volumeHandle);
          addAllOf(current?.status?.volumeHandle);
        }),
        onEach(owners, ({ spec }, name) => {
          if (spec?.csi?.driver !== DRIVER_NAME) return;
          queue.add(name);
          // A PersistentVolume that shared this volume may be deleted now.
          addAllOf(spec.csi.volumeHandle);
        }),
      ),
  };
}

/**
 * Takes a PersistentVolume, by its name, one step further: from created to annotated, from Released
 * to deleted.
 */
class Reclaimer {
  readonly #deps: ReclaimerDeps;
  /** UIDs of deleted PersistentVolumes that the informer still lists, by name. */
  readonly #deleted = new Map<string, string | undefined>();
  /** Handles of deleted volumes, by the names of their PersistentVolumes. */
  readonly #ended = new Map<string, string>();
  /**
   * When PersistentVolumes became due for the annotation of their volumes, by name, on the
   * monotonic clock.
   */
  readonly #unannotatedSinceMs = new Map<string, number>();

  constructor(deps: ReclaimerDeps) {
    this.#deps = deps;
  }

  /** Records that the LocalVolume with this handle was deleted. */
  volumeGone(handle: string): void {
    for (const { metadata } of this.#deps.cluster.owners.store.byIndex('handle', handle)) {
      this.#ended.set(metadata?.name ?? '', handle);
    }
  }

  /** Takes one step. The write that it makes triggers the next step. */
  async reconcile(name: string, signal: AbortSignal): Promise<WorkResult> {
    const known = this.#deps.cluster.owners.store.get(name);
    const isNews = known?.metadata?.deletionTimestamp !== undefined;
    if (known?.metadata?.uid !== this.#deleted.get(name) || isNews) this.#deleted.delete(name);
    try {
      if (known === undefined) {
        await this.#keepData(name, signal);
        return undefined;
      }
      if (known.spec?.csi?.driver !== DRIVER_NAME || this.#deleted.has(name)) return undefined;
      const volume = this.#volumeOf(known);
      if (volume !== undefined) this.#noteOwner(volume, name);
      return await this.#carryOut(known, volume, this.#plan(known, volume), signal);
    } catch (error) {
      if (!isFault(error, 'busy') && !isFault(error, 'not-found')) throw error;
      this.#deps.logger.debug({ persistentVolume: name, err: error }, 'plan was stale');
      return { afterMs: 200 };
    }
  }

  async #carryOut(
    owner: PersistentVolume,
    volume: LocalVolume | undefined,
    plan: ReleasePlan,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const finalizers = owner.metadata?.finalizers ?? [];
    switch (plan.do) {
      case 'nothing':
        return undefined;
      case 'mark':
        return volume && (await this.#mark(volume, owner, plan.isHeld, signal));
      case 'pin':
        if (volume !== undefined) await this.#pin(owner, volume, signal);
        return undefined;
      case 'add-finalizer':
        await this.#setFinalizers(owner, [...finalizers, FINALIZER], signal);
        return undefined;
      case 'remove-finalizer':
        await this.#removeFinalizer(owner, signal);
        return undefined;
      case 'delete-volume':
        if (volume !== undefined) await this.#deleteVolume(owner, volume, signal);
        return undefined;
      case 'delete-persistent-volume':
        await this.#deletePersistentVolume(owner, signal);
        return undefined;
      case 'refuse':
        this.#deps.events.record(PERSISTENT_VOLUMES, owner, {
          type: 'Warning',
          reason: 'VolumeFailedDelete',
          action: 'Delete',
          note: plan.note,
        });
        return undefined;
    }
  }

  /** Recorded now: the PersistentVolume may be deleted before its volume is annotated. */
  #noteOwner({ metadata, spec }: LocalVolume, owner: string): void {
    const { unannotated } = this.#deps;
    const { name = '', annotations } = metadata ?? {};
    if (annotations?.[PERSISTENT_VOLUME_ANNOTATION] === undefined && spec.type === 'Volume')
      unannotated.add(name, owner);
    else unannotated.delete(name);
  }

  /** A deleted PersistentVolume leaves its data, unless the data is being deleted. */
  async #keepData(owner: string, signal: AbortSignal): Promise<void> {
    const { cluster, unannotated } = this.#deps;
    this.#unannotatedSinceMs.delete(owner);
    this.#ended.delete(owner);
    const name = unannotated.volumeOf(owner);
    if (name === undefined) return;
    const volume = cluster.volumes.store.get(name);
    const isKept = volume !== undefined && volume.metadata?.deletionTimestamp === undefined;
    if (isKept) await annotateVolume(volume, { [PERSISTENT_VOLUME_ANNOTATION]: owner }, this.#deps, signal);
    unannotated.delete(name);
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

  /**
   * Yields to pending claims: neither the annotation nor the event is urgent, and a claim that is
   * deleted soon needs neither.
   */
  async #mark(
    volume: LocalVolume,
    owner: PersistentVolume,
    isHeld: boolean,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const { quietPeriod, clock, unannotated } = this.#deps;
    const { name } = nameOf(owner);
    const sinceMs = this.#unannotatedSinceMs.get(name) ?? clock.monotonicMs();
    const afterMs = isHeld ? quietPeriod.waitMs(sinceMs) : 0;
    if (afterMs > 0) {
      this.#unannotatedSinceMs.set(name, sinceMs);
      return { afterMs };
    }
    await annotateVolume(volume, { [PERSISTENT_VOLUME_ANNOTATION]: name }, this.#deps, signal);
    this.#unannotatedSinceMs.delete(name);
    unannotated.delete(volume.metadata?.name ?? '');
    this.#tellClaim(volume, owner);
    return undefined;
  }

  #tellClaim({ metadata, spec }: LocalVolume, owner: PersistentVolume): void {
    const { cluster, events } = this.#deps;
    const { name: claimName = '', namespace = '', uid } = owner.spec?.claimRef ?? {};
    const claim = cluster.claims.store.get(`${namespace}/${claimName}`);
    // Only the claim that the volume was created for gets the event.
    if (claim === undefined || claim.metadata?.uid !== uid || spec.claim?.uid !== uid) return;
    events.record(PERSISTENT_VOLUME_CLAIMS, claim, {
      type: 'Normal',
      reason: 'ProvisioningSucceeded',
      action: 'Provision',
      note: `volume ${metadata?.name ?? ''} is ready in pool ${spec.poolName} on node ${spec.nodeName}`,
    });
  }

  /**
   * Re-reads the PersistentVolume from the API server: a policy that was just set to Retain counts.
   */
  async #deleteVolume(owner: PersistentVolume, volume: LocalVolume, signal: AbortSignal): Promise<void> {
    const { client, cluster, logger, metrics, quietPeriod } = this.#deps;
    quietPeriod.recordActivity();
    const live = await client.get(PERSISTENT_VOLUMES, nameOf(owner), { signal });
    const isSame = live.metadata?.uid === owner.metadata?.uid;
    if (!isSame || this.#plan(live, volume).do !== 'delete-volume') {
      cluster.owners.remember(live);
      return;
    }
    const { name = '', uid } = volume.metadata ?? {};
    await client.delete(LOCAL_VOLUMES, { name }, { precondition: { uid }, signal });
    metrics.released();
    logger.info({ volume: name, persistentVolume: owner.metadata?.name }, 'deleted a released volume');
  }

  /**
   * Asks the API server for a LocalVolume that the informer may lack, unless its deletion was seen.
   * The finalizer is removed first: once the deletion has begun, Kubernetes removes its own
   * finalizer at the same time, and one of the two writes would conflict. After a crash in between,
   * the object is still Released, and the next step deletes it.
   */
  async #deletePersistentVolume(owner: PersistentVolume, signal: AbortSignal): Promise<void> {
    const { client, cluster, quietPeriod } = this.#deps;
    quietPeriod.recordActivity();
    const { name } = nameOf(owner);
    const { volumeHandle } = owner.spec?.csi ?? {};
    const isSeen = volumeHandle !== undefined && this.#ended.get(name) === volumeHandle;
    const missed = isSeen ? undefined : await findObject(client, LOCAL_VOLUMES, { name }, { signal });
    if (missed !== undefined && missed.status?.volumeHandle === volumeHandle) {
      cluster.volumes.remember(missed);
      return;
    }
    const free = await this.#removeFinalizer(owner, signal);
    if (owner.metadata?.deletionTimestamp !== undefined) return;
    await client.delete(PERSISTENT_VOLUMES, { name }, { precondition: versionOf(free), signal });
    this.#deleted.set(name, owner.metadata?.uid);
  }

  /** Returns the object without Keelson's finalizer. */
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
    // Removing the last finalizer of an object that is being deleted deletes the object.
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
        isPublished: volume.metadata?.annotations?.[PERSISTENT_VOLUME_ANNOTATION] !== undefined,
      },
    );
  }

  /** By handle alone: the name is chosen by its creator and proves nothing. */
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
