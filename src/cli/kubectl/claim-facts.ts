import { LOCAL_VOLUMES } from '../../api/local-volume.ts';
import { NODE_INVENTORIES } from '../../api/node-inventory.ts';
import { CloneSources } from '../../controller/claims/clone-sources.ts';
import { type Cluster, createCluster } from '../../controller/context/cluster.ts';
import {
  classNameOf,
  classView,
  claimView,
  hasAvailableVolume,
  nodeView,
  volumeView,
} from '../../controller/context/views.ts';
import { DRIVER_NAME, TOPOLOGY_KEY } from '../../core/volumes/driver.ts';
import { type NodeView, volumeNameOf } from '../../core/claims/provision.ts';
import { parseQuantity } from '../../core/kube-text/quantity.ts';
import type { Blind, ClaimFacts, OwnerFacts } from '../../core/why/claim-facts.ts';
import type { LeaderFacts, PinnedVolume, PodFacts } from '../../core/why/facts.ts';
import {
  LEASES,
  NODES,
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  type PersistentVolume,
  type PersistentVolumeClaim,
  PODS,
  type Pod,
  STORAGE_CLASSES,
} from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import { createLogger } from '../../runtime/logger.ts';
import type { ClusterReader } from './cluster-reader.ts';
import { eventsOf } from './event-facts.ts';
import { leaderFacts, readLease } from './leader.ts';
import { nodeFacts, type NodeObjects, readNodeObjects } from './node-facts.ts';
import { podFacts } from './pod-facts.ts';

/** Input of explanations: the objects of one namespace and of the cluster. */
export interface ClusterSnapshot {
  readonly reader: ClusterReader;
  /** The controller's stores, filled once. */
  readonly cluster: Cluster;
  readonly sources: CloneSources;
  readonly nodeObjects: NodeObjects;
  /** Pods of the namespace. */
  readonly pods: readonly Pod[];
  readonly leader: LeaderFacts | undefined;
  readonly nowMs: number;
}

interface ClusterSnapshotOptions {
  readonly namespace: string;
  /** Namespace of the controller. */
  readonly systemNamespace: string;
  readonly nowMs: number;
}

/** Reads all objects concurrently. */
export async function readClusterSnapshot(
  { namespace, systemNamespace, nowMs }: ClusterSnapshotOptions,
  { client, reader }: { readonly client: KubeClient; readonly reader: ClusterReader },
): Promise<ClusterSnapshot> {
  const cluster = createCluster({ client, logger: createLogger({ level: 'silent', name: 'cli' }) });
  const [claims, classes, volumes, owners, nodeObjects, pods, lease] = await Promise.all([
    reader.list(PERSISTENT_VOLUME_CLAIMS, { namespace }),
    reader.list(STORAGE_CLASSES),
    reader.list(LOCAL_VOLUMES),
    reader.list(PERSISTENT_VOLUMES),
    readNodeObjects(reader, { systemNamespace, withPods: true }),
    reader.list(PODS, { namespace }),
    readLease(reader, systemNamespace),
  ]);
  for (const claim of claims) cluster.claims.remember(claim);
  for (const storageClass of classes) cluster.classes.remember(storageClass);
  for (const volume of volumes) cluster.volumes.remember(volume);
  for (const owner of owners) cluster.owners.remember(owner);
  for (const node of nodeObjects.nodes) cluster.nodes.remember(node);
  for (const inventory of nodeObjects.inventories) cluster.inventories.remember(inventory);
  const sources = new CloneSources({ client, cluster });
  return { reader, cluster, sources, nodeObjects, pods, leader: leaderFacts(lease, nowMs), nowMs };
}

/** Returns the facts about one claim. */
export async function claimFacts(
  snapshot: ClusterSnapshot,
  claim: PersistentVolumeClaim,
): Promise<ClaimFacts> {
  const { reader, cluster, sources, nodeObjects, leader, nowMs } = snapshot;
  const view = claimView(claim);
  const name = volumeNameOf(view.uid);
  const owner = cluster.owners.store.get(view.volumeName === '' ? name : view.volumeName);
  const handle = owner?.spec?.csi?.driver === DRIVER_NAME ? owner.spec.csi.volumeHandle : undefined;
  const byHandle = handle === undefined ? undefined : cluster.volumes.store.byIndex('handle', handle)[0];
  const volume = byHandle ?? cluster.volumes.store.get(name);
  const storageClass = cluster.classes.store.get(classNameOf(claim));
  const ours = classView(storageClass);
  const except = volume?.metadata?.name;
  const users = usersOf(snapshot.pods, view.name);
  return {
    state: {
      claim: view,
      storageClass: ours,
      volume: volume === undefined ? undefined : volumeView(volume),
      isOwned: owner !== undefined,
      isOffered: hasAvailableVolume(cluster.owners.store, view),
      isOverdue: false,
      nodes: nodeViews(snapshot, except),
      source: ours && sources.find(view),
      // Known to the controller alone; the events show the result.
      avoid: new Map(),
    },
    phase: claim.status?.phase ?? 'Pending',
    ageSeconds: ageOf(claim.metadata?.creationTimestamp, nowMs),
    finalizers: claim.metadata?.finalizers ?? [],
    storageClass: storageClass && {
      provisioner: storageClass.provisioner,
      canExpand: storageClass.allowVolumeExpansion === true,
    },
    ourClasses: ourClasses(cluster),
    volume: volume && {
      name: volume.metadata?.name ?? '',
      ageSeconds: ageOf(volume.metadata?.creationTimestamp, nowMs),
      isSeen: volume.status?.phase !== undefined,
      isCopy: volume.spec.source !== undefined,
    },
    owner: owner && ownerFacts(owner, view.uid),
    grantedBytes: grantedBytes(claim),
    conditions: (claim.status?.conditions ?? []).map(
      ({ type, message, reason }) => `${type}: ${message ?? reason ?? ''}`,
    ),
    pods: users,
    pinned: users[0] === undefined ? [] : pinnedVolumes(snapshot, users[0]),
    nodes: nodeFacts(nodeObjects, cluster, reader, except),
    clones: cluster.claims.store
      .byIndex('source', `${view.namespace}/${view.name}`)
      .filter(({ spec }) => (spec?.volumeName ?? '') === '')
      .map(({ metadata }) => metadata?.name ?? ''),
    events: await eventsOf(reader, { kind: 'PersistentVolumeClaim', ...view }, nowMs),
    leader,
    blind: blindOf(reader),
  };
}

function usersOf(pods: readonly Pod[], claimName: string): readonly PodFacts[] {
  return pods
    .map(podFacts)
    .filter(({ phase }) => phase !== 'Succeeded' && phase !== 'Failed')
    .filter(({ claimNames }) => claimNames.includes(claimName))
    .sort(pendingFirst);
}

/** Returns the controller's view of each node, without the volume `except`. */
function nodeViews(
  { cluster, nodeObjects }: ClusterSnapshot,
  except: string | undefined,
): ReadonlyMap<string, NodeView> {
  return new Map(
    nodeObjects.nodes.map((node) => {
      const name = node.metadata?.name ?? '';
      const placed = cluster.volumes.store
        .byIndex('node', name)
        .filter(({ metadata }) => metadata?.name !== except);
      return [name, nodeView(node, cluster.inventories.store.get(name), placed)];
    }),
  );
}

function ourClasses({ classes }: ClusterSnapshot['cluster']): readonly string[] {
  return [...classes.store.values()]
    .filter(({ provisioner }) => provisioner === DRIVER_NAME)
    .map(({ metadata }) => metadata?.name ?? '')
    .sort();
}

/** Returns the nodes of the bound volumes of a pod. */
export function pinnedVolumes(
  { cluster }: ClusterSnapshot,
  { namespace, claimNames }: PodFacts,
): readonly PinnedVolume[] {
  return claimNames.flatMap((claimName) => {
    const claim = cluster.claims.store.get(`${namespace}/${claimName}`);
    const owner = cluster.owners.store.get(claim?.spec?.volumeName ?? '');
    const nodeNames = nodesOf(owner);
    return nodeNames === undefined ? [] : [{ claimName, nodeNames }];
  });
}

/** Returns the nodes of a PersistentVolume of Keelson; undefined for other drivers. */
function nodesOf(owner: PersistentVolume | undefined): readonly string[] | undefined {
  const terms = owner?.spec?.nodeAffinity?.required?.nodeSelectorTerms ?? [];
  const found = terms.flatMap(({ matchExpressions = [] }) =>
    matchExpressions.filter(({ key }) => key === TOPOLOGY_KEY),
  );
  return found.length === 0 ? undefined : found.flatMap(({ values = [] }) => values);
}

function ownerFacts(owner: PersistentVolume, claimUid: string): OwnerFacts {
  const { claimRef, csi } = owner.spec ?? {};
  return {
    name: owner.metadata?.name ?? '',
    phase: owner.status?.phase ?? 'Pending',
    isDeleting: owner.metadata?.deletionTimestamp !== undefined,
    isOurs: csi?.driver === DRIVER_NAME,
    claim: claimRef && `${claimRef.namespace ?? ''}/${claimRef.name ?? ''}`,
    isForThisClaim: claimRef?.uid === claimUid,
    nodeName: nodesOf(owner)?.[0],
  };
}

function grantedBytes({ status }: PersistentVolumeClaim): bigint | undefined {
  const granted = status?.capacity?.['storage'];
  return granted === undefined ? undefined : parseQuantity(granted, 'status.capacity.storage');
}

function blindOf(reader: ClusterReader): ReadonlySet<Blind> {
  const kinds = [
    ['nodes', NODES],
    ['classes', STORAGE_CLASSES],
    ['owners', PERSISTENT_VOLUMES],
    ['volumes', LOCAL_VOLUMES],
    ['volumes', NODE_INVENTORIES],
    ['leases', LEASES],
  ] as const;
  return new Set(kinds.flatMap(([name, resource]) => (reader.isHidden(resource) ? [name] : [])));
}

function pendingFirst(a: PodFacts, b: PodFacts): number {
  return Number(a.nodeName !== undefined) - Number(b.nodeName !== undefined) || (a.name < b.name ? -1 : 1);
}

/** Returns whole seconds since `time`; 0 if it is absent or in the future. */
export function ageOf(time: string | undefined, nowMs: number): number {
  const ms = nowMs - Date.parse(time ?? '');
  return Number.isFinite(ms) ? Math.max(0, Math.floor(ms / 1_000)) : 0;
}
