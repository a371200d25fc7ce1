import { DATA_FINALIZER, LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import { Fault, isFault } from '../../core/fault.ts';
import { describeClaim, volumeNameOf, type VolumeView } from '../../core/claims/provision.ts';
import {
  type NewVolume,
  type ProvisionPlan,
  type ProvisionState,
  planProvision,
  type Refusal,
} from '../../core/claims/provision-plan.ts';
import { exactQuantity } from '../../core/kube-text/exact-quantity.ts';
import {
  NODES,
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  type PersistentVolume,
  type PersistentVolumeClaim,
} from '../../kube/built-in.ts';
import { findObject, type KubeClient } from '../../kube/client.ts';
import type { EventRecorder } from '../../kube/event-recorder.ts';
import { type Clock, systemClock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import { type AttributesClasses, findAttributesClass } from './attributes-classes.ts';
import type { QuietPeriod } from '../../runtime/quiet-period.ts';
import type { ClaimSources } from './claim-sources.ts';
import type { Cluster } from '../context/cluster.ts';
import { removeVolumeFinalizers } from '../context/local-volume-writes.ts';
import type { ControllerMetrics } from '../context/metrics.ts';
import { NodeViews } from '../context/node-views.ts';
import { persistentVolumeOf } from '../context/persistent-volume.ts';
import type { UnannotatedVolumes } from '../context/unannotated-volumes.ts';
import {
  classNameOf,
  classView,
  claimView,
  hasAvailableVolume,
  SELECTED_NODE,
  volumeView,
} from '../context/views.ts';

export interface ProvisionerDeps {
  readonly client: KubeClient;
  readonly cluster: Cluster;
  readonly sources: ClaimSources;
  readonly attributesClasses: Pick<AttributesClasses, 'store'>;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly quietPeriod: QuietPeriod;
  readonly unannotated: Pick<UnannotatedVolumes, 'has'>;
  readonly metrics: ControllerMetrics;
  readonly logger: Logger;
  readonly clock?: Clock;
}

/** How long a node that refused a volume is not tried again for it. */
const AVOID_MS: Readonly<Record<Refusal, number>> = { exhausted: 60_000, failed: 300_000 };
/** A pending claim is reconciled when nodes change, and after this long. */
const WAIT_MS = 60_000;
/** A volume that takes longer gets a `Provisioning` event; most are ready earlier. */
const SLOW_MS = 2_000;
/** An agent removes the finalizer of a volume that it did not create within a second. */
const OVERDUE_MS = 30_000;

interface Avoided {
  readonly refusal: Refusal;
  readonly untilMs: number;
}

/** The objects that a plan was made from. */
interface Found {
  readonly claim: PersistentVolumeClaim | undefined;
  readonly volume: LocalVolume | undefined;
}

/**
 * Takes a volume, by its name `pvc-UID`, one step further from claim to PersistentVolume, or
 * deletes it.
 */
export class Provisioner {
  readonly #deps: ProvisionerDeps;
  readonly #clock: Clock;
  readonly #nodes: NodeViews;
  readonly #avoided = new Map<string, Map<string, Avoided>>();
  readonly #waiting = new Set<string>();
  /**
   * Start of the creation of volumes, by the monotonic clock; Infinity once its event was recorded.
   */
  readonly #madeSinceMs = new Map<string, number>();
  /** Start of the deletion of volumes that no agent reported on, by the monotonic clock. */
  readonly #deletedSinceMs = new Map<string, number>();

  constructor(deps: ProvisionerDeps) {
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#nodes = new NodeViews(deps.cluster);
  }

  /** Names of volumes whose claims wait for capacity: reconciled when a node changes. */
  get waiting(): ReadonlySet<string> {
    return this.#waiting;
  }

  /** Takes one step. The write that it makes triggers the next step. */
  async reconcile(name: string, signal: AbortSignal): Promise<WorkResult> {
    const { claims, volumes } = this.#deps.cluster;
    const volume = volumes.store.get(name);
    // Snapshots, and LocalVolumes created by hand, do not belong to a claim.
    if (volume !== undefined && claimOf(volume) === undefined) return undefined;
    const found: Found = { claim: claims.store.byIndex('volume', name)[0], volume };
    const isOwned = this.#ownersOf(name, volume).length > 0;
    const plan = planProvision(this.#stateOf(name, found, isOwned));
    this.#waiting.delete(name);
    if (volume === undefined) {
      this.#madeSinceMs.delete(name);
      this.#deletedSinceMs.delete(name);
    }
    if (found.claim === undefined && volume === undefined) this.#avoided.delete(name);
    try {
      return await this.#carryOut(name, plan, found, signal);
    } catch (error) {
      // An object changed since it was read: retries once the informers have it.
      const isStale = isFault(error, 'busy') || isFault(error, 'not-found') || isFault(error, 'conflict');
      if (!isStale) throw error;
      this.#deps.logger.debug({ volume: name, err: error }, 'plan was stale');
      return { afterMs: 200 };
    }
  }

  async #carryOut(name: string, plan: ProvisionPlan, found: Found, signal: AbortSignal): Promise<WorkResult> {
    switch (plan.do) {
      case 'nothing':
        return this.#awaitEnd(name, found.volume) ?? this.#announce(name, found);
      case 'wait':
        this.#waiting.add(name);
        this.#recordEvent(found.claim, plan.fault);
        return { afterMs: WAIT_MS };
      case 'create':
        return await this.#create(name, plan.volume, found, signal);
      case 'publish':
        return await this.#publish(name, found, signal);
      case 'reschedule':
        await this.#reschedule(found, plan.fault, signal);
        return undefined;
      case 'discard':
      case 'abandon':
        return await this.#remove(name, plan, signal);
    }
  }

  /**
   * Creates the LocalVolume first. If its claim was deleted or changed meanwhile, the informers
   * report that, or the initial list after a crash does, and the LocalVolume is deleted.
   */
  async #create(name: string, volume: NewVolume, { claim }: Found, signal: AbortSignal): Promise<WorkResult> {
    if (claim === undefined) return undefined;
    const { client, cluster, sources, quietPeriod } = this.#deps;
    quietPeriod.recordActivity();
    await sources.protect(claim, signal);
    const created = await client.create(LOCAL_VOLUMES, localVolumeOf(name, volume, claim), { signal });
    cluster.volumes.remember(created);
    return undefined;
  }

  /** Checks later on a volume that is being deleted and that its agent never reported on. */
  #awaitEnd(name: string, volume: LocalVolume | undefined): WorkResult {
    if (volume?.metadata?.deletionTimestamp === undefined || volumeView(volume).isAnswered) return undefined;
    const nowMs = this.#clock.monotonicMs();
    const sinceMs = this.#deletedSinceMs.get(name) ?? nowMs;
    this.#deletedSinceMs.set(name, sinceMs);
    return { afterMs: Math.max(0, sinceMs + OVERDUE_MS - nowMs) };
  }

  /**
   * Records one `Provisioning` event if creation takes longer than `SLOW_MS`, when no urgent work
   * is due.
   */
  #announce(name: string, { claim, volume }: Found): WorkResult {
    if (claim === undefined || volume === undefined) return undefined;
    const isMade =
      (volume.status?.phase ?? 'Pending') !== 'Pending' || this.#ownersOf(name, volume).length > 0;
    if (isMade || this.#madeSinceMs.get(name) === Number.POSITIVE_INFINITY) return undefined;
    const nowMs = this.#clock.monotonicMs();
    const sinceMs = this.#madeSinceMs.get(name) ?? nowMs;
    this.#madeSinceMs.set(name, sinceMs);
    const dueMs = sinceMs + SLOW_MS;
    const afterMs = Math.max(dueMs - nowMs, this.#deps.quietPeriod.waitMs(dueMs));
    if (afterMs > 0) return { afterMs };
    this.#madeSinceMs.set(name, Number.POSITIVE_INFINITY);
    const { nodeName, poolName, size } = volume.spec;
    this.#deps.events.record(PERSISTENT_VOLUME_CLAIMS, claim, {
      type: 'Normal',
      reason: 'Provisioning',
      action: 'Provision',
      note: `creating a volume of ${size} in pool ${poolName} on node ${nodeName}`,
    });
    return undefined;
  }

  async #publish(name: string, found: Found, signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster, metrics, quietPeriod } = this.#deps;
    quietPeriod.recordActivity();
    const { volume } = found;
    let { claim } = found;
    const storageClass = claim && cluster.classes.store.get(classNameOf(claim));
    if (claim === undefined || volume === undefined || storageClass === undefined) return { afterMs: 200 };
    // The PersistentVolume of a claim that was deleted meanwhile becomes Released and is reclaimed;
    // with policy Retain it would stay, and no claim ever used it.
    if (storageClass.reclaimPolicy === 'Retain') {
      claim = await this.#liveClaim(claim, signal);
      if (planProvision(this.#stateOf(name, { claim, volume }, false)).do !== 'publish')
        return { afterMs: 200 };
      if (claim === undefined) return undefined;
    }
    // An earlier run may have created it: `conflict` retries until the informer has it.
    const owner = await client.create(PERSISTENT_VOLUMES, persistentVolumeOf(volume, claim, storageClass), {
      signal,
    });
    cluster.owners.remember(owner);
    const createdMs = Date.parse(claim.metadata?.creationTimestamp ?? '');
    metrics.provisioned((this.#clock.nowMs() - createdMs) / 1_000);
    return undefined;
  }

  async #reschedule({ claim }: Found, fault: Fault, signal: AbortSignal): Promise<void> {
    if (claim === undefined) return;
    const { client, cluster, metrics } = this.#deps;
    const { name = '', namespace, uid, resourceVersion } = claim.metadata ?? {};
    await this.#checkNodeIsKnown(claim.metadata?.annotations?.[SELECTED_NODE] ?? '', signal);
    const changed = await client.patch(
      PERSISTENT_VOLUME_CLAIMS,
      { name, namespace },
      {
        merge: { metadata: { annotations: { [SELECTED_NODE]: null } } },
        precondition: { uid, resourceVersion },
      },
      { signal },
    );
    cluster.claims.remember(changed);
    metrics.rescheduled();
    this.#recordEvent(claim, fault);
  }

  /**
   * Re-reads the claim, the PersistentVolumes and the node from the API server: deleting the wrong
   * volume loses data.
   */
  async #remove(
    name: string,
    plan: Extract<ProvisionPlan, { do: 'discard' | 'abandon' }>,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    const { client, logger } = this.#deps;
    const volume = await findObject(client, LOCAL_VOLUMES, { name }, { signal });
    if (volume === undefined || claimOf(volume) === undefined) return undefined;
    const claim = await this.#liveClaim(claimOf(volume), signal);
    const owner = await findObject(client, PERSISTENT_VOLUMES, { name }, { signal });
    await this.#checkNodeIsKnown(volume.spec.nodeName, signal);
    const isOwned = owner !== undefined || this.#ownersOf(name, volume).length > 0;
    if (planProvision(this.#stateOf(name, { claim, volume }, isOwned)).do !== plan.do)
      return { afterMs: 200 };
    if (plan.do === 'abandon') {
      await removeVolumeFinalizers(volume, { client }, signal);
      logger.info({ volume: name, node: volume.spec.nodeName }, 'released an unused volume of a lost node');
      return undefined;
    }
    this.#avoid(name, volume);
    const { uid, resourceVersion } = volume.metadata ?? {};
    await client.delete(LOCAL_VOLUMES, { name }, { precondition: { uid, resourceVersion }, signal });
    if (plan.fault !== undefined) this.#recordEvent(claim, plan.fault);
    logger.info({ volume: name, node: volume.spec.nodeName }, 'deleted an unused volume');
    return undefined;
  }

  #stateOf(name: string, { claim, volume }: Found, isOwned: boolean): ProvisionState {
    const { cluster, sources, attributesClasses } = this.#deps;
    const view = claim === undefined ? undefined : claimView(claim);
    const storageClass = view && classView(cluster.classes.store.get(view.className));
    return {
      claim: view,
      storageClass,
      attributesClass: findAttributesClass(attributesClasses, view?.attributesClassName),
      volume: volume === undefined ? undefined : this.#viewOf(name, volume),
      isOwned,
      isOffered: view !== undefined && hasAvailableVolume(cluster.owners.store, view),
      isOverdue:
        (this.#deletedSinceMs.get(name) ?? Number.POSITIVE_INFINITY) + OVERDUE_MS <=
        this.#clock.monotonicMs(),
      nodes: this.#nodes.without(name),
      source: view && storageClass && sources.find(view),
      avoid: this.#avoidedBy(name),
    };
  }

  #viewOf(name: string, volume: LocalVolume): VolumeView {
    const view = volumeView(volume);
    return this.#deps.unannotated.has(name) ? { ...view, isPublished: true } : view;
  }

  /** PersistentVolumes with that name or handle. */
  #ownersOf(name: string, volume: LocalVolume | undefined): readonly PersistentVolume[] {
    const { store } = this.#deps.cluster.owners;
    const handle = volume?.status?.volumeHandle;
    const byHandle = handle === undefined ? [] : store.byIndex('handle', handle);
    return [...[store.get(name) ?? []].flat(), ...byHandle];
  }

  /**
   * The claim as the API server has it; undefined when it was deleted or another claim has its
   * name.
   */
  async #liveClaim(
    known: Pick<PersistentVolumeClaim, 'metadata'> | undefined,
    signal: AbortSignal,
  ): Promise<PersistentVolumeClaim | undefined> {
    if (known === undefined) return undefined;
    const { name = '', namespace, uid } = known.metadata ?? {};
    const { client } = this.#deps;
    const claim = await findObject(client, PERSISTENT_VOLUME_CLAIMS, { name, namespace }, { signal });
    return claim?.metadata?.uid === uid ? claim : undefined;
  }

  /** Adds a node that the informer lacks: a slow watch must not lead to deletions. */
  async #checkNodeIsKnown(name: string, signal: AbortSignal): Promise<void> {
    const { client, cluster } = this.#deps;
    const { nodes } = cluster;
    if (name === '' || nodes.store.get(name) !== undefined) return;
    const node = await findObject(client, NODES, { name }, { signal });
    if (node === undefined) return;
    nodes.remember(node);
    throw new Fault('busy', `node ${name} was re-created during the update; retrying`);
  }

  #avoid(name: string, { spec: { nodeName }, status }: LocalVolume): void {
    const phase = status?.phase;
    if (phase === undefined || phase === 'Pending' || phase === 'Ready') return;
    const refusal = phase === 'Exhausted' ? 'exhausted' : 'failed';
    const nodes = this.#avoided.get(name) ?? new Map<string, Avoided>();
    this.#avoided.set(
      name,
      nodes.set(nodeName, { refusal, untilMs: this.#clock.nowMs() + AVOID_MS[refusal] }),
    );
  }

  #avoidedBy(name: string): ReadonlyMap<string, Refusal> {
    const nowMs = this.#clock.nowMs();
    const nodes = [...(this.#avoided.get(name) ?? [])].filter(([, { untilMs }]) => untilMs > nowMs);
    return new Map(nodes.map(([node, { refusal }]) => [node, refusal]));
  }

  #recordEvent(claim: PersistentVolumeClaim | undefined, fault: Fault): void {
    if (claim === undefined) return;
    const { events, metrics, logger } = this.#deps;
    metrics.refused(fault.kind);
    logger.info({ claim: describeClaim(claimView(claim)), reason: fault.message }, 'claim is pending');
    events.record(PERSISTENT_VOLUME_CLAIMS, claim, {
      // A volume populator may serve a source that Keelson does not.
      type: fault.kind === 'unsupported' ? 'Normal' : 'Warning',
      reason: 'ProvisioningFailed',
      action: 'Provision',
      note: fault.message,
    });
  }
}

function localVolumeOf(name: string, volume: NewVolume, claim: PersistentVolumeClaim): LocalVolume {
  const { nodeName, poolName, sizeBytes, fsType, parameters, attributesClass, source } = volume;
  const { name: claimName = '', namespace = '', uid = '' } = claim.metadata ?? {};
  return {
    apiVersion: 'keelson.dev/v1alpha1',
    kind: LOCAL_VOLUMES.kind,
    metadata: { name, finalizers: [DATA_FINALIZER] },
    spec: {
      nodeName,
      poolName,
      type: 'Volume',
      size: exactQuantity(sizeBytes),
      volumeMode: claim.spec?.volumeMode === 'Block' ? 'Block' : 'Filesystem',
      claim: { namespace, name: claimName, uid },
      ...(fsType === undefined ? {} : { fsType }),
      ...(source === undefined ? {} : { source }),
      ...(Object.keys(parameters).length === 0 ? {} : { parameters }),
      ...(attributesClass && {
        attributesClassName: attributesClass.name,
        mutableParameters: attributesClass.parameters,
      }),
    },
  };
}

/**
 * The claim that a LocalVolume was created for; undefined for a snapshot, or when its name is not
 * that of the claim's volume.
 */
function claimOf({ spec, metadata }: LocalVolume): Pick<PersistentVolumeClaim, 'metadata'> | undefined {
  if (spec.type !== 'Volume' || spec.claim === undefined) return undefined;
  if (metadata?.name !== volumeNameOf(spec.claim.uid)) return undefined;
  return { metadata: spec.claim };
}
