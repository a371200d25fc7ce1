import type { Clock } from './clock.ts';

export interface QuietPeriodOptions {
  /** So long after the last step that somebody waited for the controller has a hand free; default 1 s. */
  readonly quietMs?: number;
  /** No work gives way for longer than this; default 30 s. */
  readonly patienceMs?: number;
}

/** The longest between two looks, in quiet times. */
const MAX_POLL_FACTOR = 5;

/** Lets work that nobody waits for give way to claims that are being bound and released, for as long as that has a bound. */
export class QuietPeriod {
  readonly #quietMs: number;
  readonly #patienceMs: number;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #stirredMs = Number.NEGATIVE_INFINITY;

  constructor(
    { quietMs = 1_000, patienceMs = 30_000 }: QuietPeriodOptions,
    { clock }: { readonly clock: Pick<Clock, 'monotonicMs'> },
  ) {
    this.#quietMs = quietMs;
    this.#patienceMs = patienceMs;
    this.#clock = clock;
  }

  /** A step that somebody waits for is taken. */
  recordActivity(): void {
    this.#stirredMs = this.#clock.monotonicMs();
  }

  /**
   * For how long work that is due since `sinceMs` (monotonic) is to wait before it asks again; 0: it may be done. What has waited for long asks
   * less often: there may be much of it, and what it waits for has the hands full.
   */
  waitMs(sinceMs: number): number {
    const nowMs = this.#clock.monotonicMs();
    const quietInMs = this.#stirredMs + this.#quietMs - nowMs;
    const waitedMs = nowMs - sinceMs;
    if (quietInMs <= 0 || waitedMs >= this.#patienceMs) return 0;
    const restMs = Math.max(quietInMs, Math.min(waitedMs, MAX_POLL_FACTOR * this.#quietMs));
    return Math.min(restMs, this.#patienceMs - waitedMs);
  }
}
