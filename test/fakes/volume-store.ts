import type { StorageServices } from '../../node-agent/storage/services.ts';
import type { PoolSpec } from '../../src/core/pools/pool.ts';
import { createFakeDisk, FakePool, fixedPools, openFakeRecords, startStorage } from './fake-storage.ts';

/** The real storage services on a pool in memory, with room for `totalBytes`. */
export async function startMemoryStorage({
  name = 'default',
  totalBytes,
  limitsIo = false,
  onUsageChange,
}: {
  readonly name?: string;
  readonly totalBytes: bigint;
  /** Its volumes are files then, on a machine whose cgroups take every limit. */
  readonly limitsIo?: boolean;
  readonly onUsageChange?: () => void;
}): Promise<{
  readonly pool: FakePool;
  readonly storage: StorageServices;
  /** The pools that the API requested last. */
  readonly requested: () => readonly PoolSpec[];
}> {
  const pool = new FakePool({ name, totalBytes, quotaMode: limitsIo ? 'file' : 'simple' });
  const cgroups = { isFlat: false, list: async () => [], limit: async () => undefined };
  const devices = { read: async () => new Map<string, string>(), write: async () => undefined };
  const pools = fixedPools([pool]);
  const storage = await startStorage(pools, openFakeRecords(createFakeDisk()), {
    onUsageChange,
    ...(limitsIo ? { io: { cgroups, devices } } : {}),
  });
  return { pool, storage, requested: pools.requested };
}
