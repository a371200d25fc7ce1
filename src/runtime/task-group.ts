import { Fault } from '../core/fault.ts';
import type { Logger } from './logger.ts';

export interface TaskGroupDeps {
  readonly logger: Logger;
}

/**
 * Owns every long-lived promise of a process. The first task that fails aborts the others; `wait`
 * reports it once all have ended, so that no task floats and shutdown has an order.
 */
export class TaskGroup {
  readonly #controller = new AbortController();
  readonly #running = new Set<Promise<void>>();
  readonly #logger: Logger;
  #failure: { readonly error: unknown } | undefined;

  constructor({ logger }: TaskGroupDeps) {
    this.#logger = logger;
  }

  /** Aborts when the group stops; every task receives it. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Starts `task`, which runs until it returns, fails, or sees the signal abort. */
  run(name: string, task: (signal: AbortSignal) => Promise<void>): void {
    const running = this.#supervise(name, task).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Stops all tasks. */
  stop(): void {
    this.#controller.abort(new DOMException('stopping', 'AbortError'));
  }

  /** Resolves when every task has ended; rejects with the first failure. */
  async wait(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #supervise(name: string, task: (signal: AbortSignal) => Promise<void>): Promise<void> {
    try {
      await task(this.signal);
    } catch (error) {
      const stopping = this.signal.aborted && Fault.from(error).kind === 'cancelled';
      if (stopping) return;
      this.#logger.error({ task: name, err: error }, 'task failed');
      this.#failure ??= { error };
      this.stop();
    }
  }
}
