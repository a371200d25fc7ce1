import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import { type Cluster, createCluster } from '../../controller/context/cluster.ts';
import { classNameOf, PERSISTENT_VOLUME_ANNOTATION } from '../../controller/context/views.ts';
import { markVolume, type VolumeMark } from '../../core/volumes/cluster-volumes.ts';
import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import { parseQuantity } from '../../core/kube-text/quantity.ts';
import type { NodeFacts } from '../../core/why/facts.ts';
import {
  type Lease,
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  PODS,
  type Pod,
  STORAGE_CLASSES,
} from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import { createLogger } from '../../runtime/logger.ts';
import { ageOf } from './claim-facts.ts';
import type { ClusterReader } from './cluster-reader.ts';
import { readLease } from './leader.ts';
import { nodeFacts, type NodeObjects, readNodeObjects } from './node-facts.ts';

/** Everything that Keelson uses of a cluster. */
export interface Overview {
  readonly cluster: Cluster;
  readonly nodeObjects: NodeObjects;
  readonly nodes: readonly NodeFacts[];
  readonly volumes: readonly VolumeRow[];
  readonly pending: readonly PendingClaim[];
  /** Pods of Keelson's namespace. */
  readonly systemPods: readonly Pod[];
  readonly lease: Lease | undefined;
}

export interface VolumeRow {
  readonly name: string;
  readonly type: 'Volume' | 'Snapshot';
  readonly namespace: string | undefined;
  readonly claim: string | undefined;
  readonly node: string;
  readonly pool: string;
  readonly sizeBytes: bigint;
  readonly phase: string;
  readonly mark: VolumeMark | undefined;
  readonly message: string;
  readonly persistentVolume: string | undefined;
  readonly reclaimPolicy: string | undefined;
  readonly handle: string | undefined;
  /** Source volume or snapshot. */
  readonly source: string | undefined;
  readonly snapshots: number;
  readonly ageSeconds: number;
}

/** A pending claim of a StorageClass of Keelson. */
export interface PendingClaim {
  readonly namespace: string;
  readonly name: string;
  readonly className: string;
  readonly size: string;
  readonly ageSeconds: number;
}

interface OverviewDeps {
  readonly client: KubeClient;
  readonly reader: ClusterReader;
}

/** Reads all objects concurrently. */
export async function readOverview(
  { systemNamespace, nowMs }: { readonly systemNamespace: string; readonly nowMs: number },
  { client, reader }: OverviewDeps,
): Promise<Overview> {
  const cluster = createCluster({ client, logger: createLogger({ level: 'silent', name: 'cli' }) });
  const [claims, classes, volumes, owners, nodeObjects, systemPods, lease] = await Promise.all([
    reader.list(PERSISTENT_VOLUME_CLAIMS),
    reader.list(STORAGE_CLASSES),
    reader.list(LOCAL_VOLUMES),
    reader.list(PERSISTENT_VOLUMES),
    readNodeObjects(reader, { systemNamespace, withPods: false }),
    reader.list(PODS, { namespace: systemNamespace }),
    readLease(reader, systemNamespace),
  ]);
  for (const claim of claims) cluster.claims.remember(claim);
  for (const storageClass of classes) cluster.classes.remember(storageClass);
  for (const volume of volumes) cluster.volumes.remember(volume);
  for (const owner of owners) cluster.owners.remember(owner);
  return {
    cluster,
    nodeObjects,
    nodes: nodeFacts(nodeObjects, cluster, reader),
    volumes: volumeRows(cluster, nodeObjects, nowMs),
    pending: pendingClaims(cluster, nowMs),
    systemPods,
    lease,
  };
}

function volumeRows(cluster: Cluster, { nodes }: NodeObjects, nowMs: number): readonly VolumeRow[] {
  const nodeNames = new Set(nodes.map(({ metadata }) => metadata?.name ?? ''));
  const volumes = [...cluster.volumes.store.values()];
  const snapshots = Map.groupBy(
    volumes.filter(({ spec }) => spec.type === 'Snapshot'),
    ({ spec }) => spec.source?.volumeName ?? '',
  );
  return volumes
    .map((volume) =>
      volumeRow(volume, cluster, nodeNames, snapshots.get(volume.metadata?.name ?? '')?.length ?? 0, nowMs),
    )
    .sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
}

function volumeRow(
  { metadata, spec, status }: LocalVolume,
  { owners, claims }: Cluster,
  nodeNames: ReadonlySet<string>,
  snapshots: number,
  nowMs: number,
): VolumeRow {
  const handle = status?.volumeHandle;
  const owner = handle === undefined ? undefined : owners.store.byIndex('handle', handle)[0];
  const made = spec.claim && claims.store.get(`${spec.claim.namespace}/${spec.claim.name}`);
  const phase = status?.phase ?? 'Pending';
  const ageSeconds = ageOf(metadata?.deletionTimestamp ?? metadata?.creationTimestamp, nowMs);
  // An adopted volume belongs to the claim of its PersistentVolume, not to its original claim.
  const claimRef = owner?.spec?.claimRef ?? spec.claim;
  return {
    name: metadata?.name ?? '',
    type: spec.type,
    namespace: claimRef?.namespace,
    claim: claimRef?.name,
    node: spec.nodeName,
    pool: spec.poolName,
    sizeBytes: parseQuantity(status?.capacity ?? spec.size, 'LocalVolume size'),
    phase: metadata?.deletionTimestamp === undefined ? phase : 'Deleting',
    mark: markVolume({
      phase,
      isSnapshot: spec.type === 'Snapshot',
      isDeleting: metadata?.deletionTimestamp !== undefined,
      isPublished: metadata?.annotations?.[PERSISTENT_VOLUME_ANNOTATION] !== undefined,
      // Without permission to read nodes, none counts as deleted.
      nodeExists: nodeNames.size === 0 || nodeNames.has(spec.nodeName),
      ownerPhase: owner && (owner.status?.phase ?? 'Pending'),
      claimExists: made !== undefined && made.metadata?.uid === spec.claim?.uid,
      ageSeconds,
    }),
    message: status?.message ?? '',
    persistentVolume: owner?.metadata?.name,
    reclaimPolicy: owner?.spec?.persistentVolumeReclaimPolicy,
    handle,
    source: spec.source?.volumeName ?? spec.source?.snapshotName,
    snapshots,
    ageSeconds: ageOf(metadata?.creationTimestamp, nowMs),
  };
}

function sortKey({ namespace = '', claim = '', name }: VolumeRow): string {
  return [namespace, claim, name].join('\0');
}

function pendingClaims({ claims, classes }: Cluster, nowMs: number): readonly PendingClaim[] {
  return [...claims.store.values()]
    .filter(
      (claim) =>
        claim.status?.phase === 'Pending' &&
        classes.store.get(classNameOf(claim))?.provisioner === DRIVER_NAME,
    )
    .map((claim) => ({
      namespace: claim.metadata?.namespace ?? '',
      name: claim.metadata?.name ?? '',
      className: classNameOf(claim),
      size: claim.spec?.resources?.requests?.['storage'] ?? '?',
      ageSeconds: ageOf(claim.metadata?.creationTimestamp, nowMs),
    }))
    .sort((a, b) => b.ageSeconds - a.ageSeconds);
}
