import { mkdir, open, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Fault } from '../../../src/core/fault.ts';
import { PROBE_BYTES, probeFilesystem } from '../../../src/core/volumes/filesystem-probe.ts';
import { formatBytes } from '../../../src/core/kube-text/quantity.ts';
import type { FsType } from '../../../src/core/volumes/volume.ts';
import { putInPlace } from '../../linux/files/file-copy.ts';
import { LEAST_POOL_BYTES, makePoolFilesystem } from './pool-filesystem.ts';
import { absent } from '../../linux/files/absent.ts';

export interface FileSource {
  readonly pool: string;
  readonly file: string;
  readonly sizeBytes: bigint;
  /** Whether the pool was in service before: then its file must exist. */
  readonly known: boolean;
  /** File systems that the pool supports; a new file gets the first. */
  readonly types: readonly FsType[];
}

/**
 * Ensures the sparse file of a pool with at least `sizeBytes`, and returns its file system type. A
 * new file is formatted under another name, so that a file of the final name is complete; an
 * existing file is never formatted.
 */
export async function ensurePoolFile(source: FileSource): Promise<FsType> {
  const { pool, file, sizeBytes, known, types } = source;
  const present = await stat(file, { bigint: true }).catch(absent);
  if (present !== undefined) {
    const type = await requireFilesystem(source);
    if (present.size < sizeBytes) await growFile(file, sizeBytes);
    return type;
  }
  if (known) {
    throw new Fault(
      'precondition',
      `pool ${pool}: file ${file} does not exist; restore it, or remove the pool's record to start with an empty pool`,
      { fields: { pool, file } },
    );
  }
  const type = types.find((candidate) => sizeBytes >= LEAST_POOL_BYTES[candidate]);
  if (type === undefined) {
    const least = LEAST_POOL_BYTES[types.at(-1) ?? 'btrfs'];
    throw new Fault(
      'invalid',
      `pool ${pool}: ${formatBytes(sizeBytes)} is too small for ${types.join(' or ')}; expected ${formatBytes(least)} or more`,
      { fields: { pool, sizeBytes } },
    );
  }
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const unfinished = `${file}.new`;
  await rm(unfinished, { force: true });
  {
    await using handle = await open(unfinished, 'wx', 0o600);
    await handle.truncate(Number(sizeBytes));
    await makePoolFilesystem(type, [unfinished]);
    await handle.sync();
  }
  await putInPlace(unfinished, file);
  return type;
}

async function requireFilesystem({ pool, file, types }: FileSource): Promise<FsType> {
  await using handle = await open(file, 'r');
  const head = Buffer.alloc(PROBE_BYTES);
  await handle.read(head, 0, head.length, 0);
  const found = probeFilesystem(head)?.type;
  if (found !== undefined && types.includes(found)) return found;
  throw new Fault(
    'precondition',
    `pool ${pool}: ${file} exists with ${found ?? 'no known file system'}, expected ${types.join(' or ')}; it was not changed: use another file, or remove this one`,
    { fields: { pool, file } },
  );
}

/** Grows the file by a hole; its device and file system grow when the pool is mounted. */
async function growFile(file: string, sizeBytes: bigint): Promise<void> {
  await using handle = await open(file, 'r+');
  await handle.truncate(Number(sizeBytes));
  await handle.sync();
}
