import type { Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import { isFault } from '../../../src/core/fault.ts';
import type { PoolUsage } from '../../../src/core/pools/pool-capacity.ts';
import { requireSelinux } from '../../../src/core/volumes/selinux-context.ts';
import { unfinishedGroups } from '../../../src/core/snapshots/snapshot-group.ts';
import { type OperationDeps, undoCreation } from './volume-snapshot-operations.ts';

/**
 * Repairs what a crash or a reboot left in a pool that was just opened: removes incomplete volumes
 * and snapshots, attaches staged volumes, and restores limits. Skips what an operation holds
 * meanwhile.
 */
export async function recover(pool: string, deps: OperationDeps): Promise<void> {
  const { limiter, logger } = deps;
  await markUnfinishedGroups(deps);
  await removeUnfinished(pool, deps);
  await restoreVolumes(pool, deps);
  await limiter.refresh().catch((err: unknown) => {
    logger.error({ pool, err }, 'cannot set I/O limits; retrying later');
  });
}

/**
 * Marks all members of unfinished groups before any of them is removed. Otherwise, once the record
 * in phase `creating` is removed, the rest of the group, perhaps in a pool that opens later, would
 * look finished.
 */
async function markUnfinishedGroups(deps: OperationDeps): Promise<void> {
  const { records, logger } = deps;
  const unfinished = unfinishedGroups(records.snapshots.values());
  for (const { id, group, phase } of [...records.snapshots.values()]) {
    if (group === undefined || phase !== 'ready' || !unfinished.has(group.id)) continue;
    using lock = tryTake(id, deps);
    const snapshot = records.snapshots.get(id);
    if (lock === undefined || snapshot === undefined) continue;
    logger.info({ snapshotId: id, groupId: group.id }, 'removing an incomplete group snapshot');
    await records.saveSnapshot({ ...snapshot, phase: 'deleting' });
  }
}

/** Removes what is recorded in phase `creating` or `deleting`, and abandoned ephemeral volumes. */
async function removeUnfinished(pool: string, deps: OperationDeps): Promise<void> {
  const { records, logger } = deps;
  const all = [
    ...[...records.volumes.values()].map((record) => ({ kind: 'volume' as const, record })),
    ...[...records.snapshots.values()].map((record) => ({ kind: 'snapshot' as const, record })),
  ];
  for (const { kind, record } of all) {
    if (record.pool !== pool || (record.phase === 'ready' && !isAbandoned(record))) continue;
    using lock = tryTake(record.id, deps);
    if (lock === undefined) continue;
    logger.info({ [kind]: record.id, phase: record.phase }, 'removing an incomplete volume or snapshot');
    // A failure (open files) keeps the record and does not affect other volumes; callers retry.
    await undoCreation(kind, record, deps);
  }
}

async function restoreVolumes(pool: string, deps: OperationDeps): Promise<void> {
  const { records, ledger, logger } = deps;
  const usage = await ledger.pool(pool).backend.usage();
  for (const { id } of [...records.volumes.values()]) {
    using lock = tryTake(id, deps);
    const volume = records.volumes.get(id);
    if (lock === undefined || volume?.pool !== pool || volume.phase !== 'ready') continue;
    if (!usage.volumes.has(id)) {
      // Keeps the record: an administrator decides about lost data, and other volumes are served.
      logger.error({ volumeId: id, pool }, 'the data of a volume is not in its pool');
      continue;
    }
    await attachStaged(volume, deps);
    await restoreLimit(volume, usage, deps);
  }
}

async function restoreLimit(
  volume: Volume,
  usage: PoolUsage,
  { ledger, logger }: OperationDeps,
): Promise<void> {
  const { id, pool, attributes } = volume;
  const found = usage.volumes.get(id);
  const limitBytes = ledger.limitOf(volume);
  const isSet = found?.limitBytes === limitBytes && found.limitInodes === attributes?.quotaInodes;
  if (isSet || ledger.pool(pool).backend.features.enforcement === 'none') return;
  logger.info({ volumeId: id, found: found?.limitBytes, expected: limitBytes }, 'limit restored');
  await ledger.enforce(volume);
}

/** An ephemeral volume without a publication was interrupted; no call can refer to it again. */
function isAbandoned(record: Volume | Snapshot): boolean {
  return 'published' in record && record.ephemeral === true && record.published.length === 0;
}

/** Returns undefined while an operation holds `id`; that operation then finishes or removes it. */
function tryTake(id: string, { locks }: OperationDeps): Disposable | undefined {
  try {
    return locks.take(id);
  } catch (error) {
    if (isFault(error, 'busy')) return undefined;
    throw error;
  }
}

/** Attaches a staged volume after a reboot; a failure does not affect other volumes. */
async function attachStaged(volume: Volume, { ledger, selinux, logger }: OperationDeps): Promise<void> {
  if (volume.staged.length === 0 || volume.phase !== 'ready') return;
  const { selinuxContext } = volume;
  try {
    // After a boot without SELinux, the next NodeStageVolume decides about the context.
    if (selinuxContext !== undefined) requireSelinux(volume.id, selinuxContext, await selinux.read());
    await ledger.pool(volume.pool).mounts.attach(volume);
  } catch (error) {
    if (volume.encryption !== undefined && isFault(error, 'precondition')) {
      logger.info(
        { volumeId: volume.id, reason: error.message },
        'an encrypted volume needs its next NodeStageVolume call',
      );
      return;
    }
    logger.error({ volumeId: volume.id, pool: volume.pool, err: error }, 'cannot attach a staged volume');
  }
}
