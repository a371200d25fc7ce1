import { isFault } from '../core/fault.ts';
import { type Clock, systemClock } from './clock.ts';
import type { Logger } from './logger.ts';
import { type BackoffOptions, backoffMs } from './retry.ts';

/**
 * What happens to a key after its work: nothing, or a repetition after `afterMs`. A thrown error
 * causes a repetition with back-off.
 */
export type WorkResult = { readonly afterMs: number } | undefined;

export interface WorkQueueOptions {
  readonly name: string;
  readonly workers: number;
  readonly backoff?: BackoffOptions;
}

/**
 * Maximum delay after a failure caused by an unavailable peer: back-off would otherwise grow to the
 * length of the outage and continue after its end.
 */
const UNAVAILABLE_MAX_MS = 10_000;

export interface WorkQueueDeps {
  readonly logger: Logger;
  readonly clock?: Clock;
  /** For metrics. */
  readonly observer?: WorkQueueObserver;
}

export interface WorkQueueObserver {
  /** Called once, with a function that returns the number of waiting keys. */
  watches(size: () => number): void;
  /** Called for every finished item. */
  done(result: 'ok' | 'error', durationMs: number): void;
}

/**
 * Keys to reconcile. A key waits at most once; one that is added during its work is worked on again
 * afterwards; a key is never worked on concurrently.
 */
export class WorkQueue<K> {
  readonly #options: Required<WorkQueueOptions>;
  readonly #work: (key: K, signal: AbortSignal) => Promise<WorkResult>;
  readonly #deps: WorkQueueDeps;
  readonly #clock: Clock;
  readonly #ready = new Set<K>();
  readonly #active = new Set<K>();
  readonly #again = new Set<K>();
  readonly #failures = new Map<K, number>();
  readonly #delayed = new Map<K, Disposable>();
  /** Idle workers. A new key wakes one of them: busy workers take the next key themselves. */
  readonly #idle: (() => void)[] = [];

  constructor(
    options: WorkQueueOptions,
    work: (key: K, signal: AbortSignal) => Promise<WorkResult>,
    deps: WorkQueueDeps,
  ) {
    this.#options = { backoff: { baseMs: 5, maxMs: 300_000 }, ...options };
    this.#work = work;
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    deps.observer?.watches(() => this.size);
  }

  /** Number of waiting keys. */
  get size(): number {
    return this.#ready.size;
  }

  /** Adds `key` now; replaces a delayed turn of the same key. */
  add(key: K): void {
    this.#cancelDelay(key);
    if (this.#active.has(key)) {
      this.#again.add(key);
      return;
    }
    if (this.#ready.has(key)) return;
    this.#ready.add(key);
    this.#idle.pop()?.();
  }

  /** Adds `key` after `delayMs`, unless it is added earlier. */
  addAfter(key: K, delayMs: number): void {
    this.#cancelDelay(key);
    this.#delayed.set(
      key,
      this.#clock.schedule(delayMs, () => this.add(key)),
    );
  }

  /** Runs until the signal aborts and the items in progress are done. */
  async run(signal: AbortSignal): Promise<void> {
    const wake = (): void => {
      for (const resume of this.#idle.splice(0)) resume();
    };
    signal.addEventListener('abort', wake, { once: true });
    try {
      await Promise.all(Array.from({ length: this.#options.workers }, () => this.#worker(signal)));
    } finally {
      signal.removeEventListener('abort', wake);
      for (const key of [...this.#delayed.keys()]) this.#cancelDelay(key);
    }
  }

  async #worker(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const [key] = this.#ready;
      if (key === undefined) {
        await new Promise<void>((resolve) => this.#idle.push(resolve));
        continue;
      }
      this.#ready.delete(key);
      this.#active.add(key);
      await this.#process(key, signal);
      this.#active.delete(key);
      if (this.#again.delete(key)) this.add(key);
    }
  }

  async #process(key: K, signal: AbortSignal): Promise<void> {
    const startedMs = this.#clock.monotonicMs();
    const elapsed = (): number => this.#clock.monotonicMs() - startedMs;
    try {
      const result = await this.#work(key, signal);
      this.#failures.delete(key);
      this.#deps.observer?.done('ok', elapsed());
      if (result !== undefined) this.addAfter(key, result.afterMs);
    } catch (error) {
      if (signal.aborted) return;
      const attempt = (this.#failures.get(key) ?? 0) + 1;
      this.#failures.set(key, attempt);
      this.#deps.observer?.done('error', elapsed());
      this.#deps.logger.warn(
        { queue: this.#options.name, key, attempt, err: error },
        'work failed, will retry',
      );
      this.addAfter(key, backoffMs(attempt, this.#backoffOf(error)));
    }
  }

  #backoffOf(error: unknown): BackoffOptions {
    const { backoff } = this.#options;
    const isUnavailable = isFault(error, 'unavailable') || isFault(error, 'timeout');
    return isUnavailable ? { ...backoff, maxMs: Math.min(backoff.maxMs, UNAVAILABLE_MAX_MS) } : backoff;
  }

  #cancelDelay(key: K): void {
    this.#delayed.get(key)?.[Symbol.dispose]();
    this.#delayed.delete(key);
  }
}
