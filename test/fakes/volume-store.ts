import type { VolumeStore } from '../../node-agent/kube/local-volumes.ts';
import { createStorage } from '../../node-agent/storage/storage.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { FakePool, openFakeInventory, createFakeDisk } from './fake-storage.ts';

/** The real storage service on a pool in memory, with room for `totalBytes`. */
export async function startMemoryStorage({
  name = 'default',
  totalBytes,
}: {
  readonly name?: string;
  readonly totalBytes: bigint;
}): Promise<{
  readonly pool: FakePool;
  readonly storage: VolumeStore & Awaited<ReturnType<typeof createStorage>>;
}> {
  const pool = new FakePool({ name, totalBytes });
  const storage = await createStorage([pool], openFakeInventory(createFakeDisk()), { logger: silentLogger });
  return { pool, storage };
}
