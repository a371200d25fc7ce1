import type { ConsideredNode, Lack, LackCode } from './explanation.ts';

/** Why no node can take a pod or volume, put into one reason. */
export interface Refusal {
  readonly reason: LackCode | 'NoNodes' | 'NoMatchingNode';
  readonly summary: string;
  readonly advice: readonly string[];
  /** The nodes that the reason is about. */
  readonly deciding: readonly string[];
}

/** Nodes that lack these were never meant for it: they do not decide the main reason when others are. */
const NOT_MEANT: ReadonlySet<LackCode> = new Set(['Taint', 'NodeSelector', 'Topology', 'VolumeOnOtherNode']);

/** Which of several reasons that all nodes share is the main one: what others may follow from comes first. */
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
  AgentNotReady: 'no agent serves',
  NotRegistered: 'no kubelet knows the driver keelson.dev',
  NodeNotReady: 'no node is Ready',
  Cordoned: 'every node is cordoned',
  VolumeOnOtherNode: 'no node has all the volumes that it uses',
  Topology: "no node is within the class's allowedTopologies",
  NodeSelector: 'no node has the labels that the pod wants',
  Taint: 'every node has a taint that the pod does not tolerate',
  NoPool: 'no node offers the pool',
  PoolIncompatible: 'no pool makes such volumes',
  PoolNotReady: 'no pool is ready',
  InsufficientCapacity: 'no node has enough room in its pool',
  Resources: 'no node has enough free cpu, memory or other resources',
  HostPort: 'its host port is taken on every node',
  NotPublished: 'the scheduler has not been told yet where there is room',
};

const ADVICE: Readonly<Record<LackCode, (nodes: string) => string>> = {
  NoAgent: (nodes) => `see that the DaemonSet of the agent has a pod on ${nodes}`,
  AgentNotReady: (nodes) =>
    `look at the agent's log on ${nodes}; "keelson doctor" there says what the machine lacks`,
  NotRegistered: (nodes) =>
    `look at the agent's log on ${nodes}; kubelet learns of the driver when the agent starts`,
  NodeNotReady: (nodes) => `look at kubelet on ${nodes}, or bring the machine back`,
  Cordoned: (nodes) => `when its maintenance is over: kubectl uncordon ${nodes.replaceAll(',', '')}`,
  VolumeOnOtherNode: () =>
    'local volumes do not move: let the pod go to the node of its volumes, or restore the data elsewhere from a snapshot or backup',
  Topology: (nodes) => `use a class without that restriction, or give ${nodes} the label`,
  NodeSelector: (nodes) => `change the pod's nodeSelector or affinity, or label ${nodes}`,
  Taint: (nodes) => `give the pod a toleration, or take the taint off ${nodes}`,
  NoPool: () =>
    'create a StoragePool that selects the node, or use a class whose parameter pool names one that is there ("kubectl keelson nodes")',
  PoolIncompatible: () =>
    'use a class whose parameters a pool fits ("kubectl get nodeinventory NODE -o yaml" says what pools can make), or create a StoragePool that can',
  PoolNotReady: (nodes) => `mend the pool on ${nodes}: its reason is above`,
  InsufficientCapacity: () =>
    'ask for less, delete volumes that nobody needs ("kubectl keelson volumes"), or enlarge the pool',
  Resources: (nodes) => `ask for less, or free resources on ${nodes}`,
  HostPort: () => 'take another host port, or none',
  NotPublished: () =>
    'wait a moment; if it stays so, look whether the controller runs ("kubectl keelson status")',
};

/** Names in a sentence; the others are counted. */
const NAMED = 3;

/** The main reason why none of `nodes` can take it; undefined when one can. */
export function summarizeRefusal(nodes: readonly ConsideredNode[]): Refusal | undefined {
  if (nodes.some(({ lacks }) => lacks.length === 0)) return undefined;
  if (nodes.length === 0)
    return { reason: 'NoNodes', summary: 'there are no nodes', advice: [], deciding: [] };
  const meant = nodes.filter(({ lacks }) => !lacks.some(({ code }) => NOT_MEANT.has(code)));
  const deciding = meant.length > 0 ? meant : nodes;
  const names = deciding.map(({ name }) => name);
  const shared = ORDER.find((code) =>
    deciding.every(({ lacks }) => lacks.some((lack) => lack.code === code)),
  );
  if (shared !== undefined) {
    const detail = deciding.length === 1 ? detailOf(deciding[0], shared) : undefined;
    const among = meant.length > 0 && meant.length < nodes.length;
    const text =
      detail ?? (among ? `of the nodes that it may go to, ${SUMMARIES[shared]}` : SUMMARIES[shared]);
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
  return found && `the only node that it may go to is ${node?.name ?? ''}, and ${found.text}`;
}

/** One advice for each kind of first reason, naming its nodes. */
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
