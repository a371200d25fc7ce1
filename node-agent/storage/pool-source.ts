import { randomUUID } from 'node:crypto';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import { formatBytes } from '../../src/core/quantity.ts';
import { runCommand } from '../../src/runtime/child-process.ts';
import type { Kernel } from '../linux/kernel.ts';
import { readMountTable } from '../linux/mount-table.ts';

/** btrfs needs about 109 MiB for its first chunks; below this there is nothing left to give. */
const MIN_POOL_BYTES = 256n << 20n;
const SUPERBLOCK_OFFSET = 64 * 1024;
const MAGIC_OFFSET = 0x40;
const MAGIC = '_BHRfS_M';

export interface FileSource {
  readonly pool: string;
  readonly file: string;
  readonly sizeBytes: bigint;
  /** Whether this pool was in service before: then its file has to be there. */
  readonly known: boolean;
}

/**
 * Ensures the sparse file of a pool, with btrfs on it. A new file gets its filesystem under another name, so that a file of that name
 * is always whole, and one that exists is never formatted.
 */
export async function ensurePoolFile({ pool, file, sizeBytes, known }: FileSource): Promise<void> {
  if (await exists(file)) {
    await requireBtrfs(pool, file);
    return;
  }
  if (known) {
    throw new Fault(
      'precondition',
      `pool ${pool}: its file ${file} is gone; put it back, or remove the pool's record to start with an empty pool`,
      { fields: { pool, file } },
    );
  }
  if (sizeBytes < MIN_POOL_BYTES) {
    throw new Fault(
      'invalid',
      `pool ${pool}: ${formatBytes(sizeBytes)} is too small for btrfs; give it ${formatBytes(MIN_POOL_BYTES)} or more`,
      { fields: { pool, sizeBytes } },
    );
  }
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const unfinished = `${file}.new`;
  await rm(unfinished, { force: true });
  {
    await using handle = await open(unfinished, 'wx', 0o600);
    await handle.truncate(Number(sizeBytes));
    await runCommand('mkfs.btrfs', [
      '--quiet',
      '--nodiscard',
      '--label',
      'keelson',
      '--uuid',
      randomUUID(),
      unfinished,
    ]);
    await handle.sync();
  }
  await rename(unfinished, file);
  await using directory = await open(dirname(file), 'r');
  await directory.sync();
}

async function requireBtrfs(pool: string, file: string): Promise<void> {
  await using handle = await open(file, 'r');
  const found = Buffer.alloc(MAGIC.length);
  await handle.read(found, 0, found.length, SUPERBLOCK_OFFSET + MAGIC_OFFSET);
  if (found.toString('latin1') === MAGIC) return;
  throw new Fault(
    'precondition',
    `pool ${pool}: ${file} exists and holds no btrfs; it is left alone: name another file, or remove this one`,
    { fields: { pool, file } },
  );
}

/** Ensures that `file` is mounted at `mountPoint`. What the mount is, is checked by the pool's marker and not here. */
export async function ensurePoolMounted(
  { pool, file, mountPoint }: { readonly pool: string; readonly file: string; readonly mountPoint: string },
  { kernel }: { readonly kernel: Kernel },
): Promise<void> {
  await mkdir(mountPoint, { recursive: true, mode: 0o700 });
  const present = await mountedAt(mountPoint);
  if (present !== undefined) {
    const backing = await kernel.call('readLoopBacking', present);
    const { dev, ino } = await stat(file, { bigint: true });
    if (backing?.dev === dev && backing.ino === ino) return;
    throw new Fault(
      'precondition',
      `pool ${pool}: ${present} is mounted at ${mountPoint}, and that is not ${file}`,
      {
        fields: { pool, file, mountPoint },
      },
    );
  }
  const device = await kernel.call('attachLoop', file);
  try {
    await kernel.call('mountFilesystem', device.path, mountPoint, 'btrfs', '');
  } finally {
    await kernel.call('closeLoop', { fd: device.fd });
  }
}

/** The device that is mounted at `mountPoint`, if any. */
export async function mountedAt(mountPoint: string): Promise<string | undefined> {
  return (await readMountTable()).findLast((entry) => entry.mountPoint === mountPoint)?.source;
}

/** Where a pool with a file is mounted. */
export function poolMountPoint(stateDir: string, pool: string): string {
  return join(stateDir, 'pools', pool);
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
