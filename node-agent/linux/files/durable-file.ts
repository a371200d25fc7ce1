import { open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Replaces `path` atomically: after a crash or power cut it holds the old or the new text, after
 * return the new one. `sync` must sync the directory of `path` in a run that starts after the call,
 * so that concurrent writers can share a run.
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

/** Removes `path` durably; it may be absent. `sync` is as for `writeDurably`. */
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

/** Makes all created, renamed and removed entries of the directory `path` durable. */
export async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r');
  await directory.sync();
}
