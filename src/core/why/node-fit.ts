import { meetsRequirement } from '../kube-text/label-selector.ts';
import {
  choosePool,
  describeFreeSpace,
  explainNoPool,
  matchesTopology,
} from '../claims/provision-placement.ts';
import { formatBytes } from '../kube-text/quantity.ts';
import type { Lack, LackCode } from './explanation.ts';
import type {
  NodeFacts,
  PinnedVolume,
  PodFacts,
  SelectorRequirement,
  Taint,
  Toleration,
  VolumeNeed,
} from './facts.ts';

/** The startup taint of a node whose agent has not served yet. */
const STARTUP_TAINT = 'keelson.dev/agent-not-ready';
const CORDON_TAINT = 'node.kubernetes.io/unschedulable';
const NOT_READY_TAINTS = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'];
const POOL_LACKS = { none: 'NoPool', unfit: 'PoolIncompatible', closed: 'PoolNotReady' } as const;

/**
 * Returns what `node` lacks for a volume that is to be created; pools are judged by the
 * provisioner's own functions.
 */
export function lacksForVolume(node: NodeFacts, need: VolumeNeed): readonly Lack[] {
  const { agent, view } = node;
  if (agent.state === 'never-reported') {
    return [lack('NoAgent', 'no Keelson agent has reported from it (it has no NodeInventory)')];
  }
  const lacks: Lack[] = [];
  if (agent.state === 'does-not-serve') {
    lacks.push(lack('AgentNotReady', `its agent is not serving: ${agent.message ?? 'reason unknown'}`));
  }
  if (node.isRegistered === false) {
    lacks.push(
      lack(
        'NotRegistered',
        'the driver is not registered with its kubelet (CSINode lacks keelson.dev): check whether the agent runs',
      ),
    );
  }
  const outside = describeTopologies(node, need);
  if (outside !== undefined) lacks.push(lack('Topology', outside));
  if (agent.state === 'unknown') return lacks;
  const chosen = choosePool(view, need.poolRequest);
  if (chosen === undefined) {
    const { problem, text } = explainNoPool(view, need.poolRequest);
    lacks.push(lack(POOL_LACKS[problem], text));
  } else if (chosen.freeBytes < need.sizeBytes) {
    lacks.push(
      lack(
        'InsufficientCapacity',
        `${describeFreeSpace(view, need.poolRequest, chosen)}, ${formatBytes(need.sizeBytes)} is requested`,
      ),
    );
  } else if (need.waitsForConsumer && node.published !== undefined) {
    const publishedBytes = node.published.get(need.className);
    if (publishedBytes === undefined || publishedBytes < need.sizeBytes) {
      const what = publishedBytes === undefined ? 'none' : formatBytes(publishedBytes);
      lacks.push(
        lack(
          'NotPublished',
          `the published capacity (CSIStorageCapacity) is ${what}, though the pool has it`,
        ),
      );
    }
  }
  return lacks;
}

/**
 * Returns what `node` lacks for the pod itself: the scheduler's filters, without rules about other
 * pods.
 */
export function lacksForPod(
  node: NodeFacts,
  pod: PodFacts,
  pinned: readonly PinnedVolume[],
): readonly Lack[] {
  return [
    ...taintLacks(node, pod),
    ...pinned
      .filter(({ nodeNames }) => !nodeNames.includes(node.name))
      .map(({ claimName, nodeNames }) =>
        lack(
          'VolumeOnOtherNode',
          `the volume of claim ${claimName} is on ${nodeNames.join(', ') || 'an unknown node'}`,
        ),
      ),
    ...selectorLacks(node, pod),
    ...resourceLacks(node, pod),
    ...pod.hostPorts
      .filter((port) => node.usedPorts.includes(port))
      .map((port) => lack('HostPort', `host port ${port} is in use`)),
  ];
}

/** Returns what keeps all new volumes and pods away from a node. */
export function lacksForAny(node: NodeFacts): readonly Lack[] {
  if (node.isCordoned) return [lack('Cordoned', 'it is cordoned')];
  return node.view.isUsable ? [] : [lack('NodeNotReady', 'it is being deleted')];
}

/** Whether a toleration matches a taint (core/v1 Toleration). */
export function tolerates(
  { key, operator = 'Equal', value = '', effect }: Toleration,
  taint: Taint,
): boolean {
  if (effect !== undefined && effect !== '' && effect !== taint.effect) return false;
  if (key === undefined || key === '') return operator === 'Exists';
  if (key !== taint.key) return false;
  return operator === 'Exists' || value === taint.value;
}

function taintLacks(node: NodeFacts, { tolerations }: PodFacts): readonly Lack[] {
  const open = node.taints.filter(
    (taint) =>
      taint.effect !== 'PreferNoSchedule' && !tolerations.some((toleration) => tolerates(toleration, taint)),
  );
  const lacks: Lack[] = [];
  const cordonTolerated = tolerations.some((toleration) =>
    tolerates(toleration, { key: CORDON_TAINT, value: '', effect: 'NoSchedule' }),
  );
  if (node.isCordoned && !cordonTolerated) lacks.push(lack('Cordoned', 'it is cordoned'));
  const isUnresponsive = open.some(({ key }) => NOT_READY_TAINTS.includes(key));
  if (isUnresponsive)
    lacks.push(lack('NodeNotReady', `it is not Ready: ${node.notReady ?? 'reason unknown'}`));
  const others = open.filter(({ key }) => key !== CORDON_TAINT && !NOT_READY_TAINTS.includes(key));
  for (const { key, value, effect } of others) {
    lacks.push(
      key === STARTUP_TAINT
        ? lack('AgentNotReady', `its Keelson agent has not served yet (taint ${key})`)
        : lack(
            'Taint',
            `the pod does not tolerate its taint ${key}${value === '' ? '' : `=${value}`}:${effect}`,
          ),
    );
  }
  return lacks;
}

function selectorLacks(
  { name, view: { labels } }: NodeFacts,
  { nodeSelector, affinity }: PodFacts,
): readonly Lack[] {
  const missed = Object.entries(nodeSelector).filter(([key, value]) => labels[key] !== value);
  const lacks = missed.map(([key, value]) =>
    lack(
      'NodeSelector',
      `the pod's nodeSelector requires ${key}=${value}, the node has ${describeLabel(labels, key)}`,
    ),
  );
  if (affinity !== undefined && !affinity.some((term) => term.every((each) => meets(labels, name, each)))) {
    const [term] = affinity;
    const first = term?.find((each) => !meets(labels, name, each));
    const wanted = first === undefined ? 'no node' : describeRequirement(first);
    lacks.push(
      lack(
        'NodeSelector',
        `the pod's node affinity requires ${wanted}, the node has ${describeLabel(labels, first?.key ?? '')}`,
      ),
    );
  }
  return lacks;
}

/** `metadata.name` is the only field that terms may refer to. */
function meets(
  labels: Readonly<Record<string, string>>,
  name: string,
  { key, operator, values }: SelectorRequirement,
): boolean {
  const value = key === 'metadata.name' ? name : labels[key];
  return meetsRequirement(value, operator, values);
}

function resourceLacks({ allocatable, requested = {} }: NodeFacts, { requests }: PodFacts): readonly Lack[] {
  return Object.entries({ ...requests, pods: 1_000n }).flatMap(([name, wanted]) => {
    const free = (allocatable[name] ?? 0n) - (requested[name] ?? 0n);
    if (wanted === 0n || wanted <= free) return [];
    const has =
      allocatable[name] === undefined
        ? `it has no ${name}`
        : `${formatAmount(name, free)} of its ${formatAmount(name, allocatable[name])} are free`;
    return [lack('Resources', `the pod requests ${formatAmount(name, wanted)} ${name}, ${has}`)];
  });
}

function formatAmount(name: string, thousandths: bigint): string {
  if (name === 'memory' || name === 'ephemeral-storage' || name.startsWith('hugepages-')) {
    return thousandths < 0n ? '0 B' : formatBytes(thousandths / 1_000n);
  }
  return thousandths % 1_000n === 0n ? String(thousandths / 1_000n) : `${thousandths}m`;
}

function describeTopologies({ view }: NodeFacts, { allowedTopologies }: VolumeNeed): string | undefined {
  if (allowedTopologies.length === 0 || allowedTopologies.some((term) => matchesTopology(view, term)))
    return undefined;
  const terms = allowedTopologies.map((term) =>
    term.map(({ key, values }) => `${key} in (${values.join(', ')})`).join(' and '),
  );
  const keys = new Set(allowedTopologies.flat().map(({ key }) => key));
  const has = [...keys].map((key) => describeLabel(view.labels, key)).join(', ');
  return `the class's allowedTopologies require ${terms.join(' or ')}, the node has ${has}`;
}

function describeLabel(labels: Readonly<Record<string, string>>, key: string): string {
  const value = labels[key];
  return value === undefined ? `no label ${key}` : `${key}=${value}`;
}

function describeRequirement({ key, operator, values }: SelectorRequirement): string {
  switch (operator) {
    case 'In':
    case 'NotIn':
      return `${key} ${operator === 'In' ? 'in' : 'not in'} (${values.join(', ')})`;
    case 'Exists':
      return `a label ${key}`;
    case 'DoesNotExist':
      return `no label ${key}`;
    default:
      return `${key} ${operator === 'Gt' ? 'above' : 'below'} ${values[0] ?? ''}`;
  }
}

function lack(code: LackCode, text: string): Lack {
  return { code, text };
}
