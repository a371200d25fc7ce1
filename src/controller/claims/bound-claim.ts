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

/** A bound claim, its PersistentVolume and its LocalVolume. */
export interface Bound {
  readonly claim: PersistentVolumeClaim;
  readonly owner: PersistentVolume;
  readonly volume: LocalVolume;
}

/**
 * Returns the claim `key` if it is bound to a Keelson volume and not being deleted, else undefined.
 */
function findBound({ claims, owners, volumes }: Cluster, key: string): Bound | undefined {
  const claim = claims.store.get(key);
  if (claim?.status?.phase !== 'Bound' || claim.metadata?.deletionTimestamp !== undefined) return undefined;
  const owner = owners.store.get(claim.spec?.volumeName ?? '');
  if (owner?.spec?.csi?.driver !== DRIVER_NAME) return undefined;
  // A claim's `volumeName` alone proves nothing: its author may set it (CVE-2019-11255).
  if (owner.spec.claimRef?.uid !== claim.metadata?.uid) return undefined;
  const [volume] = volumes.store.byIndex('handle', owner.spec.csi.volumeHandle);
  return volume === undefined || volume.metadata?.deletionTimestamp !== undefined
    ? undefined
    : { claim, owner, volume };
}

/**
 * Takes one step for the claim `key` if it is bound to a Keelson volume; retries shortly when an
 * object changed since it was read.
 */
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
    logger.debug({ claim: key, err: error }, 'plan was stale');
    return { afterMs: 200 };
  }
}

/**
 * Adds the keys of Bound claims when they, their PersistentVolumes or their LocalVolumes change.
 */
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

/** Restricts a write to the version of the object that was read. */
export function versionOf({ metadata }: KubeObject): Precondition {
  return { uid: metadata?.uid, resourceVersion: metadata?.resourceVersion };
}
