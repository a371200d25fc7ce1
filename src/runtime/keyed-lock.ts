import { raceSignal } from './signals.ts';

interface Waiter {
  readonly grant: () => void;
  abandoned: boolean;
}

/**
 * Mutual exclusion per key, in order of arrival. A lock is a Disposable: hold it with `using`.
 * `tryAcquire` is synchronous, so that check and act are never separated by an await.
 */
export class KeyedLock<K = string> {
  readonly #waiting = new Map<K, Waiter[]>();

  /** Returns the lock, or undefined when it is held. */
  tryAcquire(key: K): Disposable | undefined {
    if (this.#waiting.has(key)) return undefined;
    this.#waiting.set(key, []);
    return this.#holder(key);
  }

  /**
   * Resolves to the lock when it is this caller's turn; rejects with the signal's reason when that
   * comes first.
   */
  async acquire(key: K, { signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<Disposable> {
    signal?.throwIfAborted();
    const free = this.tryAcquire(key);
    if (free !== undefined) return free;
    const turn = Promise.withResolvers<undefined>();
    const waiter: Waiter = { grant: () => turn.resolve(undefined), abandoned: false };
    this.#waiting.get(key)?.push(waiter);
    try {
      await raceSignal(turn.promise, signal);
    } catch (error) {
      waiter.abandoned = true;
      // The turn may have come in the same tick as the abort: pass it on.
      void turn.promise.then(() => this.#release(key));
      throw error;
    }
    return this.#holder(key);
  }

  /** Runs `work` while holding the key. */
  async run<T>(
    key: K,
    work: () => Promise<T>,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    using _lock = await this.acquire(key, options);
    return await work();
  }

  #holder(key: K): Disposable {
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        this.#release(key);
      },
    };
  }

  #release(key: K): void {
    const queue = this.#waiting.get(key) ?? [];
    let next = queue.shift();
    while (next?.abandoned) next = queue.shift();
    if (next === undefined) this.#waiting.delete(key);
    else next.grant();
  }
}
