import type { LocalVolume } from '../../api/local-volume.ts';
import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import { isFault } from '../../core/fault.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/built-in.ts';
import type { Precondition } from '../../kube/client.ts';
import type { KubeObject } from '../../kube/resource.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { WorkQueue, WorkResult } from '../../runtime/work-queue.ts';
import type { Cluster } from '../context/cluster.ts';
import { onEach, subscriptions } from '../context/controller-context.ts';

/** A bound claim of ours with all that is written of it. */
export interface Bound {
  readonly claim: PersistentVolumeClaim;
  readonly owner: PersistentVolume;
  readonly volume: LocalVolume;
}

/** Undefined for a claim, by its key, that is not bound to a volume of ours, or goes. */
export function findBound({ claims, owners, volumes }: Cluster, key: string): Bound | undefined {
  const claim = claims.store.get(key);
  if (claim?.status?.phase !== 'Bound' || claim.metadata?.deletionTimestamp !== undefined) return undefined;
  const owner = owners.store.get(claim.spec?.volumeName ?? '');
  if (owner?.spec?.csi?.driver !== DRIVER_NAME) return undefined;
  // A claim that says that it has a volume does not have it (CVE-2019-11255).
  if (owner.spec.claimRef?.uid !== claim.metadata?.uid) return undefined;
  const [volume] = volumes.store.byIndex('handle', owner.spec.csi.volumeHandle);
  return volume === undefined || volume.metadata?.deletionTimestamp !== undefined
    ? undefined
    : { claim, owner, volume };
}

/** One step for the claim `key`, if it is bound to a volume of ours; planned anew in a moment when something moved since it was read. */
export async function stepBound(
  key: string,
  { cluster, logger }: { readonly cluster: Cluster; readonly logger: Logger },
  step: (bound: Bound) => Promise<void>,
): Promise<WorkResult> {
  const bound = findBound(cluster, key);
  if (bound === undefined) return undefined;
  try {
    await step(bound);
    return undefined;
  } catch (error) {
    if (!isFault(error, 'busy') && !isFault(error, 'not-found')) throw error;
    logger.debug({ claim: key, err: error }, 'a plan met a newer state');
    return { afterMs: 200 };
  }
}

/** Adds the keys of Bound claims when they, their PersistentVolumes or their LocalVolumes change. */
export function onBound(
  { claims, owners, volumes }: Cluster,
  queue: Pick<WorkQueue<string>, 'add'>,
): Disposable {
  const addBound = (claim: PersistentVolumeClaim | undefined, key: string): void => {
    if (claim?.status?.phase === 'Bound') queue.add(key);
  };
  const addClaimOf = ({ spec }: PersistentVolume): void => {
    if (spec?.claimRef === undefined || spec.csi?.driver !== DRIVER_NAME) return;
    const key = `${spec.claimRef.namespace ?? ''}/${spec.claimRef.name ?? ''}`;
    addBound(claims.store.get(key), key);
  };
  return subscriptions(
    onEach(claims, addBound),
    onEach(owners, addClaimOf),
    onEach(volumes, ({ status }) => {
      for (const owner of owners.store.byIndex('handle', status?.volumeHandle ?? '')) addClaimOf(owner);
    }),
  );
}

/** A write on this very version of the object alone. */
export function versionOf({ metadata }: KubeObject): Precondition {
  return { uid: metadata?.uid, resourceVersion: metadata?.resourceVersion };
}
