import { NODE_INVENTORIES, type NodeInventory } from '../../api/node-inventory.ts';
import { apiTime } from '../../core/kube-text/api-status.ts';
import { isFault } from '../../core/fault.ts';
import { type Pod, PODS } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import { Informer } from '../../kube/informer.ts';
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

export interface AgentHealthDeps {
  readonly client: Pick<KubeClient, 'patch'>;
  readonly cluster: Pick<Cluster, 'inventories'>;
  /** Pods of agents, by `node`; none where agents run outside of the cluster. */
  readonly pods: Informer<Pod>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** The pods of agents, in the namespace of the controller. */
export const AGENT_PODS = 'app.kubernetes.io/name=keelson,app.kubernetes.io/component=agent';
const FIELD_MANAGER = 'keelson-controller';
/** An agent that is upgraded or restarted is back by then. */
const HEARTBEAT_TIMEOUT_MS = 30_000;
/** After which an agent that answered although its pod is not Ready is asked once more. */
const RECHECK_MS = 600_000;

/** What Kubernetes says against an agent. */
interface Unresponsiveness {
  /** The same as long as it says the same. */
  readonly key: string;
  readonly message: string;
}

interface AgentExpectation {
  readonly key: string;
  readonly sinceMs: number;
  isAsked: boolean;
  answeredMs?: number;
}

/** Says of inventories whose agent is gone that nobody keeps them true any more. Keys are names of nodes. */
export function createAgentHealth(
  context: ControllerContext,
  { namespace }: { readonly namespace: string },
): Reconciler {
  const pods = new Informer<Pod>(
    {
      resource: PODS,
      namespace,
      labelSelector: AGENT_PODS,
      indexers: { node: ({ spec }) => [spec?.nodeName ?? []].flat() },
      transform: slimPod,
    },
    context.informerDeps,
  );
  const agents = new AgentHealth({ ...context, pods });
  const queue = context.queue('silent agents', 1, (name, signal) => agents.reconcile(name, signal));
  return {
    queue,
    informers: { pods },
    subscribe: () =>
      subscriptions(
        onEach(pods, ({ spec }) => {
          if (spec?.nodeName !== undefined) queue.add(spec.nodeName);
        }),
        onEach(context.cluster.inventories, (_inventory, name) => queue.add(name)),
      ),
  };
}

/**
 * Sees to the agent of one node. No agent writes only to show that it is there, so the sign of life is its pod: kubelet says whether that is
 * Ready, and the node controller where kubelet is silent too. `Ready: Unknown` in the inventory is a question as well: an agent that
 * lives finds its words changed and says them again.
 */
export class AgentHealth {
  readonly #deps: AgentHealthDeps;
  /** By node. A controller that is started anew counts from then. */
  readonly #missed = new Map<string, AgentExpectation>();

  constructor(deps: AgentHealthDeps) {
    this.#deps = deps;
  }

  async reconcile(name: string, signal: AbortSignal): Promise<WorkResult> {
    const { cluster, clock } = this.#deps;
    const inventory = cluster.inventories.store.get(name);
    const unresponsiveness = inventory && this.#unresponsivenessOf(name);
    if (inventory === undefined || unresponsiveness === undefined) {
      this.#missed.delete(name);
      return undefined;
    }
    const nowMs = clock.nowMs();
    const known = this.#missed.get(name);
    const missed: AgentExpectation =
      known?.key === unresponsiveness.key
        ? known
        : { key: unresponsiveness.key, sinceMs: nowMs, isAsked: false };
    this.#missed.set(name, missed);
    if (readyOf(inventory)?.status !== 'True') {
      // It has not answered; or what it has said of itself stays: that it cannot serve.
      delete missed.answeredMs;
      return undefined;
    }
    if (missed.isAsked) missed.answeredMs ??= nowMs;
    const askAtMs =
      missed.answeredMs === undefined
        ? missed.sinceMs + HEARTBEAT_TIMEOUT_MS
        : missed.answeredMs + RECHECK_MS;
    if (nowMs < askAtMs) return { afterMs: askAtMs - nowMs };
    await this.#ask(inventory, unresponsiveness, signal);
    missed.isAsked = true;
    delete missed.answeredMs;
    return undefined;
  }

  async #ask({ metadata }: NodeInventory, { message }: Unresponsiveness, signal: AbortSignal): Promise<void> {
    const { client, cluster, clock, logger } = this.#deps;
    const { name = '', uid } = metadata ?? {};
    const lastTransitionTime = apiTime(new Date(clock.nowMs()));
    const condition = {
      type: 'Ready',
      status: 'Unknown',
      reason: 'AgentSilent',
      message,
      lastTransitionTime,
    };
    try {
      const told = await client.patch(
        NODE_INVENTORIES,
        { name },
        {
          apply: { metadata: { uid }, status: { conditions: [condition] } },
          fieldManager: FIELD_MANAGER,
          force: true,
        },
        { subresource: 'status', signal },
      );
      cluster.inventories.remember(told);
      logger.info({ node: name, reason: message }, 'an inventory has no agent that keeps it true');
    } catch (error) {
      // Deleted meanwhile, or another one by now: its events bring the node again.
      if (!isFault(error, 'not-found') && !isFault(error, 'busy')) throw error;
    }
  }

  /** Undefined while a pod of the node's is Ready, and where agents are no pods. */
  #unresponsivenessOf(node: string): Unresponsiveness | undefined {
    const { store } = this.#deps.pods;
    if (store.size === 0) return undefined;
    const pods = store.byIndex('node', node);
    const conditions = pods.map((pod) => ({ pod, ready: pod.status?.conditions?.[0] }));
    if (conditions.some(({ ready }) => ready?.status === 'True')) return undefined;
    const [first] = conditions;
    if (first === undefined) return { key: 'none', message: 'its agent has no pod on this node' };
    const { metadata } = first.pod;
    return {
      key: `${metadata?.uid ?? ''} ${first.ready?.lastTransitionTime ?? ''}`,
      message: `the pod of its agent, ${metadata?.name ?? ''}, is not Ready; what is said here is of before`,
    };
  }
}

function readyOf({ status }: NodeInventory): { readonly status: string } | undefined {
  return status?.conditions?.find(({ type }) => type === 'Ready');
}

/** A pod with nothing but who it is, where it is, and the one condition Ready. */
function slimPod({ metadata, spec, status }: Pod): Pod {
  const ready = status?.conditions?.filter(({ type }) => type === 'Ready') ?? [];
  const { name, namespace, uid, resourceVersion, labels } = metadata ?? {};
  return {
    metadata: { name, namespace, uid, resourceVersion, labels },
    spec: { nodeName: spec?.nodeName, containers: [] },
    status: { conditions: ready },
  } as Pod;
}
