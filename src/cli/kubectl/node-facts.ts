import { NODE_INVENTORIES, type NodeInventory } from '../../api/node-inventory.ts';
import type { Cluster } from '../../controller/context/cluster.ts';
import { AGENT_PODS } from '../../controller/nodes/agent-health.ts';
import { nodeView } from '../../controller/context/views.ts';
import { DRIVER_NAME, TOPOLOGY_KEY } from '../../core/volumes/driver.ts';
import { parseQuantity } from '../../core/kube-text/quantity.ts';
import { addAmounts, type Amounts, parseAmount } from '../../core/why/amount.ts';
import type { AgentFacts, NodeFacts } from '../../core/why/facts.ts';
import {
  CSI_NODES,
  CSI_STORAGE_CAPACITIES,
  type CsiNode,
  type CsiStorageCapacity,
  type Node,
  NODES,
  PODS,
  type Pod,
} from '../../kube/built-in.ts';
import type { ClusterReader } from './cluster-reader.ts';
import { podFacts } from './pod-facts.ts';

/** API objects of nodes. */
export interface NodeObjects {
  readonly nodes: readonly Node[];
  readonly csiNodes: readonly CsiNode[];
  readonly inventories: readonly NodeInventory[];
  readonly capacities: readonly CsiStorageCapacity[];
  /** Running or starting pods on nodes. */
  readonly pods: readonly Pod[];
  /** Pods of agents; empty if agents run outside of the cluster. */
  readonly agentPods: readonly Pod[];
}

interface NodeReadOptions {
  /** Namespace of the agents' pods. */
  readonly systemNamespace: string;
  /** Whether to read pods of all namespaces. */
  readonly withPods: boolean;
}

/** Terminated pods hold no resources. */
const ON_NODES = 'spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed';

/** Reads all objects concurrently. */
export async function readNodeObjects(
  reader: ClusterReader,
  { systemNamespace, withPods }: NodeReadOptions,
): Promise<NodeObjects> {
  const [nodes, csiNodes, inventories, capacities, pods, agentPods] = await Promise.all([
    reader.list(NODES),
    reader.list(CSI_NODES),
    reader.list(NODE_INVENTORIES),
    reader.list(CSI_STORAGE_CAPACITIES, { labelSelector: `csi.storage.k8s.io/drivername=${DRIVER_NAME}` }),
    withPods ? reader.list(PODS, { fieldSelector: ON_NODES }) : [],
    reader.list(PODS, { namespace: systemNamespace, labelSelector: AGENT_PODS }),
  ]);
  return { nodes, csiNodes, inventories, capacities, pods, agentPods };
}

/** Returns facts by node name; does not count the volume `except` against its node. */
export function nodeFacts(
  objects: NodeObjects,
  { volumes }: Pick<Cluster, 'volumes'>,
  reader: ClusterReader,
  except?: string,
): readonly NodeFacts[] {
  const csiNodes = new Map(objects.csiNodes.map((object) => [object.metadata?.name, object]));
  const inventories = new Map(objects.inventories.map((object) => [object.metadata?.name, object]));
  const podsByNode = Map.groupBy(objects.pods, ({ spec }) => spec?.nodeName);
  const facts = objects.nodes.map((node): NodeFacts => {
    const name = node.metadata?.name ?? '';
    const inventory = inventories.get(name);
    const placed = volumes.store.byIndex('node', name).filter(({ metadata }) => metadata?.name !== except);
    const pods = (podsByNode.get(name) ?? []).map(podFacts);
    const csiNode = csiNodes.get(name);
    return {
      name,
      view: nodeView(node, inventory, placed),
      isCordoned: node.spec?.unschedulable === true,
      notReady: notReady(node),
      taints: (node.spec?.taints ?? []).map(({ key, value = '', effect }) => ({ key, value, effect })),
      isRegistered: reader.isHidden(CSI_NODES) ? undefined : driversOf(csiNode).includes(DRIVER_NAME),
      agent: agentFacts(name, inventory, objects.agentPods, reader.isHidden(NODE_INVENTORIES)),
      published: reader.isHidden(CSI_STORAGE_CAPACITIES) ? undefined : publishedOn(name, objects.capacities),
      allocatable: amounts(node.status?.allocatable),
      requested: reader.isHidden(PODS)
        ? undefined
        : pods.reduce<Amounts>((sum, { requests }) => addAmounts(sum, { ...requests, pods: 1_000n }), {}),
      usedPorts: pods.flatMap(({ hostPorts }) => hostPorts),
    };
  });
  return facts.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** A kubelet without drivers writes null, unlike the type. */
function driversOf(csiNode: CsiNode | undefined): readonly string[] {
  const drivers = csiNode?.spec.drivers as CsiNode['spec']['drivers'] | null | undefined;
  return (drivers ?? []).map(({ name }) => name);
}

function notReady({ status }: Node): string | undefined {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  if (ready?.status === 'True') return undefined;
  return ready?.message ?? 'kubelet has not reported a status';
}

/** Returns the state of an agent by its NodeInventory, which outlives it, and by its pod. */
function agentFacts(
  node: string,
  inventory: NodeInventory | undefined,
  agentPods: readonly Pod[],
  isHidden: boolean,
): AgentFacts {
  const version = inventory?.status?.agentVersion;
  if (isHidden) return { state: 'unknown', version, message: undefined };
  const ready = inventory?.status?.conditions?.find(({ type }) => type === 'Ready');
  if (ready === undefined) return { state: 'never-reported', version, message: undefined };
  const message = ready.status === 'True' ? podProblem(node, agentPods) : ready.message;
  return { state: message === undefined ? 'serves' : 'does-not-serve', version, message };
}

function podProblem(node: string, agentPods: readonly Pod[]): string | undefined {
  if (agentPods.length === 0) return undefined;
  const pods = agentPods.filter(({ spec }) => spec?.nodeName === node);
  const isReady = ({ status }: Pod): boolean =>
    status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') ?? false;
  if (pods.some(isReady)) return undefined;
  const [pod] = pods;
  return pod === undefined
    ? 'no agent pod on this node'
    : `agent pod ${pod.metadata?.name ?? ''} is not Ready`;
}

function publishedOn(node: string, capacities: readonly CsiStorageCapacity[]): ReadonlyMap<string, bigint> {
  const here = capacities.filter(({ nodeTopology }) => nodeTopology?.matchLabels?.[TOPOLOGY_KEY] === node);
  return new Map(
    here.map(({ storageClassName, maximumVolumeSize, capacity = '0' }) => [
      storageClassName,
      parseQuantity(maximumVolumeSize ?? capacity, 'CSIStorageCapacity'),
    ]),
  );
}

function amounts(quantities: Readonly<Record<string, string>> = {}): Amounts {
  return Object.fromEntries(Object.entries(quantities).map(([name, text]) => [name, parseAmount(text)]));
}
