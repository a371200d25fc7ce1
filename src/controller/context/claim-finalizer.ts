import { Fault } from '../../core/fault.ts';
import { PERSISTENT_VOLUME_CLAIMS, type PersistentVolumeClaim } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import { keyOf, nameOfKey } from '../../kube/resource.ts';
import type { Cluster } from './cluster.ts';

export interface ClaimFinalizerDeps {
  readonly client: Pick<KubeClient, 'get' | 'patch'>;
  readonly cluster: Pick<Cluster, 'claims'>;
}

/** A finalizer on claims that serve as the source of another object. */
export class ClaimFinalizer {
  readonly #name: string;
  readonly #deps: ClaimFinalizerDeps;

  constructor(name: string, deps: ClaimFinalizerDeps) {
    this.#name = name;
    this.#deps = deps;
  }

  /** Whether the claim has the finalizer. */
  isOn({ metadata }: PersistentVolumeClaim): boolean {
    return (metadata?.finalizers ?? []).includes(this.#name);
  }

  /**
   * Adds the finalizer to the claim `key`, re-read from the API server. Rejects with `busy` when
   * the claim is being deleted, `not-found` when it does not exist.
   */
  async ensure(key: string, signal: AbortSignal): Promise<void> {
    const claim = await this.#deps.client.get(PERSISTENT_VOLUME_CLAIMS, nameOfKey(key), { signal });
    if (claim.metadata?.deletionTimestamp !== undefined) {
      throw new Fault('busy', `claim ${key} is being deleted`);
    }
    if (this.isOn(claim)) return;
    await this.#write(claim, [...(claim.metadata?.finalizers ?? []), this.#name], signal);
  }

  /**
   * Removes the finalizer from this version of the claim; rejects with `busy` when there is a newer
   * version.
   */
  async remove(claim: PersistentVolumeClaim, signal: AbortSignal): Promise<void> {
    const others = (claim.metadata?.finalizers ?? []).filter((finalizer) => finalizer !== this.#name);
    await this.#write(claim, others, signal);
  }

  async #write(
    claim: PersistentVolumeClaim,
    finalizers: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    const { client, cluster } = this.#deps;
    const { uid, resourceVersion } = claim.metadata ?? {};
    const written = await client.patch(
      PERSISTENT_VOLUME_CLAIMS,
      nameOfKey(keyOf(claim)),
      { merge: { metadata: { finalizers } }, precondition: { uid, resourceVersion } },
      { signal },
    );
    // Removing the last finalizer of an object that is being deleted deletes the object.
    if (written.metadata?.deletionTimestamp === undefined) cluster.claims.remember(written);
  }
}
