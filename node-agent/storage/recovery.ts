import { Fault } from '../../src/core/fault.ts';
import type { PoolUsage } from '../../src/core/pool-capacity.ts';
import type { Volume } from '../../src/core/volume.ts';
import { dissolve, type OperationDeps } from './copies.ts';

/**
 * Puts right what a crash left, before anything is served: half-made and half-deleted copies go, limits are those of the records. Throws
 * `precondition` when a record names a pool that this node no longer has: its volumes must not look lost.
 */
export async function recover(pools: readonly string[], deps: OperationDeps): Promise<void> {
  const { inventory, ledger, logger } = deps;
  const records = [
    ...[...inventory.volumes.values()].map((record) => ({ kind: 'volume' as const, record })),
    ...[...inventory.snapshots.values()].map((record) => ({ kind: 'snapshot' as const, record })),
  ];
  for (const { kind, record } of records) {
    if (!pools.includes(record.pool)) {
      throw new Fault(
        'precondition',
        `${kind} ${record.id} is in pool ${record.pool}, which is not configured; configure the pool again`,
        { fields: { pool: record.pool } },
      );
    }
    if (record.phase === 'ready') continue;
    logger.info({ [kind]: record.id, phase: record.phase }, 'finishing what a crash left');
    await dissolve(kind, record, deps);
  }
  const usages = new Map<string, PoolUsage>();
  for (const pool of pools) usages.set(pool, await ledger.pool(pool).backend.usage());
  for (const volume of inventory.volumes.values()) {
    const found = usages.get(volume.pool)?.volumes.get(volume.id);
    if (found === undefined) {
      // The record stays: data that went away by itself is for a person to judge, and one volume does not stop the others.
      logger.error({ volumeId: volume.id, pool: volume.pool }, 'the data of a volume is not in its pool');
      continue;
    }
    await attachAgain(volume, deps);
    if (found.limitBytes === ledger.limitOf(volume)) continue;
    logger.info(
      { volumeId: volume.id, found: found.limitBytes, wanted: ledger.limitOf(volume) },
      'limit restored',
    );
    await ledger.enforce(volume);
  }
}

/** A reboot takes loop devices and mounts away; one volume that cannot be attached does not stop the others. */
async function attachAgain(volume: Volume, { ledger, logger }: OperationDeps): Promise<void> {
  if (volume.staged.length === 0 || volume.phase !== 'ready') return;
  try {
    await ledger.pool(volume.pool).mounts.attach(volume);
  } catch (error) {
    logger.error({ volumeId: volume.id, pool: volume.pool, err: error }, 'a volume cannot be attached again');
  }
}
