import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import { volumeNameOf } from '../../core/claims/provision.ts';
import type { VolumeSnapshot, VolumeSnapshotContent } from '../../api/snapshot-kinds.ts';
import type { PersistentVolumeClaim } from '../../kube/built-in.ts';
import type { Informer } from '../../kube/informer.ts';
import type { AttributesClasses } from './attributes-classes.ts';
import type { ClaimSources } from './claim-sources.ts';
import {
  type Reconciler,
  type ControllerContext,
  onEach,
  subscriptions,
} from '../context/controller-context.ts';
import { Provisioner } from './provisioner.ts';
import { classNameOf } from '../context/views.ts';

export interface ProvisionerOptions {
  readonly workers: number;
  readonly sources: ClaimSources;
  readonly attributesClasses: AttributesClasses;
  /** Claims wait for snapshots to be ready. */
  readonly kinds: {
    readonly snapshots: Pick<Informer<VolumeSnapshot>, 'subscribe'>;
    readonly contents: Pick<Informer<VolumeSnapshotContent>, 'subscribe'>;
  };
}

/** Creates the reconciler that provisions volumes for claims. Keys are names of LocalVolumes. */
export function createProvisioner(
  context: ControllerContext,
  { workers, sources, attributesClasses, kinds }: ProvisionerOptions,
): Reconciler {
  const { cluster } = context;
  const provisioner = new Provisioner({ ...context, sources, attributesClasses });
  const queue = context.queue('provision', workers, (name, signal) => provisioner.reconcile(name, signal));
  const addClaim = ({ metadata }: PersistentVolumeClaim): void =>
    queue.add(volumeNameOf(metadata?.uid ?? ''));
  const addClones = (source: string): void => {
    for (const clone of cluster.claims.store.byIndex('source', source)) addClaim(clone);
  };
  const addRestores = (snapshot: string): void => {
    for (const restored of cluster.claims.store.byIndex('snapshot', snapshot)) addClaim(restored);
  };
  const addWaiting = (): void => {
    for (const volume of provisioner.waiting) queue.add(volume);
  };
  return {
    queue,
    subscribe: () =>
      subscriptions(
        onEach(cluster.claims, (claim, key) => {
          // Kubernetes keeps writing to a claim until it is Bound, so the quiet period has not
          // begun.
          const storageClass = cluster.classes.store.get(classNameOf(claim));
          if (storageClass?.provisioner === DRIVER_NAME) context.quietPeriod.recordActivity();
          addClaim(claim);
          addClones(key);
        }),
        onEach(cluster.volumes, (_volume, name) => queue.add(name)),
        onEach(cluster.owners, ({ spec }, name) => {
          if (spec?.csi?.driver !== DRIVER_NAME) return;
          queue.add(name);
          addClones(`${spec.claimRef?.namespace ?? ''}/${spec.claimRef?.name ?? ''}`);
        }),
        onEach(cluster.classes, (_class, name) => {
          for (const claim of cluster.claims.store.byIndex('class', name)) addClaim(claim);
        }),
        onEach(attributesClasses, (_class, name) => {
          for (const claim of cluster.claims.store.byIndex('attributesClass', name)) addClaim(claim);
        }),
        onEach(cluster.nodes, (_node, name) => {
          addWaiting();
          for (const { metadata } of cluster.volumes.store.byIndex('node', name))
            queue.add(metadata?.name ?? '');
        }),
        onEach(cluster.inventories, addWaiting),
        onEach(kinds.snapshots, (_snapshot, key) => addRestores(key)),
        onEach(kinds.contents, ({ spec: { volumeSnapshotRef } }) =>
          addRestores(`${volumeSnapshotRef.namespace ?? ''}/${volumeSnapshotRef.name ?? ''}`),
        ),
      ),
  };
}
