import { type Clock, sleep, systemClock } from '../runtime/clock.ts';

export interface RateLimiterOptions {
  /** Requests a second in the long run. */
  readonly qps: number;
  /** Requests at once after a pause. */
  readonly burst: number;
}

/** A token bucket that makes callers wait in the order in which they came. */
export class RateLimiter {
  readonly #options: RateLimiterOptions;
  readonly #clock: Clock;
  /** May go below zero: each waiting caller has taken its token already, and waits until it exists. */
  #tokens: number;
  #updatedMs: number;

  constructor(options: RateLimiterOptions, { clock = systemClock }: { readonly clock?: Clock } = {}) {
    this.#options = options;
    this.#clock = clock;
    this.#tokens = options.burst;
    this.#updatedMs = clock.monotonicMs();
  }

  /** Resolves with the time waited when the caller may go on; rejects with the signal's reason, giving its turn back. */
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
