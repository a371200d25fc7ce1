import { Fault } from '../../../src/core/fault.ts';
import { KeyedLock } from '../../../src/runtime/keyed-lock.ts';

/**
 * Allows one operation at a time on a volume, a snapshot or a name; CSI callers retry (ABORTED).
 */
export class OperationLocks {
  readonly #lock = new KeyedLock();

  /** Throws `busy` while another operation holds `key`. */
  take(key: string): Disposable {
    const lock = this.#lock.tryAcquire(key);
    if (lock !== undefined) return lock;
    throw new Fault('busy', `an operation on ${key} is in progress; try again when it has ended`, {
      fields: { key },
    });
  }
}
