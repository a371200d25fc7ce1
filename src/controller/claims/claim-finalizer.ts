import { Fault } from '../../core/fault.ts';
import { PERSISTENT_VOLUME_CLAIMS, type PersistentVolumeClaim } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import { keyOf, nameOfKey } from '../../kube/resource.ts';
import type { Cluster } from '../context/cluster.ts';

export interface ClaimFinalizerDeps {
  readonly client: Pick<KubeClient, 'get' | 'patch'>;
  readonly cluster: Pick<Cluster, 'claims'>;
}

/** A finalizer of ours on claims that something is being made from. */
export class ClaimFinalizer {
  readonly #name: string;
  readonly #deps: ClaimFinalizerDeps;

  constructor(name: string, deps: ClaimFinalizerDeps) {
    this.#name = name;
    this.#deps = deps;
  }

  /** Whether the claim bears it. */
  isOn({ metadata }: PersistentVolumeClaim): boolean {
    return (metadata?.finalizers ?? []).includes(this.#name);
  }

  /** Puts it on the claim `key`, as the server has that now. Rejects with `busy` when it is being deleted already, `not-found` when it is gone. */
  async ensure(key: string, signal: AbortSignal): Promise<void> {
    const claim = await this.#deps.client.get(PERSISTENT_VOLUME_CLAIMS, nameOfKey(key), { signal });
    if (claim.metadata?.deletionTimestamp !== undefined) {
      throw new Fault('busy', `claim ${key} is being deleted`);
    }
    if (this.isOn(claim)) return;
    await this.#write(claim, [...(claim.metadata?.finalizers ?? []), this.#name], signal);
  }

  /** Takes it off this version of the claim; rejects with `busy` when there is a newer one. */
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
    // The last finalizer of an object that is being deleted takes the object with it.
    if (written.metadata?.deletionTimestamp === undefined) cluster.claims.remember(written);
  }
}
