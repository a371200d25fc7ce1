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

/** All that `node` lacks for a volume that is still to be made; the pool's part is the provisioner's own judgement. */
export function lacksForVolume(node: NodeFacts, need: VolumeNeed): readonly Lack[] {
  const { agent, view } = node;
  if (agent.state === 'never-reported') {
    return [lack('NoAgent', 'no Keelson agent has reported from it (there is no NodeInventory)')];
  }
  const lacks: Lack[] = [];
  if (agent.state === 'does-not-serve') {
    lacks.push(lack('AgentNotReady', `its agent does not serve: ${agent.message ?? 'it gives no reason'}`));
  }
  if (node.isRegistered === false) {
    lacks.push(
      lack(
        'NotRegistered',
        'its kubelet does not know the driver (CSINode lacks keelson.dev): is the agent running?',
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
        `${describeFreeSpace(view, need.poolRequest, chosen)}, ${formatBytes(need.sizeBytes)} is wanted`,
      ),
    );
  } else if (need.waitsForConsumer && node.published !== undefined) {
    const told = node.published.get(need.className);
    if (told === undefined || told < need.sizeBytes) {
      const what = told === undefined ? 'of no room' : `of ${formatBytes(told)}`;
      lacks.push(
        lack('NotPublished', `the scheduler knows ${what} here (CSIStorageCapacity), though the pool has it`),
      );
    }
  }
  return lacks;
}

/** All that `node` lacks for the pod itself: what the scheduler filters by, rules about other pods left out. */
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
          `the volume of claim ${claimName} is on ${nodeNames.join(', ') || 'no node that is known'}`,
        ),
      ),
    ...selectorLacks(node, pod),
    ...resourceLacks(node, pod),
    ...pod.hostPorts
      .filter((port) => node.usedPorts.includes(port))
      .map((port) => lack('HostPort', `host port ${port} is taken`)),
  ];
}

/** What keeps new volumes and pods away from a node, whatever they are. */
export function lacksForAny(node: NodeFacts): readonly Lack[] {
  if (node.isCordoned) return [lack('Cordoned', 'it is cordoned')];
  return node.view.isUsable ? [] : [lack('NodeNotReady', 'it is being deleted')];
}

/** Whether a toleration covers a taint (core/v1 Toleration). */
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
  const isSilent = open.some(({ key }) => NOT_READY_TAINTS.includes(key));
  if (isSilent)
    lacks.push(lack('NodeNotReady', `it is not Ready: ${node.notReady ?? 'kubelet gives no reason'}`));
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
      `the pod's nodeSelector wants ${key}=${value}, it has ${describeLabel(labels, key)}`,
    ),
  );
  if (affinity !== undefined && !affinity.some((term) => term.every((each) => meets(labels, name, each)))) {
    const [term] = affinity;
    const first = term?.find((each) => !meets(labels, name, each));
    const wanted = first === undefined ? 'no node' : describeRequirement(first);
    lacks.push(
      lack(
        'NodeSelector',
        `the pod's node affinity wants ${wanted}, it has ${describeLabel(labels, first?.key ?? '')}`,
      ),
    );
  }
  return lacks;
}

/** `metadata.name` is the one field that terms may name. */
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
    return [lack('Resources', `the pod wants ${formatAmount(name, wanted)} ${name}, ${has}`)];
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
  return `the class's allowedTopologies want ${terms.join(' or ')}, it has ${has}`;
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
