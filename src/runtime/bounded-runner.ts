import { type Clock, systemClock } from './clock.ts';
import type { Logger } from './logger.ts';

export interface BoundedRunnerOptions {
  readonly name: string;
  /** Requests within this time of the last run are batched. */
  readonly minIntervalMs: number;
  /** Maximum time between runs. */
  readonly maxIntervalMs: number;
  /** A failed run is repeated after this. */
  readonly retryMs: number;
}

/**
 * Runs one level-triggered task on request: rate-limited, at least once per interval, never
 * concurrently.
 */
export class BoundedRunner {
  readonly #options: BoundedRunnerOptions;
  readonly #work: (signal: AbortSignal) => Promise<void>;
  readonly #logger: Logger;
  readonly #clock: Clock;
  #dueAtMs: number;
  #lastEndMs = Number.NEGATIVE_INFINITY;
  #rescheduled = Promise.withResolvers<undefined>();

  constructor(
    options: BoundedRunnerOptions,
    work: (signal: AbortSignal) => Promise<void>,
    { logger, clock = systemClock }: { readonly logger: Logger; readonly clock?: Clock },
  ) {
    this.#options = options;
    this.#work = work;
    this.#logger = logger;
    this.#clock = clock;
    this.#dueAtMs = clock.monotonicMs();
  }

  /** Requests a run; never waits. A request during a run causes another one. */
  poke(): void {
    this.#dueAtMs = Math.min(this.#dueAtMs, this.#lastEndMs + this.#options.minIntervalMs);
    this.#rescheduled.resolve(undefined);
  }

  /** Runs at once, then on request, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    // A stop in the middle of the work leaves nothing due.
    this.#dueAtMs = Math.min(this.#dueAtMs, this.#clock.monotonicMs());
    while (!signal.aborted) {
      await this.#waitUntilDue(signal);
      if (signal.aborted) return;
      this.#dueAtMs = Number.POSITIVE_INFINITY;
      let delayMs = this.#options.maxIntervalMs;
      try {
        await this.#work(signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#logger.warn({ runner: this.#options.name, err: error }, 'run failed, will retry');
        delayMs = this.#options.retryMs;
      }
      this.#lastEndMs = this.#clock.monotonicMs();
      const poked = this.#dueAtMs !== Number.POSITIVE_INFINITY;
      this.#dueAtMs = this.#lastEndMs + (poked ? this.#options.minIntervalMs : delayMs);
    }
  }

  async #waitUntilDue(signal: AbortSignal): Promise<void> {
    for (;;) {
      const remainingMs = this.#dueAtMs - this.#clock.monotonicMs();
      if (remainingMs <= 0 || signal.aborted) return;
      this.#rescheduled = Promise.withResolvers();
      const wake = (): void => this.#rescheduled.resolve(undefined);
      using _timer = this.#clock.schedule(remainingMs, wake);
      signal.addEventListener('abort', wake, { once: true });
      await this.#rescheduled.promise;
      signal.removeEventListener('abort', wake);
    }
  }
}
