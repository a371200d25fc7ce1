import type { ConsideredNode, Lack, LackCode } from './explanation.ts';

/** Why no node can take a pod or volume, condensed to one reason. */
export interface Refusal {
  readonly reason: LackCode | 'NoNodes' | 'NoMatchingNode';
  readonly summary: string;
  readonly advice: readonly string[];
  /** The nodes that the reason is about. */
  readonly deciding: readonly string[];
}

/**
 * Nodes that lack these are not candidates: they do not decide the main reason when other nodes do.
 */
const NOT_MEANT: ReadonlySet<LackCode> = new Set(['Taint', 'NodeSelector', 'Topology', 'VolumeOnOtherNode']);

/** Order of reasons that all nodes share: causes come before their consequences. */
const ORDER: readonly LackCode[] = [
  'NoAgent',
  'AgentNotReady',
  'NotRegistered',
  'NodeNotReady',
  'Cordoned',
  'VolumeOnOtherNode',
  'Topology',
  'NodeSelector',
  'Taint',
  'NoPool',
  'PoolIncompatible',
  'PoolNotReady',
  'InsufficientCapacity',
  'Resources',
  'HostPort',
  'NotPublished',
];

const SUMMARIES: Readonly<Record<LackCode, string>> = {
  NoAgent: 'no Keelson agent has reported from any node',
  AgentNotReady: 'no agent is serving',
  NotRegistered: 'the driver keelson.dev is not registered with any kubelet',
  NodeNotReady: 'no node is Ready',
  Cordoned: 'every node is cordoned',
  VolumeOnOtherNode: 'no node has all the volumes that it uses',
  Topology: "no node is in the class's allowedTopologies",
  NodeSelector: 'no node has the labels that the pod requires',
  Taint: 'every node has a taint that the pod does not tolerate',
  NoPool: 'no node has the pool',
  PoolIncompatible: 'no pool supports such volumes',
  PoolNotReady: 'no pool is ready',
  InsufficientCapacity: 'no node has enough free space in its pool',
  Resources: 'no node has enough free cpu, memory or other resources',
  HostPort: 'its host port is in use on every node',
  NotPublished: 'the capacity of nodes is not published to the scheduler yet',
};

const ADVICE: Readonly<Record<LackCode, (nodes: string) => string>> = {
  NoAgent: (nodes) => `check that the DaemonSet of the agent has a pod on ${nodes}`,
  AgentNotReady: (nodes) =>
    `check the agent's log on ${nodes}; "keelson doctor" there lists what the machine lacks`,
  NotRegistered: (nodes) =>
    `check the agent's log on ${nodes}; the agent registers the driver when it starts`,
  NodeNotReady: (nodes) => `check kubelet on ${nodes}, or bring the machine back`,
  Cordoned: (nodes) => `after the maintenance: kubectl uncordon ${nodes.replaceAll(',', '')}`,
  VolumeOnOtherNode: () =>
    'local volumes do not move: let the pod run on the node of its volumes, or restore the data elsewhere from a snapshot or backup',
  Topology: (nodes) => `use a class without that restriction, or give ${nodes} the label`,
  NodeSelector: (nodes) => `change the pod's nodeSelector or affinity, or label ${nodes}`,
  Taint: (nodes) => `add a toleration to the pod, or remove the taint from ${nodes}`,
  NoPool: () =>
    'create a StoragePool that selects the node, or use a class whose parameter pool is an existing one ("kubectl keelson nodes")',
  PoolIncompatible: () =>
    'use a class whose parameters match a pool ("kubectl get nodeinventory NODE -o yaml" lists the features of pools), or create a StoragePool that supports them',
  PoolNotReady: (nodes) => `repair the pool on ${nodes}: its reason is above`,
  InsufficientCapacity: () =>
    'request less, delete unused volumes ("kubectl keelson volumes"), or enlarge the pool',
  Resources: (nodes) => `request less, or free resources on ${nodes}`,
  HostPort: () => 'use another host port, or none',
  NotPublished: () =>
    'wait a moment; if it persists, check whether the controller runs ("kubectl keelson status")',
};

/** A sentence lists this many names and counts the others. */
const NAMED = 3;

/** Returns the main reason why none of `nodes` can take it; undefined when one can. */
export function summarizeRefusal(nodes: readonly ConsideredNode[]): Refusal | undefined {
  if (nodes.some(({ lacks }) => lacks.length === 0)) return undefined;
  if (nodes.length === 0)
    return { reason: 'NoNodes', summary: 'the cluster has no nodes', advice: [], deciding: [] };
  const meant = nodes.filter(({ lacks }) => !lacks.some(({ code }) => NOT_MEANT.has(code)));
  const deciding = meant.length > 0 ? meant : nodes;
  const names = deciding.map(({ name }) => name);
  const shared = ORDER.find((code) =>
    deciding.every(({ lacks }) => lacks.some((lack) => lack.code === code)),
  );
  if (shared !== undefined) {
    const detail = deciding.length === 1 ? detailOf(deciding[0], shared) : undefined;
    const among = meant.length > 0 && meant.length < nodes.length;
    const text = detail ?? (among ? `of the candidate nodes, ${SUMMARIES[shared]}` : SUMMARIES[shared]);
    return {
      reason: shared,
      summary: text,
      advice: [ADVICE[shared](join(names))],
      deciding: names,
    };
  }
  const firsts = deciding.map(({ name, lacks }) => `${name}: ${first(lacks).text}`);
  return {
    reason: 'NoMatchingNode',
    summary: `no node can take it: ${join(firsts, '; ')}`,
    advice: advise(deciding),
    deciding: names,
  };
}

function detailOf(node: ConsideredNode | undefined, code: LackCode): string | undefined {
  const found = node?.lacks.find((lack) => lack.code === code);
  return found && `the only candidate node is ${node?.name ?? ''}, and ${found.text}`;
}

/** One piece of advice for each first reason, with its nodes. */
function advise(nodes: readonly ConsideredNode[]): readonly string[] {
  const byCode = new Map<LackCode, string[]>();
  for (const { name, lacks } of nodes) {
    const { code } = first(lacks);
    byCode.set(code, [...(byCode.get(code) ?? []), name]);
  }
  return [...byCode].map(([code, names]) => ADVICE[code](join(names)));
}

function first(lacks: readonly Lack[]): Lack {
  const sorted = [...lacks].sort((a, b) => ORDER.indexOf(a.code) - ORDER.indexOf(b.code));
  return sorted[0] ?? { code: 'NotPublished', text: '' };
}

function join(parts: readonly string[], separator = ', '): string {
  const more = parts.length > NAMED ? ` and ${parts.length - NAMED} more` : '';
  return `${parts.slice(0, NAMED).join(separator)}${more}`;
}
