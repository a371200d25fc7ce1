import { checkClaim } from '../claims/claim-check.ts';
import { DRIVER_NAME } from '../volumes/driver.ts';
import { type Fault, isFault } from '../fault.ts';
import { parseClassParameters, poolRequestOf } from '../claims/provision-class.ts';
import type { NodeView } from '../claims/provision.ts';
import { choosePool, type PoolRequest } from '../claims/provision-placement.ts';
import { formatBytes } from '../kube-text/quantity.ts';
import { type Answer, PATIENCE_SECONDS } from './answer.ts';
import type { ClaimFacts } from './claim-facts.ts';
import type { ConsideredNode, Lack } from './explanation.ts';
import type { NodeFacts, PodFacts, VolumeNeed } from './facts.ts';
import { lacksForAny, lacksForPod, lacksForVolume } from './node-fit.ts';
import { summarizeRefusal } from './refusal.ts';

/** Explains a claim that a pod, the scheduler or kube-controller-manager has to act on first. */
export function explainBeforeUs(facts: ClaimFacts): Answer {
  const { state, pods, ageSeconds } = facts;
  const { claim, storageClass } = state;
  const unfit = checkFault(facts);
  if (unfit !== undefined) return explainWait(facts, unfit);
  if (claim.provisioner !== undefined && claim.provisioner !== DRIVER_NAME) {
    return {
      verdict: 'stuck',
      reason: 'OtherProvisioner',
      summary: `another provisioner is responsible for its volume: ${claim.provisioner}`,
      advice: ['its class was replaced after the claim was created: create the claim again'],
    };
  }
  if (storageClass?.waitsForConsumer !== true) {
    return {
      verdict: ageSeconds < PATIENCE_SECONDS ? 'waits' : 'stuck',
      reason: 'AwaitingProvisioning',
      summary:
        'an available PersistentVolume could serve it; kube-controller-manager has neither bound it nor requested a new one yet',
      advice: ['check whether kube-controller-manager runs'],
    };
  }
  const waiting = pods.filter(({ isDeleting }) => !isDeleting);
  const [pod] = waiting;
  if (pod === undefined) {
    return {
      verdict: 'waits',
      reason: 'WaitForFirstConsumer',
      summary: `no pod uses it yet: StorageClass ${claim.className} waits for the first pod, whose node gets the volume`,
      advice: [
        'start a pod that uses it; to get a volume at once, use a class with volumeBindingMode Immediate',
      ],
    };
  }
  return explainScheduling(facts, pod);
}

function explainScheduling(facts: ClaimFacts, pod: PodFacts): Answer {
  const who = `pod ${pod.name}`;
  if (pod.gates.length > 0) {
    return {
      verdict: 'waits',
      reason: 'SchedulingGated',
      summary: `the scheduling gates of ${who} hold it back: ${pod.gates.join(', ')}`,
      advice: ['the owner of a gate removes it'],
    };
  }
  // The scheduler binds a pod to a node only after its claims have volumes.
  if (pod.nodeName !== undefined) {
    return {
      verdict: 'stuck',
      reason: 'SchedulerBypassed',
      summary: `${who} sets spec.nodeName to ${pod.nodeName} and bypasses the scheduler, which therefore selects no node for the claim`,
      advice: [
        `omit spec.nodeName, and use nodeSelector kubernetes.io/hostname: ${pod.nodeName}`,
        'or use a class with volumeBindingMode Immediate',
      ],
    };
  }
  if (facts.blind.has('nodes')) {
    return pod.schedulerMessage === undefined
      ? { verdict: 'waits', reason: 'Scheduling', summary: `the scheduler places ${who}` }
      : {
          verdict: 'stuck',
          reason: 'Unschedulable',
          summary: `the scheduler does not place ${who}: ${pod.schedulerMessage}`,
        };
  }
  const need = needOf(facts);
  const nodes = facts.nodes.map((node) =>
    considered(node, [...lacksForPod(node, pod, facts.pinned), ...lacksForVolume(node, need)]),
  );
  const answer = refusalAnswer(facts, nodes, need);
  const said =
    pod.schedulerMessage === undefined
      ? []
      : [`message of the scheduler about ${who}: ${pod.schedulerMessage}`];
  if (answer.verdict === 'stuck') return { ...answer, notes: [...(answer.notes ?? []), ...said] };
  if (pod.schedulerMessage !== undefined) {
    const rules = pod.unweighed.length === 0 ? 'rules about other pods' : pod.unweighed.join(', ');
    return {
      verdict: 'stuck',
      reason: 'Unschedulable',
      summary: `the scheduler does not place ${who}: ${pod.schedulerMessage}`,
      nodes,
      notes: [`some node fits by what this command checks; it does not check ${rules}`],
      advice: [`kubectl keelson why pod/${pod.name} -n ${pod.namespace}`],
    };
  }
  return {
    verdict: 'waits',
    reason: 'Scheduling',
    summary: `the scheduler places ${who}, and thereby selects the node`,
    nodes,
  };
}

function refusalAnswer({ state }: ClaimFacts, nodes: readonly ConsideredNode[], need: VolumeNeed): Answer {
  const refusal = summarizeRefusal(nodes);
  if (refusal === undefined)
    return { verdict: 'waits', reason: 'InProgress', summary: 'a node can take it', nodes };
  const { deciding, ...answer } = refusal;
  return {
    verdict: 'stuck',
    ...answer,
    summary: storageSummary([...state.nodes.values()], deciding, need, answer),
    nodes,
  };
}

/** With figures and names where the reason is one of storage. */
function storageSummary(
  nodes: readonly NodeView[],
  deciding: readonly string[],
  { sizeBytes, poolRequest, className }: VolumeNeed,
  { reason, summary }: Pick<Answer, 'reason' | 'summary'>,
): string {
  if (reason === 'NoPool' && poolRequest.pool !== undefined) {
    return `no candidate node has pool ${poolRequest.pool} of StorageClass ${className}`;
  }
  if (reason === 'PoolIncompatible') {
    return `no candidate node has a pool for a volume ${describePoolRequest(poolRequest, className)}`;
  }
  if (reason !== 'InsufficientCapacity' || deciding.length === 1) return summary;
  const [most] = nodes
    .filter(({ name }) => deciding.includes(name))
    .flatMap((node) =>
      [choosePool(node, poolRequest) ?? []].flat().map((best) => ({ node: node.name, best })),
    )
    .sort((a, b) => (a.best.freeBytes < b.best.freeBytes ? 1 : -1));
  const figure =
    most && `; the largest is ${formatBytes(most.best.freeBytes)}, in pool ${most.best.name} on ${most.node}`;
  return `it requests ${formatBytes(sizeBytes)}, and no candidate node has enough free space${figure ?? ''}`;
}

function describePoolRequest(poolRequest: PoolRequest, className: string): string {
  const { pool, poolSelector, backend, fsType, volumeMode, encrypted } = poolRequest;
  const asked = [
    ...(pool === undefined ? [] : [`pool ${pool}`]),
    ...(poolSelector === undefined ? [] : [`a pool with ${poolSelector.text}`]),
    ...(backend === undefined ? [] : [`backend ${backend}`]),
    ...(fsType === undefined ? [] : [`file system ${fsType}`]),
    ...(encrypted === true ? ['encryption'] : []),
  ];
  const ofClass = asked.length === 0 ? '' : `, and StorageClass ${className} requires ${asked.join(' and ')}`;
  return `of volumeMode ${volumeMode ?? 'Filesystem'}${ofClass}`;
}

/** Something else has to change first; `fault` is the controller's reason. */
export function explainWait(facts: ClaimFacts, fault: Fault): Answer {
  const { state, blind, nodes } = facts;
  if (fault.kind === 'exhausted' && !blind.has('nodes') && state.storageClass?.waitsForConsumer === false) {
    const need = needOf(facts);
    return refusalAnswer(
      facts,
      nodes.map((node) => considered(node, [...lacksForAny(node), ...lacksForVolume(node, need)])),
      need,
    );
  }
  const isFinal = fault.kind === 'invalid' || fault.kind === 'unsupported';
  return {
    verdict: isFinal ? 'stuck' : 'waits',
    reason: fault.kind === 'invalid' ? 'Invalid' : isFinal ? 'Unsupported' : 'SourceNotReady',
    summary: fault.message,
    advice:
      fault.kind === 'invalid'
        ? ['claims and classes are immutable in this: delete it and create it again as the message says']
        : [],
  };
}

/** Returns what is wrong with the claim or its class. */
function checkFault({ state: { claim, storageClass } }: ClaimFacts): Fault | undefined {
  try {
    checkClaim(claim);
    if (storageClass !== undefined) poolRequestOf(parseClassParameters(storageClass), claim);
    return undefined;
  } catch (error) {
    if (isFault(error) && error.kind !== 'bug') return error;
    throw error;
  }
}

/** Throws where the claim or its class is invalid: `checkFault` comes first. */
function needOf({ state: { claim, storageClass } }: ClaimFacts): VolumeNeed {
  return {
    className: claim.className,
    sizeBytes: checkClaim(claim),
    poolRequest: storageClass === undefined ? {} : poolRequestOf(parseClassParameters(storageClass), claim),
    waitsForConsumer: storageClass?.waitsForConsumer ?? false,
    allowedTopologies: storageClass?.allowedTopologies ?? [],
  };
}

function considered({ name }: NodeFacts, lacks: readonly Lack[]): ConsideredNode {
  return { name, lacks };
}
