import { Fault } from '../../src/core/fault.ts';
import { sleep } from '../../src/runtime/clock.ts';

/** What the reaper needs of the kernel. */
export interface LinkRemoval {
  has(name: string): Promise<boolean>;
  /** Resolves when the kernel has finished; absent links are left out. */
  delete(names: readonly string[]): Promise<void>;
}

/** A batch whose deletion has been asked for; `done` settles when the kernel has finished. */
interface Batch {
  readonly done: Promise<void>;
}

const POLL_MS = 1;
/** Each deletion that waits holds a thread of Node's pool, which has four. */
const MAX_RUNNING = 2;

/**
 * Removes links without waiting for what the kernel does afterwards. A deleted link is out of every list, table and namespace in
 * about a millisecond, yet the request returns only after an RCU barrier (netdev_run_todo), 20 to 40 ms later. So callers wait until
 * their link is out of sight, and links that come while others are waited for go together.
 */
export class LinkReaper {
  readonly #kernel: LinkRemoval;
  readonly #waiting = new Set<string>();
  readonly #running = new Set<Promise<void>>();
  #next: Promise<Batch> | undefined;

  constructor(kernel: LinkRemoval) {
    this.#kernel = kernel;
  }

  /** Removes the link; false when there is none. When it returns, the link is gone from both namespaces. */
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
        throw new Fault('busy', `link ${name} is still there after it has been deleted`, {
          fields: { link: name },
        });
      }
      await sleep(POLL_MS);
    }
  }

  /** Resolves when the kernel has finished with everything. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#running);
  }

  async #startBatch(): Promise<Batch> {
    // Those that come in the same turn go together.
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
