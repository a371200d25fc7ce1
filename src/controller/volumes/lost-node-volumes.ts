import { LOCAL_VOLUMES, type LocalVolume, REACHABLE, OWNED } from '../../api/local-volume.ts';
import { apiTime, canonicalJson, settleConditions } from '../../core/kube-text/api-status.ts';
import { Fault, isFault } from '../../core/fault.ts';
import {
  type NodePresence,
  planLostNodeVolume,
  type LostNodeCondition,
  type LostNodePlan,
} from '../../core/claims/lost-node-volumes.ts';
import {
  type Node,
  NODES,
  PERSISTENT_VOLUME_CLAIMS,
  type PersistentVolume,
  type PersistentVolumeClaim,
} from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { EventRecorder } from '../../kube/event-recorder.ts';
import type { KubeObject } from '../../kube/resource.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import { applyStatus } from '../context/apply-status.ts';
import type { Cluster } from '../context/cluster.ts';
import {
  type Reconciler,
  type ControllerContext,
  onEach,
  subscriptions,
} from '../context/controller-context.ts';
import { removeVolumeFinalizers } from '../context/local-volume-writes.ts';
import { isUnresponsive, PERSISTENT_VOLUME_ANNOTATION } from '../context/views.ts';

/** On a LocalVolume, with its UID as the value: an administrator releases its data on that node. */
export const RELEASE = 'keelson.dev/release';

interface LostNodeVolumesDeps {
  readonly client: Pick<KubeClient, 'get' | 'patch' | 'delete'>;
  readonly cluster: Cluster;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** Reasons that also set a condition for as long as they hold; the others are events only. */
const CONDITION_OF: Readonly<Partial<Record<LostNodeCondition['reason'], string>>> = {
  NodeLost: REACHABLE,
  VolumeReleased: REACHABLE,
  Retained: OWNED,
};

/**
 * Creates the reconciler that reports volumes and snapshots whose node, data or owner is lost, and
 * releases those that an administrator has annotated. Keys are names of LocalVolumes.
 */
export function createLostNodeVolumes(context: ControllerContext): Reconciler {
  const { volumes, nodes, owners, claims } = context.cluster;
  const lostNode = new LostNodeVolumes(context);
  const queue = context.queue('lost-node-volumes', 4, (name, signal) => lostNode.reconcile(name, signal));
  const addAll = (objects: readonly LocalVolume[]): void => {
    for (const { metadata } of objects) queue.add(metadata?.name ?? '');
  };
  return {
    queue,
    subscribe: () =>
      subscriptions(
        onEach(volumes, (_volume, name) => queue.add(name)),
        onEach(nodes, (_node, name) => addAll(volumes.store.byIndex('node', name))),
        onEach(owners, ({ spec }) => addAll(volumes.store.byIndex('handle', spec?.csi?.volumeHandle ?? ''))),
        onEach(claims, ({ spec }) => {
          if (volumes.store.get(spec?.volumeName ?? '') !== undefined) queue.add(spec?.volumeName ?? '');
        }),
      ),
  };
}

/** Reconciles one LocalVolume, by its name. */
class LostNodeVolumes {
  readonly #deps: LostNodeVolumesDeps;

  constructor(deps: LostNodeVolumesDeps) {
    this.#deps = deps;
  }

  /** Takes one step. The write that it makes triggers the next step. */
  async reconcile(name: string, signal: AbortSignal): Promise<WorkResult> {
    const { cluster, logger } = this.#deps;
    const volume = cluster.volumes.store.get(name);
    if (volume === undefined) return undefined;
    try {
      await this.#act(volume, signal);
      return undefined;
    } catch (error) {
      if (!isFault(error, 'busy') && !isFault(error, 'not-found')) throw error;
      logger.debug({ volume: name, err: error }, 'plan was stale');
      return { afterMs: 200 };
    }
  }

  async #act(volume: LocalVolume, signal: AbortSignal): Promise<void> {
    const { cluster } = this.#deps;
    const known = cluster.nodes.store.get(volume.spec.nodeName);
    let plan = this.#plan(volume, presenceOf(known));
    // Re-read from the API server: a slow watch or a paused controller must not report a loss.
    if (plan.do !== 'nothing' || plan.condition?.reason === 'NodeLost') {
      plan = this.#plan(volume, await this.#readPresence(volume.spec.nodeName, signal));
    }
    this.#recordEvent(volume, plan.condition);
    if (volume.metadata?.deletionTimestamp === undefined)
      await this.#writeCondition(volume, plan.condition, signal);
    if (plan.do === 'delete') await this.#delete(volume, signal);
    if (plan.do === 'remove-finalizers') await this.#removeFinalizers(volume, signal);
    if (plan.do === 'withdraw-release') await this.#withdrawRelease(volume, signal);
  }

  async #delete({ metadata, spec }: LocalVolume, signal: AbortSignal): Promise<void> {
    const { client, logger } = this.#deps;
    const { name = '', uid } = metadata ?? {};
    await client.delete(LOCAL_VOLUMES, { name }, { precondition: { uid }, signal });
    logger.warn({ volume: name, node: spec.nodeName }, 'released a volume as its annotation requests');
  }

  async #withdrawRelease({ metadata, spec }: LocalVolume, signal: AbortSignal): Promise<void> {
    const { client, cluster, logger } = this.#deps;
    const { name = '', uid, resourceVersion } = metadata ?? {};
    const merge = { metadata: { annotations: { [RELEASE]: null } } };
    const precondition = { uid, resourceVersion };
    cluster.volumes.remember(
      await client.patch(LOCAL_VOLUMES, { name }, { merge, precondition }, { signal }),
    );
    logger.warn({ volume: name, node: spec.nodeName }, 'refused to release a volume whose node is Ready');
  }

  /** Requires this version, with the annotation. */
  async #removeFinalizers(volume: LocalVolume, signal: AbortSignal): Promise<void> {
    const { client, logger } = this.#deps;
    if (!(await removeVolumeFinalizers(volume, { client }, signal))) return;
    const fields = { volume: volume.metadata?.name, node: volume.spec.nodeName };
    logger.warn(fields, 'removed a released volume from the API');
  }

  /**
   * Written as the controller's own conditions beside the agent's; removed when they no longer
   * hold.
   */
  async #writeCondition(
    volume: LocalVolume,
    condition: LostNodeCondition | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { client, cluster, clock } = this.#deps;
    const type = condition && CONDITION_OF[condition.reason];
    const ours = (volume.status?.conditions ?? []).filter((each) => [REACHABLE, OWNED].includes(each.type));
    if (condition === undefined && ours.length === 0) return;
    const lastTransitionTime = apiTime(new Date(clock.nowMs()));
    const said =
      type === undefined || condition === undefined
        ? []
        : [
            {
              type,
              status: 'False' as const,
              reason: condition.reason,
              message: condition.message,
              lastTransitionTime,
            },
          ];
    const conditions = settleConditions(ours, said);
    if (canonicalJson(conditions) === canonicalJson(ours)) return;
    await applyStatus(
      volume,
      { conditions },
      { resource: LOCAL_VOLUMES, informer: cluster.volumes, client },
      signal,
    );
  }

  #recordEvent(volume: LocalVolume, condition: LostNodeCondition | undefined): void {
    if (condition === undefined || condition.reason === 'Retained') return;
    const { events } = this.#deps;
    const note = {
      type: 'Warning',
      reason: condition.reason,
      action: 'Watch',
      note: condition.message,
    } as const;
    const claims = this.#ownersOf(volume).flatMap((owner) => this.#claimOf(owner) ?? []);
    for (const claim of claims) events.record(PERSISTENT_VOLUME_CLAIMS, claim, note);
    if (claims.length === 0) events.record(LOCAL_VOLUMES, volume, note);
  }

  #plan(volume: LocalVolume, node: NodePresence): LostNodePlan {
    const { metadata, spec, status } = volume;
    const { name = '', uid, annotations, deletionTimestamp } = metadata ?? {};
    return planLostNodeVolume({
      node,
      volume: {
        name,
        nodeName: spec.nodeName,
        isSnapshot: spec.type === 'Snapshot',
        phase: status?.phase ?? 'Pending',
        message: status?.message ?? '',
        handle: status?.volumeHandle ?? '',
        isDeleting: deletionTimestamp !== undefined,
        isPublished: annotations?.[PERSISTENT_VOLUME_ANNOTATION] !== undefined,
        // The UID: a re-created object of this name was not meant.
        isReleased: uid !== undefined && annotations?.[RELEASE] === uid,
      },
      owners: this.#ownersOf(volume).map((owner) => ({
        name: owner.metadata?.name ?? '',
        reclaimPolicy: owner.spec?.persistentVolumeReclaimPolicy ?? 'Retain',
      })),
    });
  }

  async #readPresence(name: string, signal: AbortSignal): Promise<NodePresence> {
    const { client, cluster } = this.#deps;
    try {
      const node = await client.get(NODES, { name }, { signal });
      if (cluster.nodes.store.get(name) === undefined) {
        cluster.nodes.remember(node);
        throw new Fault('busy', `node ${name} was re-created during the update; retrying`);
      }
      const ready = node.status?.conditions?.find(({ type }) => type === 'Ready')?.status;
      return ready === 'True' ? 'ready' : 'unresponsive';
    } catch (error) {
      if (isFault(error, 'not-found')) return 'deleted';
      throw error;
    }
  }

  #ownersOf({ status }: LocalVolume): readonly PersistentVolume[] {
    const handle = status?.volumeHandle;
    return handle === undefined ? [] : this.#deps.cluster.owners.store.byIndex('handle', handle);
  }

  #claimOf({ spec }: PersistentVolume): PersistentVolumeClaim | undefined {
    const { namespace = '', name = '', uid } = spec?.claimRef ?? {};
    const claim = this.#deps.cluster.claims.store.get(`${namespace}/${name}`);
    return claim?.metadata?.uid === uid ? claim : undefined;
  }
}

function presenceOf(node: (Node & KubeObject) | undefined): NodePresence {
  if (node === undefined) return 'deleted';
  return isUnresponsive(node) ? 'unresponsive' : 'ready';
}
