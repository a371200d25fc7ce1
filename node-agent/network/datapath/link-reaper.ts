import { Fault } from '../../../src/core/fault.ts';
import { sleep } from '../../../src/runtime/clock.ts';

/** The reaper's interface to the kernel. */
export interface LinkRemoval {
  has(name: string): Promise<boolean>;
  /** Resolves when the kernel has finished; absent links are ignored. */
  delete(names: readonly string[]): Promise<void>;
}

/** A batch whose deletion was requested; `done` settles when the kernel has finished. */
interface Batch {
  readonly done: Promise<void>;
}

const POLL_MS = 1;
/** Each waiting deletion holds a thread of Node's pool, which has four. */
const MAX_RUNNING = 2;

/**
 * Removes links without waiting for the kernel's clean-up. A deleted link disappears from every
 * list, table and namespace within about a millisecond, yet the request returns only after an RCU
 * barrier (netdev_run_todo), 20 to 40 ms later. Callers wait until their link has disappeared, and
 * links that arrive meanwhile are deleted together.
 */
export class LinkReaper {
  readonly #kernel: LinkRemoval;
  readonly #waiting = new Set<string>();
  readonly #running = new Set<Promise<void>>();
  #next: Promise<Batch> | undefined;

  constructor(kernel: LinkRemoval) {
    this.#kernel = kernel;
  }

  /**
   * Removes the link; false when it does not exist. On return the link has disappeared from both
   * namespaces.
   */
  async remove(name: string): Promise<boolean> {
    if (!(await this.#kernel.has(name))) return false;
    this.#waiting.add(name);
    this.#next ??= this.#startBatch();
    const { done } = await this.#next;
    let finished = false;
    const note = (): boolean => (finished = true);
    done.then(note, note);
    for (;;) {
      const last = finished;
      if (!(await this.#kernel.has(name))) return true;
      if (last) {
        await done;
        throw new Fault('busy', `link ${name} still exists after its deletion`, {
          fields: { link: name },
        });
      }
      await sleep(POLL_MS);
    }
  }

  /** Resolves when the kernel has finished everything. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#running);
  }

  async #startBatch(): Promise<Batch> {
    // Links of the same turn are deleted together.
    await Promise.resolve();
    while (this.#running.size >= MAX_RUNNING) await Promise.race(this.#running).catch(() => undefined);
    this.#next = undefined;
    const names = [...this.#waiting];
    this.#waiting.clear();
    const done = this.#kernel.delete(names).finally(() => this.#running.delete(done));
    this.#running.add(done);
    return { done };
  }
}
