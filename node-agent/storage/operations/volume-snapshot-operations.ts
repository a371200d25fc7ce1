import type { Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import { pinsOfCopy } from '../../../src/core/volumes/volume-quota.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import type { HostSelinux } from '../../linux/files/selinux.ts';
import type { RecordStore } from '../contract/records.ts';
import type { IoLimiter } from '../limits/io-limiter.ts';
import type { Ledger } from '../records/ledger.ts';
import { newId } from '../records/record-store.ts';
import type { OperationLocks } from './operation-locks.ts';

/** Dependencies that all operations on volumes and snapshots share. */
export interface OperationDeps {
  readonly records: RecordStore;
  readonly ledger: Ledger;
  readonly limiter: IoLimiter;
  readonly locks: OperationLocks;
  readonly selinux: HostSelinux;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called when a pool has discarded data to collect. */
  readonly onDiscarded: () => void;
}

/**
 * Returns the record of a snapshot of `volume` that is about to be created. It has the form of its
 * volume, and pins what the volume is charged with.
 */
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
    id: newId('snap'),
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
 * Discards the data of a volume or snapshot in any phase, then removes its record. After a crash in
 * between the record remains, and recovery or the next request for the same name repeats this.
 */
export async function removeDataAndRecord(
  kind: 'volume' | 'snapshot',
  record: Volume | Snapshot,
  { records, ledger, onDiscarded }: OperationDeps,
): Promise<void> {
  const { backend, mounts } = ledger.pool(record.pool);
  if (kind === 'volume') await mounts.detach(record);
  await backend.discard(kind, record.id);
  await records.remove(record.id);
  onDiscarded();
  await ledger.enforcePinned(record.pins);
}

/**
 * Removes an incomplete volume or snapshot after a failure. When that fails too, the record remains
 * in phase `creating`, and recovery removes it later.
 */
export async function undoCreation(
  kind: 'volume' | 'snapshot',
  record: Volume | Snapshot,
  deps: OperationDeps,
): Promise<void> {
  try {
    await removeDataAndRecord(kind, record, deps);
  } catch (error) {
    deps.logger.warn(
      { [kind]: record.id, err: error },
      'cannot remove an incomplete volume or snapshot; retrying later',
    );
  }
}
