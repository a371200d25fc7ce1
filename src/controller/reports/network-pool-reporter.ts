import { NETWORK_POOLS, type NetworkPool } from '../../api/network-pool.ts';
import { isFault } from '../../core/fault.ts';
import { selectsLabels } from '../../core/kube-text/label-selector.ts';
import { Informer } from '../../kube/informer.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import { applyStatus } from '../context/apply-status.ts';
import {
  type Reconciler,
  type ControllerContext,
  onEach,
  onNodeLabels,
  subscriptions,
} from '../context/controller-context.ts';

/**
 * Creates the reconciler that writes the number of nodes into the status of each NetworkPool. Keys
 * are names of pools.
 */
export function createNetworkPoolReporter(context: ControllerContext): Reconciler {
  const { client, cluster } = context;
  const pools = new Informer<NetworkPool>({ resource: NETWORK_POOLS }, context.informerDeps);

  const reconcile = async (name: string, signal: AbortSignal): Promise<WorkResult> => {
    const pool = pools.store.get(name);
    if (pool === undefined) return undefined;
    const { generation: observedGeneration = 0 } = pool.metadata ?? {};
    const nodes = [...cluster.nodes.store.values()].filter(({ metadata }) =>
      selectsLabels(pool.spec.nodeSelector, metadata?.labels ?? {}),
    ).length;
    if (pool.status?.nodes === nodes && pool.status.observedGeneration === observedGeneration)
      return undefined;
    try {
      const write = { resource: NETWORK_POOLS, informer: pools, client };
      await applyStatus(pool, { observedGeneration, nodes }, write, signal);
    } catch (error) {
      // Deleted or re-created meanwhile: its own key follows.
      if (!isFault(error, 'not-found') && !isFault(error, 'conflict')) throw error;
    }
    return undefined;
  };

  const queue = context.queue('network-pools', 1, reconcile);
  return {
    queue,
    informers: { pools },
    subscribe: () =>
      subscriptions(
        onEach(pools, (_pool, name) => queue.add(name)),
        onNodeLabels(cluster, () => {
          for (const name of pools.store.keys()) queue.add(name);
        }),
      ),
  };
}
