import type { Clock } from '../runtime/clock.ts';

/** Aborts when a stream brings nothing for `silenceMs`: a peer that is gone without a word looks like one that has no news. */
export class SilenceSignal implements Disposable {
  readonly #silenceMs: number;
  readonly #clock: Clock;
  readonly #controller = new AbortController();
  #lastMs: number;
  #timer: Disposable;

  constructor(silenceMs: number, clock: Clock) {
    this.#silenceMs = silenceMs;
    this.#clock = clock;
    this.#lastMs = clock.monotonicMs();
    this.#timer = clock.schedule(silenceMs, () => this.#check());
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Passes `chunks` on and takes note of each. */
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
    const remainingMs = this.#lastMs + this.#silenceMs - this.#clock.monotonicMs();
    if (remainingMs > 0) {
      this.#timer = this.#clock.schedule(remainingMs, () => this.#check());
      return;
    }
    this.#controller.abort(new DOMException(`silent for ${this.#silenceMs} ms`, 'TimeoutError'));
  }
}
