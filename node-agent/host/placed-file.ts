import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Reads a file; undefined when it is absent. */
export async function readIfPresent(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Writes `data` to `path`, with its parent directories. Readers see the old file or the new one,
 * and a running program is unaffected. Resolves to false when nothing changed.
 */
export async function placeFile(path: string, data: Uint8Array, mode: number): Promise<boolean> {
  if ((await readIfPresent(path))?.equals(data) === true) return false;
  await mkdir(dirname(path), { recursive: true });
  // Concurrent writers must not share a temporary file; a leading dot hides it from runtimes that
  // list the directory.
  const temporary = `${dirname(path)}/.keelson-${randomBytes(6).toString('hex')}`;
  try {
    {
      await using file = await open(temporary, 'wx', mode);
      await file.writeFile(data);
      // The umask applies at creation.
      await file.chmod(mode);
      await file.sync();
    }
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
  return true;
}
