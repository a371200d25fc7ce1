import { Fault } from '../../core/fault.ts';
import type { Explanation } from '../../core/why/explanation.ts';
import { explainClaim } from '../../core/why/explain-claim.ts';
import { explainPod } from '../../core/why/explain-pod.ts';
import type { PodSituation } from '../../core/why/pod-situation.ts';
import { PERSISTENT_VOLUME_CLAIMS, type PersistentVolumeClaim, type Pod, PODS } from '../../kube/built-in.ts';
import { ageOf, claimFacts, type ClusterSnapshot, pinnedVolumes } from './claim-facts.ts';
import { eventsOf } from './event-facts.ts';
import { nodeFacts } from './node-facts.ts';
import { containerFacts, podFacts } from './pod-facts.ts';
import type { Subject, SubjectKind } from './subject.ts';

/** Kinds that `why` explains. */
export const WHY_KINDS: readonly SubjectKind<'claim' | 'pod'>[] = [
  {
    kind: 'claim',
    names: ['pvc', 'claim', 'persistentvolumeclaim', 'persistentvolumeclaims'],
    resource: PERSISTENT_VOLUME_CLAIMS,
  },
  { kind: 'pod', names: ['pod', 'po', 'pods'], resource: PODS },
];

/** Explains a claim or a pod. Rejects with `not-found` that lists the existing ones. */
export async function explain(
  snapshot: ClusterSnapshot,
  namespace: string,
  { kind, name }: Subject<'claim' | 'pod'>,
): Promise<Explanation> {
  if (kind === 'claim') {
    snapshot.reader.demand(PERSISTENT_VOLUME_CLAIMS);
    const claims = snapshot.cluster.claims.store;
    const claim = claims.get(`${namespace}/${name}`);
    if (claim === undefined) throw missing('claim', namespace, name, [...claims.values()]);
    return explainClaim(await claimFacts(snapshot, claim));
  }
  // Many users may read the pods of one namespace only; that suffices.
  if (snapshot.pods.length === 0) snapshot.reader.demand(PODS);
  const pod = snapshot.pods.find(({ metadata }) => metadata?.name === name);
  if (pod === undefined) throw missing('pod', namespace, name, snapshot.pods);
  return explainPod(await podSituation(snapshot, pod));
}

async function podSituation(snapshot: ClusterSnapshot, pod: Pod): Promise<PodSituation> {
  const { cluster, nodeObjects, reader, nowMs } = snapshot;
  const { namespace = '', name = '', uid = '' } = pod.metadata ?? {};
  const facts = podFacts(pod);
  const found = facts.claimNames.map((claimName) => cluster.claims.store.get(`${namespace}/${claimName}`));
  const claims = found.filter((claim): claim is PersistentVolumeClaim => claim !== undefined);
  const [events, explanations] = await Promise.all([
    eventsOf(reader, { kind: 'Pod', namespace, name, uid }, nowMs),
    Promise.all(
      claims.map(async (claim) => ({
        isBound: claim.status?.phase === 'Bound',
        explanation: explainClaim(await claimFacts(snapshot, claim)),
      })),
    ),
  ]);
  const { reason, message, conditions = [] } = pod.status ?? {};
  return {
    pod: facts,
    ageSeconds: ageOf(pod.metadata?.creationTimestamp, nowMs),
    failure: [reason, message].filter((text) => text !== undefined && text !== '').join(': ') || undefined,
    isReady: conditions.some(({ type, status }) => type === 'Ready' && status === 'True'),
    finalizers: pod.metadata?.finalizers ?? [],
    graceSeconds: pod.metadata?.deletionGracePeriodSeconds,
    containers: containerFacts(pod),
    nodes: nodeFacts(nodeObjects, cluster, reader),
    pinned: pinnedVolumes(snapshot, facts),
    missingClaims: facts.claimNames.filter((_, index) => found[index] === undefined),
    claims: explanations,
    events,
  };
}

function missing(
  what: string,
  namespace: string,
  name: string,
  others: readonly (Pod | PersistentVolumeClaim)[],
): Fault {
  const names = others.map(({ metadata }) => metadata?.name ?? '').sort();
  const known =
    names.length === 0 ? `namespace ${namespace} has none` : `found ${names.slice(0, 10).join(', ')}`;
  return new Fault(
    'not-found',
    `${what} ${namespace}/${name} not found; ${known} (-n selects another namespace)`,
  );
}
