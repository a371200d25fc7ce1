import type { MeasuredPool } from '../../src/core/inventory/inventory-pools.ts';
import type { StorageReport } from '../storage/health/health-service.ts';

/** Returns the pools with their numbers of volumes and snapshots. */
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
