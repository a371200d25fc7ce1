import { describeClaim } from '../claims/provision.ts';
import { explainBound } from './bound-claim.ts';
import type { ClaimFacts } from './claim-facts.ts';
import { type Explanation, NOTHING_MORE } from './explanation.ts';
import { explainPending } from './pending-claim.ts';

/**
 * Explains the state of a claim, by the same decisions as the controller's, whose input is `state`.
 */
export function explainClaim(facts: ClaimFacts): Explanation {
  const { state, phase } = facts;
  if (state.claim.isDeleting) return explainDeleting(facts);
  if (phase === 'Lost') return explainLost(facts);
  return phase === 'Bound' ? explainBound(facts) : explainPending(facts);
}

function explainLost({ state: { claim } }: ClaimFacts): Explanation {
  return {
    ...NOTHING_MORE,
    subject: describeClaim(claim),
    verdict: 'stuck',
    reason: 'Lost',
    summary: `its PersistentVolume ${claim.volumeName} was deleted while the claim was bound to it`,
    advice: [
      'check whether the data still exists: "kubectl keelson volumes" lists it as retained; a PersistentVolume with its handle adopts it',
      'delete the claim when it is not needed any more',
    ],
  };
}

const PVC_PROTECTION = 'kubernetes.io/pvc-protection';
const CLONING_PROTECTION = 'provisioner.storage.kubernetes.io/cloning-protection';
const SNAPSHOT_PROTECTION = 'snapshot.storage.kubernetes.io/pvc-as-source-protection';

function explainDeleting({ state: { claim }, finalizers, pods, clones }: ClaimFacts): Explanation {
  const subject = describeClaim(claim);
  const users = pods.map(({ name }) => name).join(', ');
  if (finalizers.includes(PVC_PROTECTION) && pods.length > 0) {
    return {
      ...NOTHING_MORE,
      subject,
      verdict: 'waits',
      reason: 'InUse',
      summary: `it is being deleted, and waits until no pod uses it: ${users}`,
      advice: [`delete ${pods.length === 1 ? `pod ${users}` : 'those pods'}, or scale down their owner`],
    };
  }
  if (finalizers.includes(CLONING_PROTECTION)) {
    const made = clones.join(', ') || 'unknown';
    return {
      ...NOTHING_MORE,
      subject,
      verdict: 'waits',
      reason: 'CloneInProgress',
      summary: `it is being deleted, and waits for claims that are being cloned from it: ${made}`,
      advice: clones.map((name) => `kubectl keelson why pvc/${name}`),
    };
  }
  if (finalizers.includes(SNAPSHOT_PROTECTION)) {
    return {
      ...NOTHING_MORE,
      subject,
      verdict: 'waits',
      reason: 'SnapshotInProgress',
      summary: 'it is being deleted, and waits for a snapshot that is being taken of it',
      advice: [`kubectl get volumesnapshots -n ${claim.namespace}`],
    };
  }
  const others = finalizers.join(', ');
  return {
    ...NOTHING_MORE,
    subject,
    verdict: 'waits',
    reason: 'Finalizer',
    summary:
      others === ''
        ? 'it is being deleted'
        : `it is being deleted, and waits until finalizer ${others} is removed by its owner`,
    advice:
      others === PVC_PROTECTION
        ? ['kube-controller-manager removes it when no pod uses the claim; this takes seconds']
        : [],
  };
}
