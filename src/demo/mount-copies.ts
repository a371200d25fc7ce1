import { readFile, readlink } from 'node:fs/promises';
import { runCommand } from '../runtime/child-process.ts';
import { isWithin, parseMountTable } from '../core/volumes/mount-table.ts';
import { listProcesses } from './processes.ts';

interface ForeignMounts {
  /** One process of the mount namespace. */
  readonly pid: number;
  readonly program: string;
  /** In the order of their creation. */
  readonly targets: readonly string[];
}

/** Returns other mount namespaces with mounts at or below `directory`. */
export async function findForeignMounts(directory: string): Promise<ForeignMounts[]> {
  const seen = new Set([await readlink('/proc/self/ns/mnt')]);
  const found: ForeignMounts[] = [];
  for (const { pid, program } of await listProcesses()) {
    const namespace = await readlink(`/proc/${pid}/ns/mnt`).catch(() => undefined);
    if (namespace === undefined || seen.has(namespace)) continue;
    seen.add(namespace);
    const mounts = parseMountTable(await readFile(`/proc/${pid}/mountinfo`, 'utf8').catch(() => ''));
    const targets = mounts
      .map(({ mountPoint }) => mountPoint)
      .filter((target) => isWithin(target, directory));
    if (targets.length > 0) found.push({ pid, program, targets });
  }
  return found;
}

/**
 * Unmounts everything at or below `directory` in other mount namespaces. A new mount namespace
 * (unshare(1), a sandboxed service) copies every mount, and the copies keep devices busy.
 */
export async function unmountCopies(directory: string): Promise<void> {
  for (const { pid, targets } of await findForeignMounts(directory)) {
    for (const target of targets.toReversed()) {
      const umount = ['umount', '--no-mtab', '--lazy', target];
      // Ignores namespaces that end meanwhile or have no umount; the caller checks again.
      await runCommand('nsenter', [`--mount=/proc/${pid}/ns/mnt`, '--', ...umount], {
        accept: [1, 32, 126, 127],
      });
    }
  }
}
