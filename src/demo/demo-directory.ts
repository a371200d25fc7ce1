import { lstat, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Fault } from '../core/fault.ts';
import { endProcess, runCommand } from '../runtime/child-process.ts';
import { retry } from '../runtime/retry.ts';
import { removeContainerdRemains } from './containerd.ts';
import { readLoopDevices } from './machine-state.ts';
import { findForeignMounts, unmountCopies } from './mount-copies.ts';
import { isWithin } from '../core/volumes/mount-table.ts';
import { readMountTable } from '../../node-agent/linux/files/mount-table.ts';
import { unmountWithin } from '../../node-agent/linux/files/unmount-within.ts';
import { isSameProcess, listProcesses, readProcess } from './processes.ts';

const PREFIX = 'keelson-demo-';

/** Content of `demo.json`, by which later runs find this one. */
interface DemoRecord {
  readonly owner: { readonly pid: number; readonly startTicks: string };
  /** `--keep`: only `--clean` removes it. */
  readonly kept: boolean;
  readonly podRange: string;
}

/** Creates the directory of one run; its base name is also the name of the cgroup. */
export async function createDemoDirectory(base: string): Promise<string> {
  return await mkdtemp(join(base, PREFIX));
}

/** Writes the owner first, so that the next run recognises a killed one. */
export async function writeDemoRecord(
  directory: string,
  { kept, podRange }: Omit<DemoRecord, 'owner'>,
): Promise<void> {
  const self = await readProcess(process.pid);
  if (self === undefined) throw new Fault('bug', 'this process is not in /proc');
  const record: DemoRecord = { owner: { pid: self.pid, startTicks: self.startTicks }, kept, podRange };
  await writeFile(join(directory, 'demo.json'), `${JSON.stringify(record)}\n`);
}

/** A run writes its record within this time after creating its directory. */
const RECORD_GRACE_MS = 10_000;

interface FoundDemo {
  readonly directory: string;
  readonly state: 'running' | 'kept' | 'stale';
  readonly podRange: string | undefined;
}

/** Returns the runs under `base`. Skips directories that root does not own: /var/tmp is shared. */
export async function findDemos(base: string): Promise<FoundDemo[]> {
  const names = (await readdir(base)).filter((name) => name.startsWith(PREFIX));
  const found = await Promise.all(names.map((name) => inspect(join(base, name))));
  return found.filter((demo) => demo !== undefined);
}

async function inspect(directory: string): Promise<FoundDemo | undefined> {
  const stats = await lstat(directory).catch(() => undefined);
  if (stats?.isDirectory() !== true || stats.uid !== 0 || (stats.mode & 0o022) !== 0) return undefined;
  const record = await readDemoRecord(directory);
  if (record === undefined) {
    const state = Date.now() - stats.ctimeMs < RECORD_GRACE_MS ? 'running' : 'stale';
    return { directory, state, podRange: undefined };
  }
  const { owner, kept, podRange } = record;
  const running = await isSameProcess(owner.pid, owner.startTicks);
  return { directory, state: running ? 'running' : kept ? 'kept' : 'stale', podRange };
}

async function readDemoRecord(directory: string): Promise<DemoRecord | undefined> {
  try {
    return JSON.parse(await readFile(join(directory, 'demo.json'), 'utf8')) as DemoRecord;
  } catch {
    // Killed before or during the write.
    return undefined;
  }
}

/**
 * Programs of a run; others with its directory in their arguments (editor, `tail`) belong to users.
 */
const PROGRAMS = ['node', 'containerd', 'ctr', 'runc', 'keelson-cni'];

/**
 * Removes a run: processes, cgroup, mounts, loop devices, network namespaces, files. Idempotent.
 * Rejects with `busy` and keeps the files while something is mounted in the directory.
 */
export async function removeDemo(directory: string): Promise<void> {
  const name = basename(directory);
  const own = (await listProcesses()).filter(
    ({ pid, program, args }) =>
      pid !== process.pid && PROGRAMS.includes(program) && args.some((arg) => arg.includes(`${directory}/`)),
  );
  await Promise.all(own.map(({ pid }) => endProcess(pid)));
  await removeContainerdRemains(join(directory, 'c'), name);
  await unmountWithin(directory);
  for (const { device, file } of await readLoopDevices()) {
    if (file.startsWith(`${directory}/`)) await runCommand('losetup', ['--detach', device], { accept: [1] });
  }
  // Repeated: new mount namespaces copy the mounts of existing ones.
  const release = async (): Promise<void> => {
    await unmountCopies(directory);
    await checkReleased(directory);
  };
  await retry(release, { attempts: 50, baseMs: 20, maxMs: 200 });
  await rm(directory, { recursive: true, force: true });
}

async function checkReleased(directory: string): Promise<void> {
  const mount = (await readMountTable()).find(({ mountPoint }) => isWithin(mountPoint, directory));
  const loop = (await readLoopDevices()).find(({ file }) => file.startsWith(`${directory}/`));
  const held = mount === undefined ? loop?.device : `mount ${mount.mountPoint}`;
  if (held === undefined) return;
  const holders = await mountHolders(directory);
  const by = holders.length === 0 ? '' : ` in the mount namespace of ${holders.join(', ')}`;
  throw new Fault('busy', `cannot remove ${directory}: ${held} is in use${by}; stop that process`);
}

/** Returns processes of other mount namespaces with mounts below `directory`, as `PID PROGRAM`. */
async function mountHolders(directory: string): Promise<string[]> {
  return (await findForeignMounts(directory)).map(({ pid, program }) => `${pid} ${program}`);
}
