import { VOLUME_GROUP_SNAPSHOTS, type VolumeGroupSnapshot } from '../../api/group-snapshot-kinds.ts';
import { isFault } from '../../core/fault.ts';
import { groupContentNameOf } from '../../core/snapshots/group-snapshot.ts';
import { selectsLabels } from '../../core/kube-text/label-selector.ts';
import { CLAIM_FINALIZER, SNAPSHOT_FINALIZERS } from '../../core/snapshots/snapshot.ts';
import type { PersistentVolumeClaim } from '../../kube/built-in.ts';
import { type KubeClient, listAll } from '../../kube/client.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import { ClaimFinalizer } from '../context/claim-finalizer.ts';
import type { Cluster } from '../context/cluster.ts';
import { type GroupKinds, groupView } from './group-kinds.ts';
import type { SnapshotKinds } from './kinds.ts';
import { snapshotView } from './views.ts';

export interface SourceClaimsDeps {
  readonly client: Pick<KubeClient, 'get' | 'list' | 'patch'>;
  readonly cluster: Cluster;
  readonly kinds: SnapshotKinds;
  readonly groupKinds: Pick<GroupKinds, 'groups' | 'groupContents'>;
}

/** Protects claims that snapshots and group snapshots are taken of, until those are ready. */
export class SourceClaims {
  readonly #deps: SourceClaimsDeps;
  readonly #finalizer: ClaimFinalizer;

  constructor(deps: SourceClaimsDeps) {
    this.#deps = deps;
    this.#finalizer = new ClaimFinalizer(CLAIM_FINALIZER, deps);
  }

  /** Protects the claim `key`. Throws `busy` when it is being deleted. */
  async protect(key: string, signal: AbortSignal): Promise<void> {
    await this.#finalizer.ensure(key, signal);
  }

  /**
   * Whether the claim `key` is protected, or needs no protection: it is being deleted, or does not
   * exist.
   */
  isProtected(key: string): boolean {
    const claim = this.#deps.cluster.claims.store.get(key);
    return (
      claim === undefined || claim.metadata?.deletionTimestamp !== undefined || this.#finalizer.isOn(claim)
    );
  }

  /** Ends the protection of the claim `key` once no snapshot is being taken of it. */
  async release(key: string, signal: AbortSignal): Promise<WorkResult> {
    const { cluster, kinds } = this.#deps;
    const claim = cluster.claims.store.get(key);
    if (claim === undefined || !this.#finalizer.isOn(claim)) return undefined;
    const isNeeded = kinds.snapshots.store
      .byIndex('claim', key)
      .map(snapshotView)
      .some(
        ({ isDeleting, status, finalizers: own }) =>
          // The snapshot has its finalizers before its claim is protected.
          !isDeleting && !status.isReady && SNAPSHOT_FINALIZERS.every((each) => own.includes(each)),
      );
    if (isNeeded || (await this.#isInGroup(claim, signal))) return undefined;
    await this.#finalizer.remove(claim, signal);
    return undefined;
  }

  /** Whether a group snapshot of the claim has a content and is not ready. */
  async #isInGroup(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<boolean> {
    const { groups, groupContents } = this.#deps.groupKinds;
    const { namespace = '', labels = {} } = claim.metadata ?? {};
    // Asks the API server before the informers have synced, or where the cluster does not serve the
    // kinds.
    const isKnown = groups.hasSynced && groupContents.hasSynced;
    const all = isKnown ? [...groups.store.values()] : await this.#listGroups(namespace, signal);
    return all.some((group) => {
      const { isDeleting, hasFinalizer, status, namespace: of, uid } = groupView(group);
      if (of !== namespace || isDeleting || !hasFinalizer || status.isReady) return false;
      const { selector } = group.spec.source;
      const isSelected = selector !== undefined && selectsLabels(selector, labels);
      return isSelected && (!isKnown || groupContents.store.get(groupContentNameOf(uid)) !== undefined);
    });
  }

  async #listGroups(namespace: string, signal: AbortSignal): Promise<readonly VolumeGroupSnapshot[]> {
    try {
      return await listAll(this.#deps.client, VOLUME_GROUP_SNAPSHOTS, { namespace, signal });
    } catch (error) {
      if (isFault(error, 'not-found')) return [];
      throw error;
    }
  }
}
