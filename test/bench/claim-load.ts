import { Fault } from '../../src/core/fault.ts';
import {
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  type PersistentVolume,
  type PersistentVolumeClaim,
} from '../../src/kube/built-in.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { type Change, Informer } from '../../src/kube/informer.ts';
import type { KubeObject } from '../../src/kube/resource.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { deadlineSignal, raceSignal } from '../../src/runtime/signals.ts';

export interface ClaimLoadOptions {
  readonly namespace: string;
  readonly className: string;
  readonly count: number;
  readonly size?: string;
  /** Annotations of the claim of that number. */
  readonly annotations?: (index: number) => Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Creations and deletions of this load that are under way at the same time. */
const PARALLEL = 32;

/**
 * Claims of one class that are made all at once, and how far they have come. Disposing ends its
 * watches.
 */
export class ClaimLoad implements AsyncDisposable {
  readonly #options: Required<Omit<ClaimLoadOptions, 'annotations' | 'signal'>> &
    Pick<ClaimLoadOptions, 'annotations' | 'signal'>;
  readonly #client: KubeClient;
  readonly #claims: Informer<PersistentVolumeClaim>;
  readonly #volumes: Informer<PersistentVolume>;
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>[] = [];
  #bound = 0;
  #ownVolumes = 0;
  #changed = Promise.withResolvers<undefined>();

  constructor(options: ClaimLoadOptions, client: KubeClient) {
    this.#options = { size: '16Mi', timeoutMs: 600_000, ...options };
    this.#client = client;
    const deps = { client, logger: silentLogger };
    this.#claims = new Informer({ resource: PERSISTENT_VOLUME_CLAIMS, namespace: options.namespace }, deps);
    this.#volumes = new Informer({ resource: PERSISTENT_VOLUMES }, deps);
    this.#claims.subscribe((change) => {
      this.#bound += countChange(change, ({ status }) => status?.phase === 'Bound');
      this.#wake();
    });
    this.#volumes.subscribe((change) => {
      this.#ownVolumes += countChange(change, ({ spec }) => spec?.claimRef?.namespace === options.namespace);
      this.#wake();
    });
    this.#running.push(this.#claims.run(this.#stop.signal));
  }

  /** Milliseconds from the first creation until the last claim is Bound. */
  async bind(): Promise<number> {
    const { namespace, className, count, size, annotations } = this.#options;
    await this.#claims.synced();
    const startedMs = performance.now();
    await inParallel(count, async (index) => {
      await this.#client.create(PERSISTENT_VOLUME_CLAIMS, {
        metadata: { namespace, name: nameOf(index), annotations: annotations?.(index) ?? {} },
        spec: {
          accessModes: ['ReadWriteOnce'],
          storageClassName: className,
          resources: { requests: { storage: size } },
        },
      });
    });
    await this.#until('are Bound', () => this.#bound === count);
    return performance.now() - startedMs;
  }

  /**
   * Milliseconds from the first deletion until the last claim and its PersistentVolume are deleted.
   */
  async remove(): Promise<number> {
    const { namespace, count } = this.#options;
    // Not before: what measures is not to cost what is measured.
    this.#running.push(this.#volumes.run(this.#stop.signal));
    await this.#volumes.synced();
    const startedMs = performance.now();
    await inParallel(count, async (index) => {
      await this.#client.delete(PERSISTENT_VOLUME_CLAIMS, { namespace, name: nameOf(index) });
    });
    await this.#until('are deleted', () => this.#claims.store.size === 0 && this.#ownVolumes === 0);
    return performance.now() - startedMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
  }

  async #until(what: string, isDone: () => boolean): Promise<void> {
    const { count, className, timeoutMs, signal } = this.#options;
    using deadline = deadlineSignal(timeoutMs, { signal });
    while (!isDone()) {
      try {
        await raceSignal(this.#changed.promise, deadline.signal);
      } catch (error) {
        if (signal?.aborted) throw error;
        const found = `${this.#bound} are Bound, ${this.#ownVolumes} PersistentVolumes are there`;
        throw new Fault(
          'timeout',
          `${count} claims of class ${className} ${what}: not after ${timeoutMs} ms; ${found}`,
        );
      }
    }
  }

  #wake(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers();
    resolve(undefined);
  }
}

/** Runs `work` for 0 to `count` - 1, some at a time. */
export async function inParallel(
  count: number,
  work: (index: number) => Promise<void>,
  parallel = PARALLEL,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const index = next;
      next += 1;
      await work(index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallel, count) }, worker));
}

function countChange<T extends KubeObject>(
  { previous, current }: Change<T>,
  counts: (object: T) => boolean,
): number {
  const after = current !== undefined && counts(current) ? 1 : 0;
  return after - (previous !== undefined && counts(previous) ? 1 : 0);
}

function nameOf(index: number): string {
  // No ordinal at the end: those go around the nodes, and cost the same but are another case.
  return `c${index}x`;
}
