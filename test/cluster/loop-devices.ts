import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../../src/runtime/child-process.ts';
import { waitFor } from './wait.ts';

interface LoopDevice {
  readonly name: string;
  /** Inode number and device of its file: its path is that of a mount namespace which may be gone. */
  readonly file: string;
}

/** The loop devices on files beneath `directory`, whatever name the one that attached them knew the file by. */
export async function findLoopDevices(directory: string): Promise<string[]> {
  const devices = await listLoopDevices();
  if (devices.length === 0) return [];
  const files = await listFiles(directory);
  return devices.filter(({ file }) => files.has(file)).map(({ name }) => name);
}

/** Detaches every loop device on a file beneath `directory`, as a reboot does, and waits until the last file system on them is gone. */
export async function detachLoopDevices(directory: string): Promise<void> {
  const detach = async (): Promise<true | undefined> => {
    const names = await findLoopDevices(directory);
    for (const name of names) await runCommand('losetup', ['--detach', name], { accept: [1] });
    return names.length === 0 ? true : undefined;
  };
  await waitFor(`loop devices on ${directory} are detached`, detach, { timeoutMs: 60_000 });
}

async function listLoopDevices(): Promise<LoopDevice[]> {
  const columns = 'NAME,BACK-INO,BACK-MAJ:MIN';
  const { stdout } = await runCommand('losetup', ['--list', '--json', '--output', columns]);
  if (stdout.trim() === '') return [];
  const { loopdevices } = JSON.parse(stdout) as { readonly loopdevices: readonly Record<string, unknown>[] };
  // Numbers or padded text: that differs between releases of util-linux.
  return loopdevices.map((device) => ({
    name: String(device['name']),
    file: `${String(device['back-ino']).trim()}@${String(device['back-maj:min']).trim()}`,
  }));
}

async function listFiles(directory: string): Promise<Set<string>> {
  const found = new Set<string>();
  const visit = async (path: string): Promise<void> => {
    // Images and their unpacked files belong to containerd, which attaches none of them.
    const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const child = join(path, entry.name);
      if (entry.isDirectory() && child !== join(directory, 'containerd')) await visit(child);
      if (!entry.isFile()) continue;
      const { ino, dev } = await lstat(child, { bigint: true }).catch(() => ({ ino: 0n, dev: 0n }));
      found.add(`${ino}@${majorMinor(dev)}`);
    }
  };
  await visit(directory);
  return found;
}

/** The two halves of a device number, as glibc's `makedev` packs them. */
function majorMinor(device: bigint): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn);
  return `${major}:${minor}`;
}
