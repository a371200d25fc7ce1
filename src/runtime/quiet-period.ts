import type { Clock } from './clock.ts';

export interface QuietPeriodOptions {
  /** How long after the last urgent step other work may run; default 1 s. */
  readonly quietMs?: number;
  /** Maximum delay of any work; default 30 s. */
  readonly patienceMs?: number;
}

/** Maximum interval between two checks, in quiet periods. */
const MAX_POLL_FACTOR = 5;

/**
 * Lets work that is not urgent yield to claims that are being bound and released, for a limited
 * time.
 */
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

  /** Records an urgent step. */
  recordActivity(): void {
    this.#stirredMs = this.#clock.monotonicMs();
  }

  /**
   * Returns how long work that is due since `sinceMs` (monotonic) has to wait before the next
   * check; 0: it may run. The longer it has waited, the less often it checks: there may be much of
   * it.
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
