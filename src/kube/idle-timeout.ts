import type { Clock } from '../runtime/clock.ts';

/** Aborts its signal when a stream has no data for `idleMs`: a dead peer looks like an idle one. */
export class IdleTimeout implements Disposable {
  readonly #idleMs: number;
  readonly #clock: Clock;
  readonly #controller = new AbortController();
  #lastMs: number;
  #timer: Disposable;

  constructor(idleMs: number, clock: Clock) {
    this.#idleMs = idleMs;
    this.#clock = clock;
    this.#lastMs = clock.monotonicMs();
    this.#timer = clock.schedule(idleMs, () => this.#check());
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Yields `chunks`; each restarts the time-out. */
  async *watched<T>(chunks: AsyncIterable<T>): AsyncGenerator<T> {
    for await (const chunk of chunks) {
      this.#lastMs = this.#clock.monotonicMs();
      yield chunk;
    }
  }

  [Symbol.dispose](): void {
    this.#timer[Symbol.dispose]();
  }

  #check(): void {
    const remainingMs = this.#lastMs + this.#idleMs - this.#clock.monotonicMs();
    if (remainingMs > 0) {
      this.#timer = this.#clock.schedule(remainingMs, () => this.#check());
      return;
    }
    this.#controller.abort(new DOMException(`no data for ${this.#idleMs} ms`, 'TimeoutError'));
  }
}
