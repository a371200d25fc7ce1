import type { Clock } from '../runtime/clock.ts';

export interface CalmOptions {
  /** So long after the last step that somebody waited for the controller has a hand free; default 1 s. */
  readonly quietMs?: number;
  /** No work gives way for longer than this; default 30 s. */
  readonly patienceMs?: number;
}

/** Lets work that nobody waits for give way to claims that are being bound and released, for as long as that has a bound. */
export class Calm {
  readonly #quietMs: number;
  readonly #patienceMs: number;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #stirredMs = Number.NEGATIVE_INFINITY;

  constructor(
    { quietMs = 1_000, patienceMs = 30_000 }: CalmOptions,
    { clock }: { readonly clock: Pick<Clock, 'monotonicMs'> },
  ) {
    this.#quietMs = quietMs;
    this.#patienceMs = patienceMs;
    this.#clock = clock;
  }

  /** A step that somebody waits for is taken. */
  stir(): void {
    this.#stirredMs = this.#clock.monotonicMs();
  }

  /** For how long work that is due since `sinceMs` (monotonic) is to wait before it asks again; 0: it may be done. */
  waitMs(sinceMs: number): number {
    const nowMs = this.#clock.monotonicMs();
    const untilMs = Math.min(this.#stirredMs + this.#quietMs, sinceMs + this.#patienceMs);
    return Math.max(0, untilMs - nowMs);
  }
}
