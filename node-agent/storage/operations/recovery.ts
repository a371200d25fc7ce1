import type { Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import { isFault } from '../../../src/core/fault.ts';
import { requireSelinux } from '../../../src/core/volumes/selinux-context.ts';
import { unfinishedGroups } from '../../../src/core/snapshots/snapshot-group.ts';
import { type OperationDeps, undo } from './volume-snapshot-operations.ts';

/**
 * Puts right what a crash or a reboot left in a pool that was just opened: half-made and half-deleted copies go, limits are those of the records,
 * what was staged is attached. What an operation has in hand meanwhile is left to it.
 */
export async function recover(pool: string, deps: OperationDeps): Promise<void> {
  const { inventory, ledger, limiter, logger } = deps;
  await condemnUnfinishedGroups(deps);
  const records = [
    ...[...inventory.volumes.values()].map((record) => ({ kind: 'volume' as const, record })),
    ...[...inventory.snapshots.values()].map((record) => ({ kind: 'snapshot' as const, record })),
  ];
  for (const { kind, record } of records) {
    if (record.pool !== pool || (record.phase === 'ready' && !isAbandoned(record))) continue;
    using lock = tryTake(record.id, deps);
    if (lock === undefined) continue;
    logger.info({ [kind]: record.id, phase: record.phase }, 'finishing what a crash left');
    // What cannot go now (files of it are open) keeps its record, and no other volume from service: its caller asks again.
    await undo(kind, record, deps);
  }
  const { backend } = ledger.pool(pool);
  const usage = await backend.usage();
  for (const { id } of [...inventory.volumes.values()]) {
    using lock = tryTake(id, deps);
    const volume = inventory.volumes.get(id);
    if (lock === undefined || volume?.pool !== pool || volume.phase !== 'ready') continue;
    const found = usage.volumes.get(id);
    if (found === undefined) {
      // The record stays: data that went away by itself is for a person to judge, and one volume does not stop the others.
      logger.error({ volumeId: id, pool }, 'the data of a volume is not in its pool');
      continue;
    }
    await attachAgain(volume, deps);
    const isHeld =
      found.limitBytes === ledger.limitOf(volume) && found.limitInodes === volume.attributes?.quotaInodes;
    if (isHeld || backend.features.enforcement === 'none') continue;
    logger.info({ volumeId: id, found: found.limitBytes, wanted: ledger.limitOf(volume) }, 'limit restored');
    await ledger.enforce(volume);
  }
  await limiter.refresh().catch((err: unknown) => {
    logger.error({ pool, err }, 'limits of I/O cannot be set; it is tried again');
  });
}

/**
 * A group is whole or nothing. Marked first, all of them: once the record that shows it is gone, the rest of the group, perhaps in a pool
 * that opens later, would look as if it were wanted.
 */
async function condemnUnfinishedGroups(deps: OperationDeps): Promise<void> {
  const { inventory, logger } = deps;
  const unfinished = unfinishedGroups(inventory.snapshots.values());
  for (const { id, group, phase } of [...inventory.snapshots.values()]) {
    if (group === undefined || phase !== 'ready' || !unfinished.has(group.id)) continue;
    using lock = tryTake(id, deps);
    const snapshot = inventory.snapshots.get(id);
    if (lock === undefined || snapshot === undefined) continue;
    logger.info({ snapshotId: id, groupId: group.id }, 'a group snapshot is incomplete');
    await inventory.saveSnapshot({ ...snapshot, phase: 'deleting' });
  }
}

/** A pod's own volume that was made and not published, or unpublished and not removed: nobody can come back to it. */
function isAbandoned(record: Volume | Snapshot): boolean {
  return 'published' in record && record.ephemeral === true && record.published.length === 0;
}

/** Undefined when an operation has it in hand: that one finds the record as it is, and does with it what it has to. */
function tryTake(id: string, { locks }: OperationDeps): Disposable | undefined {
  try {
    return locks.take(id);
  } catch (error) {
    if (isFault(error, 'busy')) return undefined;
    throw error;
  }
}

/** A reboot takes loop devices and mounts away; one volume that cannot be attached does not stop the others. */
async function attachAgain(volume: Volume, { ledger, selinux, logger }: OperationDeps): Promise<void> {
  if (volume.staged.length === 0 || volume.phase !== 'ready') return;
  const { selinuxContext } = volume;
  try {
    // Booted without SELinux: its next staging says what it is to have now.
    if (selinuxContext !== undefined) requireSelinux(volume.id, selinuxContext, await selinux.read());
    await ledger.pool(volume.pool).mounts.attach(volume);
  } catch (error) {
    if (volume.encryption !== undefined && isFault(error, 'precondition')) {
      logger.info(
        { volumeId: volume.id, reason: error.message },
        'an encrypted volume waits to be staged again',
      );
      return;
    }
    logger.error({ volumeId: volume.id, pool: volume.pool, err: error }, 'a volume cannot be attached again');
  }
}
