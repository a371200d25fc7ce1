import { findBlockingClaim } from './blocking-claim.ts';
import { type Explanation, NOTHING_MORE } from './explanation.ts';
import type { EventFacts } from './facts.ts';
import type { ContainerFacts, PodSituation } from './pod-situation.ts';

const IMAGE_REASONS = [
  'ErrImagePull',
  'ImagePullBackOff',
  'InvalidImageName',
  'ErrImageNeverPull',
  'ImageInspectError',
];
/** Events that are older than the newest of their kind by this are about an earlier problem. */
const RECENT_SECONDS = 600;

/** Explains what keeps a pod on a node from running and being ready. */
export function explainStart(facts: PodSituation, subject: string): Explanation {
  const { pod, nodes, containers, events } = facts;
  const nodeName = pod.nodeName ?? '';
  const node = nodes.find(({ name }) => name === nodeName);
  const notes = events
    .filter(({ isWarning, ageSeconds }) => isWarning && ageSeconds < RECENT_SECONDS)
    .slice(0, 3)
    .map(describeEvent);
  const stuck = (reason: string, summary: string, ...advice: string[]): Explanation => ({
    ...NOTHING_MORE,
    subject,
    verdict: 'stuck',
    reason,
    summary,
    notes: notes.filter((note) => !note.endsWith(summary)),
    advice,
  });
  if (node === undefined && nodes.length > 0) {
    return stuck(
      'NodeLost',
      `its node ${nodeName} no longer exists`,
      'the pod garbage collector removes it; its owner creates another one',
    );
  }
  if (node?.notReady !== undefined) {
    return stuck(
      'NodeNotReady',
      `its node ${nodeName} is not Ready: ${node.notReady}`,
      `check kubelet on ${nodeName}, or bring the machine back; a pod with local volumes cannot run elsewhere`,
    );
  }
  if (
    pod.phase === 'Pending' &&
    !containers.some(({ ended, waiting }) => ended !== undefined || isOwnFault(waiting?.reason))
  ) {
    const setUp = explainSetUp(facts, subject, stuck);
    if (setUp !== undefined) return setUp;
  }
  const failing = containers.find(({ waiting }) => isOwnFault(waiting?.reason));
  if (failing !== undefined) return explainContainer(facts, failing, stuck);
  if (pod.phase === 'Running') return explainRunning(facts, subject, stuck);
  return {
    ...NOTHING_MORE,
    subject,
    verdict: 'waits',
    reason: 'Starting',
    summary: `it is being started on ${nodeName}${pod.claimNames.length > 0 ? ', volumes first' : ''}`,
    notes,
  };
}

function explainRunning(facts: PodSituation, subject: string, stuck: Stuck): Explanation {
  const { pod, containers } = facts;
  const nodeName = pod.nodeName ?? '';
  const unready = containers.filter(({ isReady, isInit }) => !isReady && !isInit);
  if (unready.length > 0) {
    const names = unready.map(({ name }) => name).join(', ');
    const [first] = unready;
    const ended = first?.ended;
    return {
      ...stuck(
        'NotReady',
        ended === undefined
          ? `it runs on ${nodeName}, but container ${names} is not ready`
          : `it runs on ${nodeName}, but container ${names} ended: ${describeEnd(ended)}`,
        `kubectl logs ${pod.name} -n ${pod.namespace} -c ${first?.name ?? ''}${ended === undefined ? '' : ' --previous'}`,
      ),
      verdict: facts.ageSeconds < 15 ? 'waits' : 'stuck',
    };
  }
  const restarted = containers
    .filter(({ restarts, ended }) => restarts > 0 && ended !== undefined)
    .map(
      ({ name, restarts, ended }) =>
        `container ${name} was restarted ${restarts} times; last: ${describeEnd(ended)}`,
    );
  const gates = facts.isReady ? [] : ['not all of its readiness gates are met'];
  return {
    ...NOTHING_MORE,
    subject,
    verdict: 'well',
    reason: 'Running',
    summary: `it runs on ${nodeName}`,
    notes: [...restarted, ...gates],
  };
}

type Stuck = (reason: string, summary: string, ...advice: string[]) => Explanation;

/** Before the first container: volumes, network, sandbox. */
function explainSetUp(
  { pod, nodes, claims, events }: PodSituation,
  subject: string,
  stuck: Stuck,
): Explanation | undefined {
  const nodeName = pod.nodeName ?? '';
  const claim = findBlockingClaim(claims);
  if (claim !== undefined) {
    return { ...claim, subject, summary: `its ${claim.subject} is stuck: ${claim.summary}` };
  }
  const newest = events.find(
    ({ reason, isWarning, ageSeconds }) =>
      isWarning && ageSeconds < RECENT_SECONDS && SET_UP_REASONS.has(reason),
  );
  if (newest === undefined) return undefined;
  const node = nodes.find(({ name }) => name === nodeName);
  const agent =
    node?.agent.state === 'does-not-serve'
      ? `; the agent there is not serving: ${node.agent.message ?? ''}`
      : '';
  if (newest.reason === 'FailedCreatePodSandBox') {
    const isDenied = isPolicyDenial(newest.note);
    return stuck(
      isDenied ? 'PolicyDenied' : 'SandboxFailed',
      `${isDenied ? 'a runtime policy denies it' : `its sandbox or network cannot be created on ${nodeName}`}: ${newest.note}${agent}`,
      isDenied
        ? 'kubectl get runtimepolicies: change the pod, or the policy'
        : `check the agent's log on ${nodeName}; kubelet retries`,
    );
  }
  return stuck(
    'VolumeNotMounted',
    `a volume cannot be mounted on ${nodeName}: ${newest.note}${agent}`,
    node?.isRegistered === false
      ? `the driver is not registered with kubelet on ${nodeName}: check the agent there`
      : `check the agent's log on ${nodeName}; kubelet retries`,
  );
}

const SET_UP_REASONS: ReadonlySet<string> = new Set([
  'FailedCreatePodSandBox',
  'FailedMount',
  'FailedAttachVolume',
  'FailedMapVolume',
  'NetworkNotReady',
]);

function explainContainer(
  facts: PodSituation,
  { name, image, waiting, ended, restarts }: ContainerFacts,
  stuck: Stuck,
): Explanation {
  const { pod } = facts;
  const reason = waiting?.reason ?? '';
  const message = waiting?.message ?? '';
  if (IMAGE_REASONS.includes(reason)) {
    const refused = stuck(
      reason,
      `the image ${image} of container ${name} cannot be pulled: ${message || reason}`,
      'correct the name or tag, make the registry reachable, or add an imagePullSecret to the pod',
    );
    // kubelet's warnings repeat it in other words.
    return { ...refused, notes: [] };
  }
  if (reason === 'CrashLoopBackOff') {
    const how = ended === undefined ? '' : `; it ended: ${describeEnd(ended)}`;
    return stuck(
      reason,
      `container ${name} keeps exiting (${restarts} restarts)${how}`,
      `kubectl logs ${pod.name} -n ${pod.namespace} -c ${name} --previous`,
    );
  }
  const isDenied = isPolicyDenial(message);
  return stuck(
    isDenied ? 'PolicyDenied' : reason,
    `container ${name} cannot be ${reason.startsWith('Create') ? 'created' : 'started'}: ${message || reason}`,
    isDenied
      ? 'kubectl get runtimepolicies: change the pod, or the policy'
      : `kubectl describe pod ${pod.name} -n ${pod.namespace}`,
  );
}

/** A policy's denial (`policy-decide.ts`) arrives through kubelet as text only. */
function isPolicyDenial(text: string): boolean {
  return /RuntimePolicy \S+ denies /.test(text);
}

/** Waiting reasons of a container that are not part of an ordinary start. */
function isOwnFault(reason: string | undefined): boolean {
  return reason !== undefined && reason !== 'ContainerCreating' && reason !== 'PodInitializing';
}

function describeEvent({ reason, note, count }: EventFacts): string {
  return `${reason}${count > 1 ? ` (${count} times)` : ''}: ${note}`;
}

function describeEnd(ended: ContainerFacts['ended']): string {
  if (ended === undefined) return '';
  const { reason, exitCode, message } = ended;
  return `${reason}, exit code ${exitCode}${message === '' ? '' : `: ${message}`}`;
}
