import { KeyedLock } from '../../../src/runtime/keyed-lock.ts';
import { type LockOptions, SharedLock } from './shared-lock.ts';

/**
 * Order of operations on attachments: one at a time per container, and none during an operation on
 * all of them.
 */
export class AttachmentLocks {
  readonly #containers = new KeyedLock();
  readonly #all = new SharedLock();

  /** Runs `work` while no other operation on the container and none on all attachments runs. */
  async runFor<T>(containerId: string, { signal }: LockOptions, work: () => Promise<T>): Promise<T> {
    using _shared = await this.#all.shared({ signal });
    using _own = await this.#containers.acquire(containerId, { signal });
    return await work();
  }

  /** Runs `work` while no other operation runs. */
  async runExclusive<T>(options: LockOptions, work: () => Promise<T>): Promise<T> {
    using _all = await this.#all.exclusive(options);
    return await work();
  }
}
