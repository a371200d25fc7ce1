import { Fault, isFault } from '../../core/fault.ts';
import { DRIVER_NAME } from '../../core/volumes/driver.ts';
import { type ClaimView, describeClaim, type SourceView } from '../../core/claims/provision.ts';
import { parseQuantity } from '../../core/kube-text/quantity.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import { ClaimFinalizer } from '../context/claim-finalizer.ts';
import type { Cluster } from '../context/cluster.ts';
import { type Reconciler, type ControllerContext, onEach } from '../context/controller-context.ts';
import { sourceKeyOf } from '../context/views.ts';

/** Keeps a claim while it is being cloned; the name is external-provisioner's. */
const CLONING_PROTECTION = 'provisioner.storage.kubernetes.io/cloning-protection';

export interface CloneSourcesDeps {
  readonly client: Pick<KubeClient, 'get' | 'patch'>;
  readonly cluster: Cluster;
}

/**
 * Creates the reconciler that removes the clone protection of source claims. Keys are those of
 * source claims.
 */
export function createCloneSourceReconciler(context: ControllerContext, sources: CloneSources): Reconciler {
  const queue = context.queue('protection', 2, (key, signal) => sources.release(key, signal));
  return {
    queue,
    subscribe: () =>
      onEach(context.cluster.claims, (claim, key) => {
        queue.add(key);
        const source = sourceKeyOf(claim);
        if (source !== undefined) queue.add(source);
      }),
  };
}

/** Claims that other claims are clones of. */
export class CloneSources {
  readonly #deps: CloneSourcesDeps;
  readonly #protection: ClaimFinalizer;

  constructor(deps: CloneSourcesDeps) {
    this.#deps = deps;
    this.#protection = new ClaimFinalizer(CLONING_PROTECTION, deps);
  }

  /**
   * Returns the source of the clone; a Fault when it cannot be used now, undefined when the claim
   * is not a clone.
   */
  find(claim: ClaimView): SourceView | Fault | undefined {
    const { dataSource } = claim;
    if (dataSource?.apiGroup !== '' || dataSource.kind !== 'PersistentVolumeClaim') return undefined;
    const { claims, owners, volumes } = this.#deps.cluster;
    const source = claims.store.get(`${claim.namespace}/${dataSource.name}`);
    const fault = (what: string): Fault =>
      new Fault(
        'precondition',
        `${describeClaim(claim)} starts from claim ${dataSource.name}, which ${what}`,
      );
    if (source === undefined) return fault('does not exist in its namespace');
    if (source.metadata?.deletionTimestamp !== undefined) return fault('is being deleted');
    const owner = owners.store.get(source.spec?.volumeName ?? '');
    if (source.status?.phase !== 'Bound' || owner === undefined) return fault('is not bound yet');
    const mode = source.spec?.volumeMode ?? 'Filesystem';
    if (mode !== claim.volumeMode) return fault(`has volumeMode ${mode}`);
    if (owner.spec?.csi?.driver !== DRIVER_NAME) return fault('has a volume of another driver');
    // Checked in both directions, or a claim could read a volume that it does not own
    // (CVE-2019-11255).
    if (!isBoundTo(owner, source)) return fault('is not the claim that its PersistentVolume is bound to');
    const [volume] = volumes.store.byIndex('handle', owner.spec.csi.volumeHandle);
    if (volume === undefined)
      return fault(`has volume ${owner.spec.csi.volumeHandle}, which was not found on any node`);
    return {
      content: { volumeName: volume.metadata?.name ?? '' },
      nodeName: volume.spec.nodeName,
      poolName: volume.spec.poolName,
      sizeBytes: parseQuantity(volume.status?.capacity ?? volume.spec.size, 'LocalVolume size'),
    };
  }

  /** Keeps the source of a clone until the clone is complete. Does nothing for other claims. */
  async protect(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<void> {
    const key = sourceKeyOf(claim);
    if (key === undefined) return;
    await this.#protection.ensure(key, signal);
  }

  /** Removes the protection of the claim `key` once it has no incomplete clones. */
  async release(key: string, signal: AbortSignal): Promise<WorkResult> {
    const { claims } = this.#deps.cluster;
    const source = claims.store.get(key);
    if (source === undefined || !this.#protection.isOn(source)) return undefined;
    const clones = claims.store.byIndex('source', key);
    if (clones.some((clone) => (clone.spec?.volumeName ?? '') === '')) return undefined;
    try {
      await this.#protection.remove(source, signal);
    } catch (error) {
      if (isFault(error, 'not-found')) return undefined;
      if (isFault(error, 'busy')) return { afterMs: 200 };
      throw error;
    }
    return undefined;
  }
}

function isBoundTo({ spec, status }: PersistentVolume, { metadata }: PersistentVolumeClaim): boolean {
  const { uid, namespace, name } = spec?.claimRef ?? {};
  const same = uid === metadata?.uid && namespace === metadata?.namespace && name === metadata?.name;
  return same && status?.phase === 'Bound';
}
