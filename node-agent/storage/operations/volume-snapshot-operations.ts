import { randomBytes } from 'node:crypto';
import { Fault } from '../../../src/core/fault.ts';
import type { Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import { formatId } from '../../../src/core/volumes/volume-name.ts';
import { pinsOfCopy } from '../../../src/core/volumes/volume-quota.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import { KeyedLock } from '../../../src/runtime/keyed-lock.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import type { HostSelinux } from '../../linux/files/selinux.ts';
import type { RecordStore } from '../contract/records.ts';
import type { IoLimiter } from '../limits/io-limiter.ts';
import type { Ledger } from '../records/ledger.ts';

/** What the operations on volumes and snapshots share. */
export interface OperationDeps {
  readonly inventory: RecordStore;
  readonly ledger: Ledger;
  readonly limiter: IoLimiter;
  readonly locks: OperationLocks;
  readonly selinux: HostSelinux;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told when there is something to collect. */
  readonly onDiscarded: () => void;
}

/** One operation at a time on a volume, a snapshot or a name; the second is refused and comes again, as CSI wants it (ABORTED). */
export class OperationLocks {
  readonly #lock = new KeyedLock();

  /** Throws `busy` when an operation on `key` is in flight. */
  take(key: string): Disposable {
    const lock = this.#lock.tryAcquire(key);
    if (lock !== undefined) return lock;
    throw new Fault('busy', `an operation on ${key} is in progress; try again when it has ended`, {
      fields: { key },
    });
  }
}

export function randomId(): string {
  return randomBytes(12).toString('hex');
}

/** The record of a snapshot of `volume` that is to be taken: it is all that its volume is, and pins what that is charged with. */
export function snapshotIntent(
  volume: Volume,
  {
    name,
    group,
    chargedBytes,
    createdAtMs,
  }: Pick<Snapshot, 'name' | 'group' | 'createdAtMs'> & { readonly chargedBytes: bigint },
): Snapshot {
  return {
    id: formatId('snap', randomId()),
    name,
    pool: volume.pool,
    sourceVolumeId: volume.id,
    ...(group === undefined ? {} : { group }),
    sizeBytes: volume.sizeBytes,
    volumeMode: volume.volumeMode,
    fsType: volume.fsType,
    encryption: volume.encryption,
    phase: 'creating',
    createdAtMs,
    pins: pinsOfCopy(volume, chargedBytes),
  };
}

/**
 * Removes what a record stands for, whatever phase it is in, and then the record. A crash in between leaves the record, and this is
 * repeated: at the next start, or by whoever asks for the same name again.
 */
export async function dissolve(
  kind: 'volume' | 'snapshot',
  record: Volume | Snapshot,
  { inventory, ledger, onDiscarded }: OperationDeps,
): Promise<void> {
  const { backend, mounts } = ledger.pool(record.pool);
  if (kind === 'volume') await mounts.detach(record);
  await backend.discard(kind, record.id);
  await inventory.remove(record.id);
  onDiscarded();
  await ledger.enforcePinned(record.pins);
}

/** Undoes a half-made copy after a failure. What cannot be undone now stays on record as an intent, and is undone later. */
export async function undo(
  kind: 'volume' | 'snapshot',
  record: Volume | Snapshot,
  deps: OperationDeps,
): Promise<void> {
  try {
    await dissolve(kind, record, deps);
  } catch (error) {
    deps.logger.warn({ [kind]: record.id, err: error }, 'a half-made copy could not be removed yet');
  }
}
