import type { EventsV1Event } from '@kubernetes/client-node/dist/gen/models/EventsV1Event.js';
import type { V1ConfigMap } from '@kubernetes/client-node/dist/gen/models/V1ConfigMap.js';
import type { V1CSIDriver } from '@kubernetes/client-node/dist/gen/models/V1CSIDriver.js';
import type { V1CSINode } from '@kubernetes/client-node/dist/gen/models/V1CSINode.js';
import type { V1CSIStorageCapacity } from '@kubernetes/client-node/dist/gen/models/V1CSIStorageCapacity.js';
import type { V1Lease } from '@kubernetes/client-node/dist/gen/models/V1Lease.js';
import type { V1Namespace } from '@kubernetes/client-node/dist/gen/models/V1Namespace.js';
import type { V1Node } from '@kubernetes/client-node/dist/gen/models/V1Node.js';
import type { V1PersistentVolume } from '@kubernetes/client-node/dist/gen/models/V1PersistentVolume.js';
import type { V1PersistentVolumeClaim } from '@kubernetes/client-node/dist/gen/models/V1PersistentVolumeClaim.js';
import type { V1Pod } from '@kubernetes/client-node/dist/gen/models/V1Pod.js';
import type { V1ServiceAccount } from '@kubernetes/client-node/dist/gen/models/V1ServiceAccount.js';
import type { V1StorageClass } from '@kubernetes/client-node/dist/gen/models/V1StorageClass.js';
import type { V1VolumeAttributesClass } from '@kubernetes/client-node/dist/gen/models/V1VolumeAttributesClass.js';
import type { KubeObject, Resource } from './resource.ts';
import type { Wire } from './wire.ts';

// Types alone: importing the library's models at run time would cost 75 MiB (docs/decisions/0008).
export type ConfigMap = Wire<V1ConfigMap>;
export type CsiDriver = Wire<V1CSIDriver>;
export type CsiNode = Wire<V1CSINode>;
export type CsiStorageCapacity = Wire<V1CSIStorageCapacity>;
export type KubeEvent = Wire<EventsV1Event>;
export type Lease = Wire<V1Lease>;
export type Namespace = Wire<V1Namespace>;
export type Node = Wire<V1Node>;
export type PersistentVolume = Wire<V1PersistentVolume>;
export type PersistentVolumeClaim = Wire<V1PersistentVolumeClaim>;
export type Pod = Wire<V1Pod>;
export type ServiceAccount = Wire<V1ServiceAccount>;
export type StorageClass = Wire<V1StorageClass>;
export type VolumeAttributesClass = Wire<V1VolumeAttributesClass>;

const core = { group: '', version: 'v1' } as const;
const storage = { group: 'storage.k8s.io', version: 'v1' } as const;

function clusterWide<T extends KubeObject>(
  at: { readonly group: string; readonly version: string },
  plural: string,
  kind: string,
): Resource<T> {
  return { ...at, plural, kind, namespaced: false };
}

function namespaced<T extends KubeObject>(
  at: { readonly group: string; readonly version: string },
  plural: string,
  kind: string,
): Resource<T> {
  return { ...at, plural, kind, namespaced: true };
}

export const CONFIG_MAPS = namespaced<ConfigMap>(core, 'configmaps', 'ConfigMap');
export const NAMESPACES = clusterWide<Namespace>(core, 'namespaces', 'Namespace');
export const NODES = clusterWide<Node>(core, 'nodes', 'Node');
export const PERSISTENT_VOLUMES = clusterWide<PersistentVolume>(
  core,
  'persistentvolumes',
  'PersistentVolume',
);
export const PERSISTENT_VOLUME_CLAIMS = namespaced<PersistentVolumeClaim>(
  core,
  'persistentvolumeclaims',
  'PersistentVolumeClaim',
);
export const PODS = namespaced<Pod>(core, 'pods', 'Pod');
export const SERVICE_ACCOUNTS = namespaced<ServiceAccount>(core, 'serviceaccounts', 'ServiceAccount');

export const CSI_DRIVERS = clusterWide<CsiDriver>(storage, 'csidrivers', 'CSIDriver');
export const CSI_NODES = clusterWide<CsiNode>(storage, 'csinodes', 'CSINode');
export const CSI_STORAGE_CAPACITIES = namespaced<CsiStorageCapacity>(
  storage,
  'csistoragecapacities',
  'CSIStorageCapacity',
);
export const STORAGE_CLASSES = clusterWide<StorageClass>(storage, 'storageclasses', 'StorageClass');
export const VOLUME_ATTRIBUTES_CLASSES = clusterWide<VolumeAttributesClass>(
  storage,
  'volumeattributesclasses',
  'VolumeAttributesClass',
);

export const EVENTS = namespaced<KubeEvent>({ group: 'events.k8s.io', version: 'v1' }, 'events', 'Event');
export const LEASES = namespaced<Lease>({ group: 'coordination.k8s.io', version: 'v1' }, 'leases', 'Lease');
