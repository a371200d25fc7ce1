import { type Clock, sleep, systemClock } from '../runtime/clock.ts';

interface RateLimiterOptions {
  /** Sustained requests a second. */
  readonly qps: number;
  /** Capacity of the bucket. */
  readonly burst: number;
}

/** A token bucket; callers wait in the order of their calls. */
export class RateLimiter {
  readonly #options: RateLimiterOptions;
  readonly #clock: Clock;
  /** Negative while callers wait: each has taken its token in advance. */
  #tokens: number;
  #updatedMs: number;

  constructor(options: RateLimiterOptions, { clock = systemClock }: { readonly clock?: Clock } = {}) {
    this.#options = options;
    this.#clock = clock;
    this.#tokens = options.burst;
    this.#updatedMs = clock.monotonicMs();
  }

  /** Resolves to the time waited, in ms. Rejects with the signal's reason and returns the token. */
  async take({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<number> {
    signal?.throwIfAborted();
    this.#refill();
    this.#tokens -= 1;
    if (this.#tokens >= 0) return 0;
    const waitMs = (-this.#tokens / this.#options.qps) * 1_000;
    try {
      await sleep(waitMs, { signal, clock: this.#clock });
    } catch (error) {
      this.#tokens += 1;
      throw error;
    }
    return waitMs;
  }

  #refill(): void {
    const nowMs = this.#clock.monotonicMs();
    const grown = this.#tokens + ((nowMs - this.#updatedMs) / 1_000) * this.#options.qps;
    this.#tokens = Math.min(this.#options.burst, grown);
    this.#updatedMs = nowMs;
  }
}
