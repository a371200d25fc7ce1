import { open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Replaces `path` so that after any crash or power cut it holds either the old or the new text, and
 * after return the new one. `sync` must sync the directory of `path` by a run that begins after it
 * is called: writers of one directory can share it.
 */
export async function writeDurably(
  path: string,
  text: string,
  sync = (): Promise<void> => syncDirectory(dirname(path)),
): Promise<void> {
  const temporary = `${path}.tmp`;
  {
    await using file = await open(temporary, 'w', 0o600);
    await file.writeFile(text);
    await file.sync();
  }
  await rename(temporary, path);
  await sync();
}

/** Removes `path` for good; absent is fine. `sync` is as for `writeDurably`. */
export async function removeDurably(
  path: string,
  sync = (): Promise<void> => syncDirectory(dirname(path)),
): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  await sync();
}

/** What was created, renamed or removed in `path` is so after a power cut too. */
export async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r');
  await directory.sync();
}
