import { randomInt } from 'node:crypto';
import { Fault } from '../../src/core/fault.ts';
import { sleep } from '../../src/runtime/clock.ts';
import type { Kernel } from '../linux/kernel.ts';

const POLL_MS = 1;

/** A batch whose deletion has been asked for; `done` settles when the kernel has answered. */
interface Batch {
  readonly done: Promise<void>;
}

/**
 * Removes links without waiting for what the kernel does afterwards. A deleted link is out of every list, table and namespace in
 * about a millisecond, yet the request returns only after an RCU barrier (netdev_run_todo), 20 to 40 ms later. So the request waits
 * in a worker of its own, links that are to go meanwhile are deleted as one group, and callers wait until theirs is out of sight.
 */
export class LinkReaper {
  readonly #kernel: Kernel;
  readonly #reaper: Kernel;
  readonly #waiting = new Set<string>();
  #next: Promise<Batch> | undefined;
  #running: Promise<void> = Promise.resolve();

  /** `kernel` answers questions; `reaper` is a worker of its own, in the same network namespace. */
  constructor({ kernel, reaper }: { readonly kernel: Kernel; readonly reaper: Kernel }) {
    this.#kernel = kernel;
    this.#reaper = reaper;
  }

  /** Removes the link; false when there is none. When it returns, the link is gone from both namespaces. */
  async remove(name: string): Promise<boolean> {
    if (!(await this.#kernel.call('hasLink', name))) return false;
    this.#waiting.add(name);
    this.#next ??= this.#startBatch();
    const { done } = await this.#next;
    let answered = false;
    const note = (): boolean => (answered = true);
    done.then(note, note);
    for (;;) {
      const final = answered;
      if (!(await this.#kernel.call('hasLink', name))) return true;
      if (final) {
        await done;
        throw new Fault('busy', `link ${name} is still there after it has been deleted`, {
          fields: { link: name },
        });
      }
      await sleep(POLL_MS);
    }
  }

  async #startBatch(): Promise<Batch> {
    await this.#running.catch(() => undefined);
    this.#next = undefined;
    const names = [...this.#waiting];
    this.#waiting.clear();
    const done = this.#reaper.call('removeLinks', names, randomLinkGroup());
    this.#running = done;
    return { done };
  }
}

/** A link group that nothing else is a member of. Group 0 is everybody's default, small ones are the administrator's. */
export function randomLinkGroup(): number {
  return randomInt(1 << 24, 2 ** 31 - 1);
}
