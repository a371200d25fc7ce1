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

/** What a run says of itself in `demo.json`, for the runs after it. */
interface DemoRecord {
  readonly owner: { readonly pid: number; readonly startTicks: string };
  /** Kept on purpose: removed when asked, never as a leaving. */
  readonly kept: boolean;
  readonly podRange: string;
}

/** Makes the directory that holds everything of one run. Its base name is also the name of the run's cgroup. */
export async function createDemoDirectory(base: string): Promise<string> {
  return await mkdtemp(join(base, PREFIX));
}

/** Says whose the directory is; written first of all, so that a killed run is recognised by the next. */
export async function writeDemoRecord(
  directory: string,
  { kept, podRange }: Omit<DemoRecord, 'owner'>,
): Promise<void> {
  const self = await readProcess(process.pid);
  if (self === undefined) throw new Fault('bug', 'this process is not in /proc');
  const record: DemoRecord = { owner: { pid: self.pid, startTicks: self.startTicks }, kept, podRange };
  await writeFile(join(directory, 'demo.json'), `${JSON.stringify(record)}\n`);
}

/** A directory without a record may be that of a run which is about to write it. */
const RECORD_GRACE_MS = 10_000;

interface FoundDemo {
  readonly directory: string;
  readonly state: 'running' | 'kept' | 'stale';
  readonly podRange: string | undefined;
}

/** The runs whose directories are under `base`. Those that are not root's own are passed over: /var/tmp is everybody's. */
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
    // Killed before, or while, it was written.
    return undefined;
  }
}

/** Programs that a run starts; others that name its directory (an editor, a `tail`) are somebody's. */
const PROGRAMS = ['node', 'containerd', 'ctr', 'runc', 'keelson-cni'];

/**
 * Removes a run with all that it made: processes, cgroup, mounts, loop devices, network namespaces, files. Idempotent, and right whatever
 * is still there. Rejects with `busy`, deleting nothing, while something stays mounted in it.
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
  // Each time again: a namespace that holds copies hands them on to those made in it.
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
  const held = mount === undefined ? loop?.device : `the mount at ${mount.mountPoint}`;
  if (held === undefined) return;
  const holders = await mountHolders(directory);
  const by = holders.length === 0 ? '' : ` by a mount namespace of ${holders.join(', ')}`;
  throw new Fault('busy', `${directory} cannot be removed: ${held} is still in use${by}; end what uses it`);
}

/** The processes that see a mount below `directory`, in whatever namespace, as `PID PROGRAM`. */
async function mountHolders(directory: string): Promise<string[]> {
  return (await findForeignMounts(directory)).map(({ pid, program }) => `${pid} ${program}`);
}
