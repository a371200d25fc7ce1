import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import { NODE_INVENTORIES, type NodeInventory } from '../../api/node-inventory.ts';
import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import { volumeNameOf } from '../../core/claims/provision.ts';
import {
  NODES,
  type Node,
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  type PersistentVolume,
  type PersistentVolumeClaim,
  STORAGE_CLASSES,
  type StorageClass,
} from '../../kube/built-in.ts';
import { Informer, type InformerDeps } from '../../kube/informer.ts';
import type { KubeObject } from '../../kube/resource.ts';
import type { TaskGroup } from '../../runtime/task-group.ts';
import { slimNode } from './node-state.ts';
import { classNameOf, availabilityKeysOf, snapshotKeyOf, sourceKeyOf } from './views.ts';

/**
 * Informers of the objects that every reconciler reads. They may lag: anything irreversible is
 * checked with the API server first.
 */
export interface Cluster {
  readonly claims: Informer<PersistentVolumeClaim>;
  readonly classes: Informer<StorageClass>;
  readonly volumes: Informer<LocalVolume>;
  readonly owners: Informer<PersistentVolume>;
  readonly nodes: Informer<Node>;
  readonly inventories: Informer<NodeInventory>;
}

/** Creates the informers; nothing is listed before `runInformers`. */
export function createCluster(deps: InformerDeps): Cluster {
  return {
    claims: new Informer(
      {
        resource: PERSISTENT_VOLUME_CLAIMS,
        indexers: {
          volume: ({ metadata }) => [volumeNameOf(metadata?.uid ?? '')],
          class: (claim) => [classNameOf(claim)],
          attributesClass: ({ spec }) => [spec?.volumeAttributesClassName ?? []].flat(),
          source: (claim) => [sourceKeyOf(claim) ?? []].flat(),
          snapshot: (claim) => [snapshotKeyOf(claim) ?? []].flat(),
        },
      },
      deps,
    ),
    classes: new Informer({ resource: STORAGE_CLASSES }, deps),
    volumes: new Informer(
      {
        resource: LOCAL_VOLUMES,
        indexers: {
          node: ({ spec }) => [spec.nodeName],
          handle: ({ status }) => [status?.volumeHandle ?? []].flat(),
          snapshot: ({ spec }) => [spec.source?.snapshotName ?? []].flat(),
          group: ({ status }) => [status?.groupHandle ?? []].flat(),
        },
      },
      deps,
    ),
    owners: new Informer(
      {
        resource: PERSISTENT_VOLUMES,
        indexers: {
          handle: ({ spec }) => (spec?.csi?.driver === DRIVER_NAME ? [spec.csi.volumeHandle] : []),
          offer: availabilityKeysOf,
        },
      },
      deps,
    ),
    nodes: new Informer({ resource: NODES, transform: slimNode }, deps),
    inventories: new Informer({ resource: NODE_INVENTORIES }, deps),
  };
}

/** An informer of any kind. */
export type Runnable = Pick<Informer<KubeObject>, 'run' | 'synced'>;

/** Runs informers in `tasks`; resolves when all have synced. */
export async function runInformers(
  informers: Readonly<Record<string, Runnable>>,
  tasks: TaskGroup,
  signal: AbortSignal,
): Promise<void> {
  for (const [name, informer] of Object.entries(informers)) {
    tasks.run(`informer ${name}`, (stop) => informer.run(stop));
  }
  await Promise.all(Object.values(informers).map((informer) => informer.synced({ signal })));
}
