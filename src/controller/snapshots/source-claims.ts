import { CLAIM_FINALIZER, SNAPSHOT_FINALIZERS } from '../../core/snapshot.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import { ClaimFinalizer } from '../claim-finalizer.ts';
import type { Cluster } from '../cluster.ts';
import type { SnapshotKinds } from './kinds.ts';
import { snapshotView } from './views.ts';

export interface SourceClaimsDeps {
  readonly client: Pick<KubeClient, 'get' | 'patch'>;
  readonly cluster: Cluster;
  readonly kinds: SnapshotKinds;
}

/** Claims that snapshots are taken of: kept until those are ready. */
export class SourceClaims {
  readonly #deps: SourceClaimsDeps;
  readonly #finalizer: ClaimFinalizer;

  constructor(deps: SourceClaimsDeps) {
    this.#deps = deps;
    this.#finalizer = new ClaimFinalizer(CLAIM_FINALIZER, deps);
  }

  /** Keeps the claim `key`. Throws `busy` when it is being deleted already. */
  async protect(key: string, signal: AbortSignal): Promise<void> {
    await this.#finalizer.ensure(key, signal);
  }

  /** Lets the claim `key` go when no snapshot is being taken of it any more. */
  async release(key: string, signal: AbortSignal): Promise<WorkResult> {
    const { cluster, kinds } = this.#deps;
    const claim = cluster.claims.store.get(key);
    if (claim === undefined || !this.#finalizer.isOn(claim)) return undefined;
    const isNeeded = kinds.snapshots.store
      .byIndex('claim', key)
      .map(snapshotView)
      .some(
        ({ isDeleting, status, finalizers: own }) =>
          // They are there before the claim is protected.
          !isDeleting && !status.isReady && SNAPSHOT_FINALIZERS.every((each) => own.includes(each)),
      );
    if (isNeeded) return undefined;
    await this.#finalizer.remove(claim, signal);
    return undefined;
  }
}
