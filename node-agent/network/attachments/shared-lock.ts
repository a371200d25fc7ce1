import { raceSignal } from '../../../src/runtime/signals.ts';

interface Waiter {
  readonly exclusive: boolean;
  readonly turn: PromiseWithResolvers<undefined>;
}

export interface LockOptions {
  readonly signal?: AbortSignal | undefined;
}

/**
 * Many shared holders or one exclusive one, in order of arrival: an exclusive waiter blocks later
 * shared ones.
 */
export class SharedLock {
  #holders = 0;
  #exclusive = false;
  readonly #waiting: Waiter[] = [];

  shared(options: LockOptions = {}): Promise<Disposable> {
    return this.#acquire(false, options);
  }

  exclusive(options: LockOptions = {}): Promise<Disposable> {
    return this.#acquire(true, options);
  }

  async #acquire(exclusive: boolean, { signal }: LockOptions): Promise<Disposable> {
    signal?.throwIfAborted();
    const waiter: Waiter = { exclusive, turn: Promise.withResolvers() };
    this.#waiting.push(waiter);
    this.#grant();
    try {
      await raceSignal(waiter.turn.promise, signal);
    } catch (error) {
      const position = this.#waiting.indexOf(waiter);
      if (position >= 0) this.#waiting.splice(position, 1);
      // The turn had already come: pass it on.
      else this.#release(exclusive);
      this.#grant();
      throw error;
    }
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        this.#release(exclusive);
      },
    };
  }

  #grant(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (this.#exclusive || (next.exclusive && this.#holders > 0)) return;
      this.#waiting.shift();
      if (next.exclusive) this.#exclusive = true;
      else this.#holders += 1;
      next.turn.resolve(undefined);
    }
  }

  #release(exclusive: boolean): void {
    if (exclusive) this.#exclusive = false;
    else this.#holders -= 1;
    this.#grant();
  }
}
