import { NODE_INVENTORIES, type NodeInventory } from '../../api/node-inventory.ts';
import type { Cluster } from '../../controller/cluster.ts';
import { nodeView } from '../../controller/views.ts';
import { DRIVER_NAME, TOPOLOGY_KEY } from '../../core/driver.ts';
import { parseQuantity } from '../../core/quantity.ts';
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

/** What the API holds of nodes. */
export interface NodeObjects {
  readonly nodes: readonly Node[];
  readonly csiNodes: readonly CsiNode[];
  readonly inventories: readonly NodeInventory[];
  readonly capacities: readonly CsiStorageCapacity[];
  /** Pods that are on nodes and not over. */
  readonly pods: readonly Pod[];
}

/** Pods that hold resources: those that are over hold none. */
const ON_NODES = 'spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed';

/** All reads at once. */
export async function readNodeObjects(reader: ClusterReader): Promise<NodeObjects> {
  const [nodes, csiNodes, inventories, capacities, pods] = await Promise.all([
    reader.list(NODES),
    reader.list(CSI_NODES),
    reader.list(NODE_INVENTORIES),
    reader.list(CSI_STORAGE_CAPACITIES, { labelSelector: `csi.storage.k8s.io/drivername=${DRIVER_NAME}` }),
    reader.list(PODS, { fieldSelector: ON_NODES }),
  ]);
  return { nodes, csiNodes, inventories, capacities, pods };
}

/** Each node, by name; `except` is the volume that is not to be counted against its node. */
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
      isRegistered: reader.isHidden(CSI_NODES)
        ? undefined
        : (csiNode?.spec.drivers.some((driver) => driver.name === DRIVER_NAME) ?? false),
      agent: agentFacts(inventory, reader.isHidden(NODE_INVENTORIES)),
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

function notReady({ status }: Node): string | undefined {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  if (ready?.status === 'True') return undefined;
  return ready?.message ?? 'its kubelet has said nothing yet';
}

/** What the inventory says of its agent. */
export function agentFacts(inventory: NodeInventory | undefined, isHidden: boolean): AgentFacts {
  const version = inventory?.status?.agentVersion;
  if (isHidden) return { state: 'unknown', version, message: undefined };
  const ready = inventory?.status?.conditions?.find(({ type }) => type === 'Ready');
  if (ready === undefined) return { state: 'never-reported', version, message: undefined };
  return ready.status === 'True'
    ? { state: 'serves', version, message: undefined }
    : { state: 'does-not-serve', version, message: ready.message };
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
