import type { MeasuredPool } from '../../src/core/inventory-pools.ts';
import type { StorageReport } from '../storage/storage.ts';

/** The pools and how many volumes and snapshots each has. */
export function measuredPools({
  pools,
  volumes,
  snapshots,
}: Pick<StorageReport, 'pools' | 'volumes' | 'snapshots'>): readonly MeasuredPool[] {
  return pools.map((pool) => ({
    ...pool,
    copies: [...volumes, ...snapshots].filter((copy) => copy.pool === pool.name).length,
  }));
}

/**
 * What is on disk without standing in the API: volumes and snapshots that no LocalVolume (`names`) asks for, and data without a record. They
 * are told of and never removed: an object can be restored from a backup, data cannot.
 */
export function findOrphans(
  { volumes, snapshots, orphans }: Pick<StorageReport, 'volumes' | 'snapshots' | 'orphans'>,
  names: ReadonlySet<string>,
): readonly string[] {
  const persistent = volumes.filter(({ ephemeral }) => ephemeral !== true);
  const unasked = [...persistent, ...snapshots].filter(({ name }) => !names.has(name));
  return [
    ...unasked.map(({ id, name }) => `${name} (${id})`),
    ...orphans.map(({ id, pool }) => `data ${id} in pool ${pool}`),
  ].sort();
}
