import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../../src/runtime/child-process.ts';
import { waitFor } from './wait.ts';

interface LoopDevice {
  readonly name: string;
  /**
   * Inode number and device of its file: its path is that of a mount namespace which may no longer
   * exist.
   */
  readonly file: string;
  /** That path, which still ends as it did. */
  readonly path: string;
}

/** What is known of the files of one directory. */
interface Files {
  /** As those of `LoopDevice`. */
  readonly files: ReadonlySet<string>;
  /** Ids of the volumes that Keelson has a record of there. */
  readonly volumes: ReadonlySet<string>;
}

const VOLUME_ID = /^vol-[0-9a-f]+/;

/**
 * The loop devices on files beneath `directory`, whatever their path at the time; those on volumes
 * of pools in such a file, which are invisible when the machine is off; and those that kubelet
 * attaches to each device of a pod.
 */
export async function findLoopDevices(directory: string): Promise<string[]> {
  const devices = await listLoopDevices();
  if (devices.length === 0) return [];
  const { files, volumes } = await listFiles(directory);
  const isOfVolume = ({ path }: LoopDevice): boolean =>
    path.split('/').some((part) => volumes.has(VOLUME_ID.exec(part)?.[0] ?? ''));
  const found = devices.filter((device) => files.has(device.file) || isOfVolume(device));
  const nodes = new Set(await Promise.all(found.map(({ name }) => fileOf(name))));
  const above = devices.filter((device) => nodes.has(device.file) && !found.includes(device));
  return [...above, ...found].map(({ name }) => name);
}

/**
 * Detaches every loop device on a file beneath `directory`, as a reboot does, and waits until their
 * last file system is unmounted.
 */
export async function detachLoopDevices(directory: string): Promise<void> {
  const detach = async (): Promise<true | undefined> => {
    const names = await findLoopDevices(directory);
    for (const name of names) await runCommand('losetup', ['--detach', name], { accept: [1] });
    return names.length === 0 ? true : undefined;
  };
  await waitFor(`loop devices on ${directory} are detached`, detach, { timeoutMs: 60_000 });
}

async function listLoopDevices(): Promise<LoopDevice[]> {
  const columns = 'NAME,BACK-INO,BACK-MAJ:MIN,BACK-FILE';
  const { stdout } = await runCommand('losetup', ['--list', '--json', '--output', columns]);
  if (stdout.trim() === '') return [];
  const { loopdevices } = JSON.parse(stdout) as { readonly loopdevices: readonly Record<string, unknown>[] };
  // Numbers or padded text: that differs between releases of util-linux.
  return loopdevices.map((device) => ({
    name: String(device['name']),
    file: `${String(device['back-ino']).trim()}@${String(device['back-maj:min']).trim()}`,
    path: String(device['back-file']),
  }));
}

async function listFiles(directory: string): Promise<Files> {
  const files = new Set<string>();
  const volumes = new Set<string>();
  const visit = async (path: string): Promise<void> => {
    // Images and their unpacked files belong to containerd, which attaches none of them.
    const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const child = join(path, entry.name);
      if (entry.isDirectory() && child !== join(directory, 'containerd')) await visit(child);
      if (!entry.isFile()) continue;
      files.add(await fileOf(child));
      const volume = VOLUME_ID.exec(entry.name)?.[0];
      if (volume !== undefined) volumes.add(volume);
    }
  };
  await visit(directory);
  return { files, volumes };
}

async function fileOf(path: string): Promise<string> {
  const { ino, dev } = await lstat(path, { bigint: true }).catch(() => ({ ino: 0n, dev: 0n }));
  return `${ino}@${majorMinor(dev)}`;
}

/** The two halves of a device number, as glibc's `makedev` packs them. */
function majorMinor(device: bigint): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn);
  return `${major}:${minor}`;
}
