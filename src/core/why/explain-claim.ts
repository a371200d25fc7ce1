import { describeClaim } from '../claims/provision.ts';
import { explainBound } from './bound-claim.ts';
import type { ClaimFacts } from './claim-facts.ts';
import { type Explanation, NOTHING_MORE } from './explanation.ts';
import { explainPending } from './pending-claim.ts';

/** Where the claim stands and why; the same decisions as the controller's, which `state` is the input of. */
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
      'look whether the data is still there: "kubectl keelson volumes" shows it as kept; a PersistentVolume with its handle adopts it',
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
      summary: `it is being deleted, and waits until no pod uses it any more: ${users}`,
      advice: [`delete ${pods.length === 1 ? `pod ${users}` : 'those pods'}, or scale down what owns them`],
    };
  }
  if (finalizers.includes(CLONING_PROTECTION)) {
    const made = clones.join(', ') || 'none that is known';
    return {
      ...NOTHING_MORE,
      subject,
      verdict: 'waits',
      reason: 'CloneInProgress',
      summary: `it is being deleted, and waits for claims that are being made from it: ${made}`,
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
        : `it is being deleted, and waits for whoever takes off the finalizer ${others}`,
    advice:
      others === PVC_PROTECTION
        ? ['kube-controller-manager takes it off when no pod uses the claim: it should pass in seconds']
        : [],
  };
}
