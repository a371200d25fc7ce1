import type { VolumeStore } from '../../node-agent/kube/local-volumes.ts';
import type { PoolKeeper } from '../../node-agent/kube/storage-pools.ts';
import { createStorage, type VolumeService } from '../../node-agent/storage/storage.ts';
import type { PoolSpec } from '../../src/core/pools/pool.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { FakePool, openFakeInventory, createFakeDisk } from './fake-storage.ts';

/** The real storage service on a pool in memory, with room for `totalBytes`. */
export async function startMemoryStorage({
  name = 'default',
  totalBytes,
  limitsIo = false,
}: {
  readonly name?: string;
  readonly totalBytes: bigint;
  /** Its volumes are files then, on a machine whose cgroups take every limit. */
  readonly limitsIo?: boolean;
}): Promise<{
  readonly pool: FakePool;
  readonly storage: VolumeStore & PoolKeeper & VolumeService;
  /** What the API wished for last. */
  readonly wanted: () => readonly PoolSpec[];
}> {
  const pool = new FakePool({ name, totalBytes, quotaMode: limitsIo ? 'file' : 'simple' });
  const cgroups = { isFlat: false, list: async () => [], limit: async () => undefined };
  const devices = { read: async () => new Map<string, string>(), write: async () => undefined };
  const storage = await createStorage([pool], openFakeInventory(createFakeDisk()), {
    logger: silentLogger,
    ...(limitsIo ? { io: { cgroups, devices } } : {}),
  });
  let wanted: readonly PoolSpec[] = [];
  return {
    pool,
    wanted: () => wanted,
    storage: {
      ...storage,
      async wantPools(specs) {
        wanted = specs;
      },
    },
  };
}
