import { readFile, readlink } from 'node:fs/promises';
import { runCommand } from '../runtime/child-process.ts';
import { isWithin, parseMountTable } from '../core/volumes/mount-table.ts';
import { listProcesses } from './processes.ts';

interface ForeignMounts {
  /** One process of the mount namespace. */
  readonly pid: number;
  readonly program: string;
  /** In the order in which they were made. */
  readonly targets: readonly string[];
}

/** The other mount namespaces that have mounts at or beneath `directory`. */
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
 * Unmounts what is at or beneath `directory` in other mount namespaces. Whoever makes one (unshare(1), a sandboxed service) gets a copy of
 * every mount, which keeps the device busy as long as the namespace lives; its owner has no use for ours.
 */
export async function unmountCopies(directory: string): Promise<void> {
  for (const { pid, targets } of await findForeignMounts(directory)) {
    for (const target of targets.toReversed()) {
      const umount = ['umount', '--no-mtab', '--lazy', target];
      // A namespace that ends meanwhile, or has no umount, is judged by what it still holds afterwards.
      await runCommand('nsenter', [`--mount=/proc/${pid}/ns/mnt`, '--', ...umount], {
        accept: [1, 32, 126, 127],
      });
    }
  }
}
