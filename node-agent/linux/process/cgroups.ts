import { readdir, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../../src/core/fault.ts';
import { retry } from '../../../src/runtime/retry.ts';
import { sendSignal } from '../../../src/runtime/child-process.ts';
import { readMountTable } from '../files/mount-table.ts';

/** Where the hierarchies are mounted: one of version 2, or one a controller of version 1. */
export async function cgroupRoots(): Promise<string[]> {
  const mounts = await readMountTable();
  return mounts
    .filter(({ type }) => type === 'cgroup' || type === 'cgroup2')
    .map(({ mountPoint }) => mountPoint);
}

/** The directories of the top-level cgroup `name` that exist, one a hierarchy. */
export async function findCgroup(name: string): Promise<string[]> {
  const found = await Promise.all(
    (await cgroupRoots()).map(async (root) =>
      (await readdir(root)).includes(name) ? join(root, name) : undefined,
    ),
  );
  return found.filter((directory) => directory !== undefined);
}

/**
 * Kills what is left in the top-level cgroup `name` and removes it with all below it, in every
 * hierarchy.
 */
export async function removeCgroup(name: string): Promise<void> {
  for (const directory of await findCgroup(name)) {
    await retry(() => removeTree(directory), { attempts: 40, baseMs: 10, maxMs: 100 });
  }
}

async function removeTree(directory: string): Promise<void> {
  const children = (await readdir(directory, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  for (const child of children) await removeTree(join(directory, child.name));
  const pids = (await readFile(join(directory, 'cgroup.procs'), 'utf8'))
    .split('\n')
    .filter((pid) => pid !== '');
  for (const pid of pids) sendSignal(Number(pid), 'SIGKILL');
  await rmdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT')
      throw new Fault('busy', `cgroup ${directory} cannot be removed yet`, { cause: error });
  });
}
