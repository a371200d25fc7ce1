import { RUNTIME_POLICIES, type RuntimePolicyObject } from '../../api/runtime-policy.ts';
import { isFault } from '../../core/fault.ts';
import { planPolicyStatus } from '../../core/policies/policy-status.ts';
import { Informer } from '../../kube/informer.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import { applyStatus } from '../context/apply-status.ts';
import {
  type Reconciler,
  type ControllerContext,
  onEach,
  subscriptions,
} from '../context/controller-context.ts';

/** Nodes apply a new policy within a second or two of each other; batching makes that one write. */
const BATCH_MS = 1_000;

/**
 * Creates the reconciler that summarises the inventories in the status of each RuntimePolicy. Keys
 * are names of policies.
 */
export function createPolicyReporter(context: ControllerContext): Reconciler {
  const { client, cluster, clock } = context;
  const policies = new Informer<RuntimePolicyObject>({ resource: RUNTIME_POLICIES }, context.informerDeps);

  const reconcile = async (name: string, signal: AbortSignal): Promise<WorkResult> => {
    const policy = policies.store.get(name);
    const { uid, generation } = policy?.metadata ?? {};
    if (policy === undefined || uid === undefined || generation === undefined) return undefined;
    const nodes = [...cluster.inventories.store.values()].map(({ metadata, status }) => ({
      name: metadata?.name ?? '',
      policies: status?.policies,
    }));
    const status = planPolicyStatus(
      { name, uid, generation, nodes, previous: policy.status },
      new Date(clock.nowMs()),
    );
    if (status === undefined) return undefined;
    try {
      await applyStatus(policy, status, { resource: RUNTIME_POLICIES, informer: policies, client }, signal);
    } catch (error) {
      if (!isFault(error, 'not-found') && !isFault(error, 'conflict')) throw error;
    }
    return undefined;
  };

  const queue = context.queue('policies', 2, reconcile);
  return {
    queue,
    informers: { policies },
    subscribe: () =>
      subscriptions(
        onEach(policies, (_policy, name) => queue.add(name)),
        cluster.inventories.subscribe(({ previous, current }) => {
          if (JSON.stringify(previous?.status?.policies) === JSON.stringify(current?.status?.policies))
            return;
          for (const name of policies.store.keys()) queue.addAfter(name, BATCH_MS);
        }),
      ),
  };
}
