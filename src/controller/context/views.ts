import type { LocalVolume } from '../../api/local-volume.ts';
import type { NodeInventory } from '../../api/node-inventory.ts';
import { isSnapshotSource } from '../../core/claims/claim-check.ts';
import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import {
  type ClaimView,
  type ClassView,
  type DataSource,
  type NodeView,
  type PoolView,
  type VolumeView,
} from '../../core/claims/provision.ts';
import { parseQuantity } from '../../core/kube-text/quantity.ts';
import type { Node, PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../kube/built-in.ts';
import type { ReadonlyStore } from '../../kube/object-store.ts';

export const SELECTED_NODE = 'volume.kubernetes.io/selected-node';
const PROVISIONER = 'volume.kubernetes.io/storage-provisioner';
const BETA_PROVISIONER = 'volume.beta.kubernetes.io/storage-provisioner';
const BETA_CLASS = 'volume.beta.kubernetes.io/storage-class';
const UNRESPONSIVE_TAINTS: ReadonlySet<string> = new Set([
  'node.kubernetes.io/not-ready',
  'node.kubernetes.io/unreachable',
]);
/**
 * On a LocalVolume: its PersistentVolume. Never removed, so that a race cannot take the volume for
 * one without an owner.
 */
export const PERSISTENT_VOLUME_ANNOTATION = 'keelson.dev/persistent-volume';

/** Returns the class of a claim; the older annotation takes precedence over the field. */
export function classNameOf({ metadata, spec }: PersistentVolumeClaim): string {
  return metadata?.annotations?.[BETA_CLASS] ?? spec?.storageClassName ?? '';
}

/** `namespace/name` of the claim to clone. */
export function sourceKeyOf(claim: PersistentVolumeClaim): string | undefined {
  const source = dataSourceOf(claim);
  if (source?.apiGroup !== '' || source.kind !== 'PersistentVolumeClaim') return undefined;
  return `${claim.metadata?.namespace ?? ''}/${source.name}`;
}

/** `namespace/name` of the VolumeSnapshot to restore. */
export function snapshotKeyOf(claim: PersistentVolumeClaim): string | undefined {
  const dataSource = dataSourceOf(claim);
  if (dataSource === undefined || !isSnapshotSource({ dataSource })) return undefined;
  return `${claim.metadata?.namespace ?? ''}/${dataSource.name}`;
}

function dataSourceOf({ spec, metadata }: PersistentVolumeClaim): DataSource | undefined {
  const source = spec?.dataSourceRef ?? spec?.dataSource;
  if (source === undefined) return undefined;
  const namespace = spec?.dataSourceRef?.namespace;
  const foreign = namespace !== undefined && namespace !== metadata?.namespace;
  const { kind, name } = source;
  // The core group is null here.
  const apiGroup = (source.apiGroup as string | null | undefined) ?? '';
  // A claim of another namespace must not be copied: it counts as an unknown kind.
  return { apiGroup: foreign ? `namespace ${namespace}` : apiGroup, kind, name, namespace };
}

/**
 * Index keys of a PersistentVolume that is not bound: `class NAME`, or `claim NAMESPACE/NAME` when
 * it is reserved.
 */
export function availabilityKeysOf({ metadata, spec }: PersistentVolume): readonly string[] {
  if (metadata?.deletionTimestamp !== undefined) return [];
  const { claimRef, storageClassName = '' } = spec ?? {};
  if (claimRef === undefined) return [`class ${storageClassName}`];
  // A claimRef with a UID is bound.
  return claimRef.uid === undefined ? [`claim ${claimRef.namespace ?? ''}/${claimRef.name ?? ''}`] : [];
}

/**
 * Whether `owners`, indexed as `offer` by `availabilityKeysOf`, has a PersistentVolume that the
 * claim could be bound to.
 */
export function hasAvailableVolume(
  owners: ReadonlyStore<PersistentVolume>,
  { className, namespace, name }: ClaimView,
): boolean {
  const keys = [`class ${className}`, `claim ${namespace}/${name}`];
  return keys.some((key) => owners.byIndex('offer', key).length > 0);
}

export function claimView(claim: PersistentVolumeClaim): ClaimView {
  const { metadata = {}, spec = {} } = claim;
  const { annotations = {} } = metadata;
  return {
    uid: metadata.uid ?? '',
    namespace: metadata.namespace ?? '',
    name: metadata.name ?? '',
    isDeleting: metadata.deletionTimestamp !== undefined,
    className: classNameOf(claim),
    volumeName: spec.volumeName ?? '',
    provisioner: annotations[PROVISIONER] ?? annotations[BETA_PROVISIONER],
    selectedNode: annotations[SELECTED_NODE],
    request: spec.resources?.requests?.['storage'] ?? '0',
    accessModes: spec.accessModes ?? [],
    volumeMode: spec.volumeMode ?? 'Filesystem',
    hasSelector: spec.selector !== undefined,
    attributesClassName: spec.volumeAttributesClassName,
    dataSource: dataSourceOf(claim),
    annotations,
  };
}

/** Returns undefined for a class of another provisioner. */
export function classView(storageClass: StorageClass | undefined): ClassView | undefined {
  if (storageClass?.provisioner !== DRIVER_NAME) return undefined;
  const { metadata, volumeBindingMode, parameters = {}, allowedTopologies = [] } = storageClass;
  return {
    name: metadata?.name ?? '',
    waitsForConsumer: volumeBindingMode === 'WaitForFirstConsumer',
    parameters,
    allowedTopologies: allowedTopologies.map(({ matchLabelExpressions = [] }) => matchLabelExpressions),
  };
}

export function volumeView(volume: LocalVolume): VolumeView {
  const { metadata, spec, status } = volume;
  return {
    nodeName: spec.nodeName,
    poolName: spec.poolName,
    isDeleting: metadata?.deletionTimestamp !== undefined,
    phase: status?.phase ?? 'Pending',
    hasHandle: (status?.volumeHandle ?? '') !== '',
    // Read from the phase: the controller writes conditions of its own.
    isAnswered: status?.phase !== undefined,
    sizeBytes: parseQuantity(status?.capacity ?? spec.size, 'LocalVolume size'),
    message: status?.message ?? '',
    isPublished: metadata?.annotations?.[PERSISTENT_VOLUME_ANNOTATION] !== undefined,
  };
}

/**
 * Returns a node and its pools, less those of its `volumes` that its inventory does not include
 * yet.
 */
export function nodeView(
  node: Node,
  inventory: NodeInventory | undefined,
  volumes: readonly LocalVolume[],
): NodeView {
  const { metadata, spec } = node;
  const uncounted = volumes.filter((volume) => !isCounted(volume, inventory?.status?.observedTime));
  return {
    name: metadata?.name ?? '',
    labels: metadata?.labels ?? {},
    isUsable:
      metadata?.deletionTimestamp === undefined && spec?.unschedulable !== true && !isUnresponsive(node),
    pools: (inventory?.status?.storage?.pools ?? []).map((pool): PoolView => {
      const placed = uncounted
        .filter(({ spec: { poolName } }) => poolName === pool.name)
        .reduce((sum, { spec: { size } }) => sum + parseQuantity(size, 'LocalVolume size'), 0n);
      const free = parseQuantity(pool.largestVolume, 'NodeInventory largestVolume') - placed;
      return {
        name: pool.name,
        backend: pool.backend,
        labels: pool.labels,
        features: pool.features,
        isReady: pool.ready,
        reason: pool.reason,
        freeBytes: free > 0n ? free : 0n,
      };
    }),
  };
}

/**
 * Whether the node is not-ready or unreachable; its taints show that as soon as its conditions do.
 */
export function isUnresponsive({ spec }: Node): boolean {
  return (spec?.taints ?? []).some(({ key }) => UNRESPONSIVE_TAINTS.has(key));
}

/** Whether the inventory includes the volume, or never will. Both times are of the node's clock. */
function isCounted({ metadata, status }: LocalVolume, observedTime: string | undefined): boolean {
  const phase = status?.phase ?? 'Pending';
  if (phase === 'Pending') return metadata?.deletionTimestamp !== undefined;
  if (phase !== 'Ready' || observedTime === undefined || status?.creationTime === undefined) return true;
  return Date.parse(status.creationTime) <= Date.parse(observedTime);
}
