import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import { VOLUME_SNAPSHOTS, type VolumeSnapshot } from '../../api/snapshot-kinds.ts';
import { type Cluster, createCluster } from '../../controller/context/cluster.ts';
import { RELEASE } from '../../controller/volumes/lost-node-volumes.ts';
import { Fault } from '../../core/fault.ts';
import { parseQuantity } from '../../core/kube-text/quantity.ts';
import type {
  LostNode,
  ReleaseCandidate,
  ReleaseOwner,
  ReleaseSubject,
} from '../../core/claims/volume-release.ts';
import {
  NODES,
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  type PersistentVolume,
  PODS,
  type Pod,
} from '../../kube/built-in.ts';
import { findObject, type KubeClient } from '../../kube/client.ts';
import { createLogger } from '../../runtime/logger.ts';
import type { ClusterReader } from './cluster-reader.ts';
import { podFacts } from './pod-facts.ts';

/** The volumes to release, and their node. */
export interface ReleaseFacts {
  readonly node: LostNode;
  readonly volumes: readonly ReleaseCandidate[];
}

interface ReleaseDeps {
  readonly client: KubeClient;
  readonly reader: ClusterReader;
}

/**
 * Reads the affected objects. Rejects with `denied` if any is hidden, `not-found` without volumes.
 */
export async function readReleaseFacts(
  subject: ReleaseSubject,
  { client, reader }: ReleaseDeps,
): Promise<ReleaseFacts> {
  const [all, claims, owners, pods] = await Promise.all([
    reader.list(LOCAL_VOLUMES),
    reader.list(PERSISTENT_VOLUME_CLAIMS),
    reader.list(PERSISTENT_VOLUMES),
    reader.list(PODS),
  ]);
  // The user confirms the complete list.
  for (const kind of [LOCAL_VOLUMES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS]) reader.demand(kind);
  const volumes = all.filter(({ metadata, spec }) =>
    subject.kind === 'node' ? spec.nodeName === subject.name : metadata?.name === subject.name,
  );
  const nodeName = volumes[0]?.spec.nodeName;
  if (nodeName === undefined) throw nothingToRelease(subject, all);
  const snapshots = volumes.some(({ spec }) => spec.type === 'Snapshot')
    ? await reader.list(VOLUME_SNAPSHOTS)
    : [];
  const cluster = createCluster({ client, logger: createLogger({ level: 'silent', name: 'cli' }) });
  for (const claim of claims) cluster.claims.remember(claim);
  for (const owner of owners) cluster.owners.remember(owner);
  return {
    node: await readLostNode(nodeName, client),
    volumes: volumes.map((volume) => candidate(volume, cluster, { pods, snapshots })),
  };
}

/** Reads the current state of the node, by the controller's rules. */
export async function readLostNode(name: string, client: Pick<KubeClient, 'get'>): Promise<LostNode> {
  const node = await findObject(client, NODES, { name });
  if (node === undefined) return { name, presence: 'deleted' };
  const ready = node.status?.conditions?.find(({ type }) => type === 'Ready')?.status;
  return { name, presence: ready === 'True' ? 'ready' : 'unresponsive' };
}

function candidate(
  { metadata, spec, status }: LocalVolume,
  cluster: Cluster,
  { pods, snapshots }: { readonly pods: readonly Pod[]; readonly snapshots: readonly VolumeSnapshot[] },
): ReleaseCandidate {
  const { name = '', uid = '', annotations } = metadata ?? {};
  const handle = status?.volumeHandle;
  const owners = handle === undefined ? [] : cluster.owners.store.byIndex('handle', handle);
  const snapshot =
    spec.type === 'Snapshot' ? snapshots.find((each) => each.metadata?.uid === spec.claim?.uid) : undefined;
  return {
    name,
    uid,
    type: spec.type,
    sizeBytes: parseQuantity(status?.capacity ?? spec.size, 'LocalVolume size'),
    owners: owners.map((owner) => releaseOwner(owner, cluster, pods)),
    snapshot: snapshot && {
      namespace: snapshot.metadata?.namespace ?? '',
      name: snapshot.metadata?.name ?? '',
    },
    isReleased: annotations?.[RELEASE] === uid,
  };
}

function releaseOwner(
  { metadata, spec }: PersistentVolume,
  { claims }: Cluster,
  pods: readonly Pod[],
): ReleaseOwner {
  const { namespace = '', name = '', uid } = spec?.claimRef ?? {};
  const exists = uid !== undefined && claims.store.get(`${namespace}/${name}`)?.metadata?.uid === uid;
  const users = pods
    .map(podFacts)
    .filter((pod) => pod.namespace === namespace && pod.claimNames.includes(name));
  return {
    persistentVolume: metadata?.name ?? '',
    reclaimPolicy: spec?.persistentVolumeReclaimPolicy ?? 'Retain',
    claim: exists ? { namespace, name } : undefined,
    pods: exists ? users.map((pod) => pod.name) : [],
  };
}

function nothingToRelease({ kind, name }: ReleaseSubject, all: readonly LocalVolume[]): Fault {
  const known =
    kind === 'node' ? all.map(({ spec }) => spec.nodeName) : all.map(({ metadata }) => metadata?.name ?? '');
  const names = [...new Set(known)].sort().slice(0, 10).join(', ');
  const what = kind === 'node' ? `node ${name} has no LocalVolumes` : `LocalVolume ${name} not found`;
  const others = kind === 'node' ? `nodes with volumes: ${names}` : `found ${names}`;
  return new Fault('not-found', names === '' ? `${what}; the cluster has none` : `${what}; ${others}`);
}
