import { Fault } from '../../core/fault.ts';
import { CLAIM_FINALIZER, SNAPSHOT_FINALIZERS } from '../../core/snapshot.ts';
import { PERSISTENT_VOLUME_CLAIMS, type PersistentVolumeClaim } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import { keyOf, nameOfKey } from '../../kube/resource.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
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

  constructor(deps: SourceClaimsDeps) {
    this.#deps = deps;
  }

  /** Keeps the claim `key`. Throws `busy` when it is being deleted already. */
  async protect(key: string, signal: AbortSignal): Promise<void> {
    const claim = await this.#deps.client.get(PERSISTENT_VOLUME_CLAIMS, nameOfKey(key), { signal });
    if (claim.metadata?.deletionTimestamp !== undefined) {
      throw new Fault('busy', `claim ${key} is being deleted`);
    }
    const finalizers = claim.metadata?.finalizers ?? [];
    if (finalizers.includes(CLAIM_FINALIZER)) return;
    await this.#write(claim, [...finalizers, CLAIM_FINALIZER], signal);
  }

  /** Lets the claim `key` go when no snapshot is being taken of it any more. */
  async release(key: string, signal: AbortSignal): Promise<WorkResult> {
    const { cluster, kinds } = this.#deps;
    const claim = cluster.claims.store.get(key);
    const finalizers = claim?.metadata?.finalizers ?? [];
    if (claim === undefined || !finalizers.includes(CLAIM_FINALIZER)) return undefined;
    const isNeeded = kinds.snapshots.store
      .byIndex('claim', key)
      .map(snapshotView)
      .some(
        ({ isDeleting, status, finalizers: own }) =>
          // They are there before the claim is protected.
          !isDeleting && !status.isReady && SNAPSHOT_FINALIZERS.every((each) => own.includes(each)),
      );
    if (isNeeded) return undefined;
    const others = finalizers.filter((finalizer) => finalizer !== CLAIM_FINALIZER);
    await this.#write(claim, others, signal);
    return undefined;
  }

  async #write(
    claim: PersistentVolumeClaim,
    finalizers: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    const { uid, resourceVersion } = claim.metadata ?? {};
    const written = await this.#deps.client.patch(
      PERSISTENT_VOLUME_CLAIMS,
      nameOfKey(keyOf(claim)),
      { merge: { metadata: { finalizers } }, precondition: { uid, resourceVersion } },
      { signal },
    );
    // The last finalizer of an object that is being deleted takes the object with it.
    if (written.metadata?.deletionTimestamp === undefined) this.#deps.cluster.claims.remember(written);
  }
}
