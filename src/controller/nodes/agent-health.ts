import { NODE_INVENTORIES, type NodeInventory } from '../../api/node-inventory.ts';
import { apiTime } from '../../core/kube-text/api-status.ts';
import { isFault } from '../../core/fault.ts';
import { type Pod, PODS } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import { Informer } from '../../kube/informer.ts';
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

interface AgentHealthDeps {
  readonly client: Pick<KubeClient, 'patch'>;
  readonly cluster: Pick<Cluster, 'inventories'>;
  /** Agent pods, indexed by `node`; empty when agents run outside the cluster. */
  readonly pods: Informer<Pod>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** Selects the agent pods, in the controller's namespace. */
export const AGENT_PODS = 'app.kubernetes.io/name=keelson,app.kubernetes.io/component=agent';
/** An upgrade or restart of an agent takes less than this. */
const HEARTBEAT_TIMEOUT_MS = 30_000;
/** An agent that reported although its pod is not Ready is checked again after this long. */
const RECHECK_MS = 600_000;

/** Why Kubernetes considers an agent unresponsive. */
interface Unresponsiveness {
  /** Stays the same while the reason does. */
  readonly key: string;
  readonly message: string;
}

interface AgentExpectation {
  readonly key: string;
  readonly sinceMs: number;
  isAsked: boolean;
  answeredMs?: number;
}

/**
 * Creates the reconciler that marks inventories whose agent is unresponsive. Keys are names of
 * nodes.
 */
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
  const queue = context.queue('agent pods', 1, (name, signal) => agents.reconcile(name, signal));
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
 * Checks the agent of one node. Agents do not write heartbeats, so their sign of life is the pod:
 * kubelet reports whether it is Ready, and the node controller when kubelet is unresponsive too.
 * The controller writes `Ready: Unknown` to the inventory; a live agent sees that its condition
 * changed and writes it again.
 */
class AgentHealth {
  readonly #deps: AgentHealthDeps;
  /** By node, counted from the controller's start. */
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
      // The agent has not answered, or its own report stays: it is not ready.
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

  async #ask(inventory: NodeInventory, { message }: Unresponsiveness, signal: AbortSignal): Promise<void> {
    const { client, cluster, clock, logger } = this.#deps;
    const { name = '' } = inventory.metadata ?? {};
    const lastTransitionTime = apiTime(new Date(clock.nowMs()));
    const condition = {
      type: 'Ready',
      status: 'Unknown',
      reason: 'AgentUnresponsive',
      message,
      lastTransitionTime,
    };
    try {
      const write = { resource: NODE_INVENTORIES, informer: cluster.inventories, client };
      await applyStatus(inventory, { conditions: [condition] }, write, signal);
      logger.info({ node: name, reason: message }, 'agent is unresponsive; marked its inventory');
    } catch (error) {
      // Deleted or re-created meanwhile: its events trigger the next step.
      if (!isFault(error, 'not-found') && !isFault(error, 'busy')) throw error;
    }
  }

  /** Undefined while an agent pod of the node is Ready, and where agents do not run as pods. */
  #unresponsivenessOf(node: string): Unresponsiveness | undefined {
    const { store } = this.#deps.pods;
    if (store.size === 0) return undefined;
    const pods = store.byIndex('node', node);
    const conditions = pods.map((pod) => ({ pod, ready: pod.status?.conditions?.[0] }));
    if (conditions.some(({ ready }) => ready?.status === 'True')) return undefined;
    const [first] = conditions;
    if (first === undefined) return { key: 'none', message: 'the node has no agent pod' };
    const { metadata } = first.pod;
    return {
      key: `${metadata?.uid ?? ''} ${first.ready?.lastTransitionTime ?? ''}`,
      message: `agent pod ${metadata?.name ?? ''} is not Ready; this status is outdated`,
    };
  }
}

function readyOf({ status }: NodeInventory): { readonly status: string } | undefined {
  return status?.conditions?.find(({ type }) => type === 'Ready');
}

/** Keeps the identity and the node of a pod, and its Ready condition. */
function slimPod({ metadata, spec, status }: Pod): Pod {
  const ready = status?.conditions?.filter(({ type }) => type === 'Ready') ?? [];
  const { name, namespace, uid, resourceVersion, labels } = metadata ?? {};
  return {
    metadata: { name, namespace, uid, resourceVersion, labels },
    spec: { nodeName: spec?.nodeName, containers: [] },
    status: { conditions: ready },
  } as Pod;
}
