import { findBlockingClaim } from './blocking-claim.ts';
import { type Explanation, NOTHING_MORE } from './explanation.ts';
import type { EventFacts } from './facts.ts';
import { lacksForPod } from './node-fit.ts';
import type { PodSituation } from './pod-situation.ts';
import { summarizeRefusal } from './refusal.ts';
import { explainStart } from './start-pod.ts';

/** Explains why a pod does not run: the main reason first. */
export function explainPod(facts: PodSituation): Explanation {
  const { pod } = facts;
  const subject = `pod ${pod.namespace}/${pod.name}`;
  if (pod.isDeleting) return explainEnd(facts, subject);
  if (pod.phase === 'Succeeded') {
    return {
      ...NOTHING_MORE,
      subject,
      verdict: 'well',
      reason: 'Succeeded',
      summary: 'it has completed',
    };
  }
  if (pod.phase === 'Failed') {
    return {
      ...NOTHING_MORE,
      subject,
      verdict: 'stuck',
      reason: 'Failed',
      summary: `it failed: ${facts.failure ?? 'reason unknown'}`,
      notes: warnings(facts.events),
      advice: ['delete it; its owner creates another one'],
    };
  }
  return pod.nodeName === undefined ? explainPlacing(facts, subject) : explainStart(facts, subject);
}

/** Not on a node yet: claims first, since what they lack is often the whole reason. */
function explainPlacing(facts: PodSituation, subject: string): Explanation {
  const { pod, claims, missingClaims, nodes, pinned } = facts;
  const said =
    pod.schedulerMessage === undefined ? [] : [`message of the scheduler: ${pod.schedulerMessage}`];
  if (missingClaims.length > 0) {
    return {
      ...NOTHING_MORE,
      subject,
      verdict: 'stuck',
      reason: 'ClaimNotFound',
      summary: `it uses claim ${missingClaims.join(', ')}, which does not exist`,
      notes: said,
      advice: [`create the claim in namespace ${pod.namespace}, or correct the name in the pod's volumes`],
    };
  }
  if (pod.gates.length > 0) {
    const summary = `its scheduling gates hold it back: ${pod.gates.join(', ')}`;
    const advice = ['the owner of a gate removes it'];
    return { ...NOTHING_MORE, subject, verdict: 'waits', reason: 'SchedulingGated', summary, advice };
  }
  const considered = nodes.map((node) => ({ name: node.name, lacks: lacksForPod(node, pod, pinned) }));
  const refusal = summarizeRefusal(considered);
  const claim = findBlockingClaim(claims);
  if (refusal === undefined && claim !== undefined) {
    return {
      ...claim,
      subject,
      summary: `its ${claim.subject} is stuck: ${claim.summary}`,
      notes: [...claim.notes.filter((note) => !note.includes(pod.schedulerMessage ?? note)), ...said],
    };
  }
  if (refusal !== undefined) {
    const { reason, summary, advice } = refusal;
    return { subject, verdict: 'stuck', reason, summary, advice, nodes: considered, notes: said };
  }
  if (pod.schedulerMessage === undefined) {
    return {
      ...NOTHING_MORE,
      subject,
      verdict: facts.ageSeconds < 15 ? 'waits' : 'stuck',
      reason: 'Scheduling',
      summary: 'the scheduler has not tried to place it yet',
      advice: facts.ageSeconds < 15 ? [] : ['check whether kube-scheduler runs'],
    };
  }
  const rules = pod.unweighed.length === 0 ? 'rules about other pods' : pod.unweighed.join(', ');
  return {
    subject,
    verdict: 'stuck',
    reason: 'Unschedulable',
    summary: `the scheduler does not place it: ${pod.schedulerMessage}`,
    nodes: considered,
    notes: [`some node fits by what this command checks; it does not check ${rules}`],
    advice: [],
  };
}

function explainEnd(
  { pod, nodes, finalizers, events, graceSeconds }: PodSituation,
  subject: string,
): Explanation {
  const node = nodes.find(({ name }) => name === pod.nodeName);
  const base = { ...NOTHING_MORE, subject, notes: warnings(events) };
  if (pod.nodeName !== undefined && nodes.length > 0 && node === undefined) {
    return {
      ...base,
      verdict: 'waits',
      reason: 'NodeLost',
      summary: `it is being deleted, and its node ${pod.nodeName} no longer exists`,
      advice: ['the pod garbage collector removes it within a minute'],
    };
  }
  if (node?.notReady !== undefined) {
    return {
      ...base,
      verdict: 'stuck',
      reason: 'NodeNotReady',
      summary: `it is being deleted, but kubelet on node ${node.name} does not respond: ${node.notReady}`,
      advice: [
        `bring ${node.name} back; only if the machine is certainly off: kubectl delete pod ${pod.name} -n ${pod.namespace} --force`,
      ],
    };
  }
  if (finalizers.length > 0) {
    return {
      ...base,
      verdict: 'waits',
      reason: 'Finalizer',
      summary: `it is being deleted, and waits until finalizer ${finalizers.join(', ')} is removed by its owner`,
    };
  }
  const grace = graceSeconds === undefined ? '' : ` (grace period ${graceSeconds} s)`;
  return {
    ...base,
    verdict: 'waits',
    reason: 'Terminating',
    summary: `it is being deleted: kubelet on ${pod.nodeName ?? 'its node'} terminates its containers${grace}`,
  };
}

/** Returns the notes of distinct warnings, newest first. */
function warnings(events: readonly EventFacts[]): readonly string[] {
  const notes = events
    .filter(({ isWarning }) => isWarning)
    .map(({ reason, note, count }) => `${reason}${count > 1 ? ` (${count} times)` : ''}: ${note}`);
  return [...new Set(notes)].slice(0, 3);
}
