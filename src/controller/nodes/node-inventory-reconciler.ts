import { NODE_INVENTORIES } from '../../api/node-inventory.ts';
import { isFault } from '../../core/fault.ts';
import { NODES } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import type { Cluster } from '../context/cluster.ts';
import {
  type Reconciler,
  type ControllerContext,
  onEach,
  subscriptions,
} from '../context/controller-context.ts';

interface NodeInventoryReconcilerDeps {
  readonly client: Pick<KubeClient, 'get' | 'delete'>;
  readonly cluster: Cluster;
  readonly logger: Logger;
  readonly clock: Clock;
}

/**
 * A node that registers again within this time, for example after a mistaken deletion, finds its
 * inventory.
 */
const GRACE_MS = 300_000;

/**
 * Creates the reconciler that deletes inventories of deleted nodes; a live agent re-creates its
 * own. Keys are names of nodes.
 */
export function createNodeInventoryReconciler(context: ControllerContext): Reconciler {
  const { nodes, inventories } = context.cluster;
  const reconciler = new NodeInventoryReconciler(context);
  const queue = context.queue('inventories', 1, (name, signal) => reconciler.reconcile(name, signal));
  return {
    queue,
    subscribe: () =>
      subscriptions(
        onEach(nodes, (_node, name) => queue.add(name)),
        onEach(inventories, (_inventory, name) => queue.add(name)),
      ),
  };
}

/** Reconciles the inventory of one node. The LocalVolumes of the node stay. */
class NodeInventoryReconciler {
  readonly #deps: NodeInventoryReconcilerDeps;
  /** When a node was first missed, counted from the controller's start. */
  readonly #absentSinceMs = new Map<string, number>();

  constructor(deps: NodeInventoryReconcilerDeps) {
    this.#deps = deps;
  }

  /** Deletes the inventory of node `name`, or returns when to check again. */
  async reconcile(name: string, signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster, clock, logger } = this.#deps;
    const inventory = cluster.inventories.store.get(name);
    if (inventory === undefined || cluster.nodes.store.get(name) !== undefined) {
      this.#absentSinceMs.delete(name);
      return undefined;
    }
    const nowMs = clock.nowMs();
    const absentSinceMs = this.#absentSinceMs.get(name) ?? nowMs;
    this.#absentSinceMs.set(name, absentSinceMs);
    if (nowMs - absentSinceMs < GRACE_MS) return { afterMs: absentSinceMs + GRACE_MS - nowMs };
    if (await this.#isThere(name, signal)) return { afterMs: GRACE_MS };
    try {
      const { uid } = inventory.metadata ?? {};
      await client.delete(NODE_INVENTORIES, { name }, { precondition: { uid }, signal });
      logger.info({ node: name }, 'deleted the inventory of a deleted node');
    } catch (error) {
      if (!isFault(error, 'not-found') && !isFault(error, 'busy')) throw error;
    }
    return undefined;
  }

  async #isThere(name: string, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#deps.client.get(NODES, { name }, { signal });
      return true;
    } catch (error) {
      if (isFault(error, 'not-found')) return false;
      throw error;
    }
  }
}
