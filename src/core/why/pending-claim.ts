import { DRIVER_NAME } from '../volumes/driver.ts';
import { describeClaim } from '../claims/provision.ts';
import { type ProvisionPlan, planProvision } from '../claims/provision-plan.ts';
import { type Answer, PATIENCE_SECONDS } from './answer.ts';
import type { ClaimFacts } from './claim-facts.ts';
import { type Explanation, NOTHING_MORE } from './explanation.ts';
import { explainAgent } from './unmade-volume.ts';
import { explainBeforeUs, explainWait } from './unplaced-claim.ts';

/** Explains a claim without a volume. */
export function explainPending(facts: ClaimFacts): Explanation {
  const answer =
    explainBlind(facts) ??
    explainClass(facts) ??
    explainOwner(facts) ??
    explainPlan(facts, planProvision(facts.state));
  const said = facts.events.find(({ isWarning }) => isWarning);
  const known = [answer.summary, ...(answer.notes ?? [])];
  // The table of nodes has the same information, and a newer one.
  const isNews =
    said !== undefined && answer.nodes === undefined && !known.some((text) => text.includes(said.note));
  const notes = [
    ...(answer.notes ?? []),
    ...(isNews ? [`last warning, by ${said.reporter}: ${said.note}`] : []),
  ];
  return { ...NOTHING_MORE, subject: describeClaim(facts.state.claim), ...answer, notes };
}

/** Without its class the reason cannot be derived: events of others are all there is. */
function explainBlind({ blind, events, pods, state: { claim } }: ClaimFacts): Answer | undefined {
  if (!blind.has('classes')) return undefined;
  const [said] = [...events.filter(({ isWarning }) => isWarning), ...events];
  if (said !== undefined) {
    return {
      verdict: said.isWarning ? 'stuck' : 'waits',
      reason: 'ReportedByController',
      summary: `message of ${said.reporter}: ${said.note}`,
    };
  }
  const none = pods.length === 0 && !blind.has('pods') ? '; no pod uses it yet' : '';
  return {
    verdict: 'waits',
    reason: 'NotVisible',
    summary: `it is not bound, and you have no permission to read its StorageClass ${claim.className}${none}`,
  };
}

function explainClass({ state: { claim }, storageClass, ourClasses }: ClaimFacts): Answer | undefined {
  const ours = ourClasses.length === 0 ? 'Keelson has none yet' : `Keelson's are ${ourClasses.join(', ')}`;
  if (claim.className === '') {
    return {
      verdict: 'stuck',
      reason: 'StorageClassNotSet',
      summary: `it has no StorageClass, and none is the default: only a PersistentVolume created by hand can serve it`,
      notes: [`classes: ${ours}`],
      advice: ['delete it and create it again with spec.storageClassName, which is immutable'],
    };
  }
  if (storageClass === undefined) {
    return {
      verdict: 'stuck',
      reason: 'StorageClassNotFound',
      summary: `StorageClass ${claim.className} does not exist`,
      notes: [`classes: ${ours}`],
      advice: [
        `create StorageClass ${claim.className}, or delete the claim and create it again with a class that exists`,
      ],
    };
  }
  if (storageClass.provisioner === DRIVER_NAME) return undefined;
  return {
    verdict: 'stuck',
    reason: 'OtherProvisionerClass',
    summary: `StorageClass ${claim.className} belongs to ${storageClass.provisioner}, not to Keelson`,
    notes: [`classes: ${ours}`],
    advice: [
      `check whether ${storageClass.provisioner} runs, or create the claim again with a class of Keelson`,
    ],
  };
}

/** It refers to a PersistentVolume, or one was created for it, and they are not bound yet. */
function explainOwner({ state: { claim }, owner, blind }: ClaimFacts): Answer | undefined {
  if (claim.volumeName !== '' && owner === undefined && blind.has('owners')) {
    return {
      verdict: 'waits',
      reason: 'Binding',
      summary: `it is being bound to PersistentVolume ${claim.volumeName}, which you have no permission to read`,
    };
  }
  if (claim.volumeName !== '' && owner === undefined) {
    return {
      verdict: 'stuck',
      reason: 'PersistentVolumeNotFound',
      summary: `it refers to PersistentVolume ${claim.volumeName}, which does not exist`,
      advice: ['create that PersistentVolume, or create the claim again without spec.volumeName'],
    };
  }
  if (owner === undefined) return undefined;
  if (!owner.isForThisClaim && owner.claim !== undefined) {
    return {
      verdict: 'stuck',
      reason: 'PersistentVolumeTaken',
      summary: `PersistentVolume ${owner.name} belongs to claim ${owner.claim} (${owner.phase}), not to this one`,
      advice: [
        owner.phase === 'Released'
          ? `to give its data to this claim: kubectl patch pv ${owner.name} --type json -p '[{"op":"remove","path":"/spec/claimRef"}]'`
          : 'refer to another PersistentVolume',
      ],
    };
  }
  return {
    verdict: 'waits',
    reason: 'Binding',
    summary: `its PersistentVolume ${owner.name} exists (${owner.phase}); kube-controller-manager binds the two`,
    advice: [
      `if it does not: kubectl describe pv ${owner.name}; size, access modes, mode and class must match the claim's`,
    ],
  };
}

function explainPlan(facts: ClaimFacts, plan: ProvisionPlan): Answer {
  const { state } = facts;
  switch (plan.do) {
    case 'nothing':
      return state.volume === undefined ? explainBeforeUs(facts) : explainAgent(facts);
    case 'wait':
      return state.volume === undefined
        ? explainWait(facts, plan.fault)
        : { ...explainAgent(facts), notes: [plan.fault.message] };
    case 'create':
      return explainDue(
        facts,
        `the controller creates its volume on node ${plan.volume.nodeName}`,
        facts.ageSeconds,
      );
    case 'publish':
      return explainDue(
        facts,
        'its volume is ready, and the controller creates its PersistentVolume',
        facts.volume?.ageSeconds ?? 0,
      );
    case 'reschedule':
      return {
        ...explainDue(facts, 'the controller asks the scheduler for another node', facts.ageSeconds),
        notes: [plan.fault.message],
      };
    case 'discard':
    case 'abandon': {
      const fault = 'fault' in plan ? plan.fault : undefined;
      const due = explainDue(
        facts,
        'the volume created for it cannot be used; the controller re-creates it',
        facts.volume?.ageSeconds ?? 0,
      );
      return fault === undefined ? due : { ...due, notes: [fault.message, ...(due.notes ?? [])] };
    }
  }
}

/** What a running controller does at once. */
function explainDue({ leader, blind }: ClaimFacts, what: string, dueSeconds: number): Answer {
  if (dueSeconds < PATIENCE_SECONDS) return { verdict: 'waits', reason: 'InProgress', summary: what };
  const known =
    leader === undefined
      ? blind.has('leases')
        ? 'you have no permission to read its lease'
        : 'its lease has no holder'
      : `the holder of its lease is ${leader.holder || 'empty'}, renewed ${leader.silentSeconds} s ago`;
  return {
    verdict: 'stuck',
    reason: 'ControllerUnresponsive',
    summary: `the controller has not acted for ${dueSeconds} s: check whether it runs (${known})`,
    notes: [`next: ${what}`],
    advice: ['check the pods of the controller in keelson-system, and their log'],
  };
}
