import { access, constants, readFile, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Fault } from '../core/fault.ts';
import { runCommand } from '../runtime/child-process.ts';
import { cgroupRoots } from '../../node-agent/linux/process/cgroups.ts';
import type { MachineFacts, Requirements, Trial } from './preflight.ts';

interface ProbeOptions {
  /** Directory of the data; may not exist yet. */
  readonly dataDir: string;
  /** Value of PATH. */
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
}

/** `su` and some services have no sbin directories in PATH. */
const SYSTEM_PATH = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'];

/**
 * Probes the machine by trials. Interfaces and tables are tried in a temporary network namespace;
 * only loaded kernel modules remain.
 */
export async function probeMachine(requirements: Requirements, options: ProbeOptions): Promise<MachineFacts> {
  const { dataDir, signal } = options;
  const [filesystems, loopDevices, veth, nftables, cgroups, programs, freeBytes] = await Promise.all([
    probeFilesystems(requirements.filesystems, signal),
    tryCommand('losetup', ['--find'], signal),
    tryInNamespace(['ip', 'link', 'add', 'probe0', 'type', 'veth', 'peer', 'name', 'probe1'], signal),
    tryInNamespace(
      ['nft', 'add table inet probe; add map inet probe m { type ipv4_addr : verdict; }'],
      signal,
    ),
    probeCgroups(),
    findPrograms(requirements, options.path),
    freeSpace(dataDir),
  ]);
  return {
    isRoot: process.getuid?.() === 0,
    nodeVersion: process.version,
    filesystems,
    loopDevices,
    veth,
    nftables,
    cgroups,
    programs,
    dataDir,
    freeBytes,
  };
}

async function probeFilesystems(
  wanted: readonly string[],
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const present = async (): Promise<string[]> =>
    (await readFile('/proc/filesystems', 'utf8')).split('\n').map((line) => line.split('\t')[1] ?? '');
  const before = await present();
  const missing = wanted.filter((type) => !before.includes(type));
  if (missing.length === 0) return before;
  for (const type of missing) await tryCommand('modprobe', ['--quiet', type], signal);
  return await present();
}

function tryInNamespace(command: readonly string[], signal: AbortSignal | undefined): Promise<Trial> {
  return tryCommand('unshare', ['--net', ...command], signal);
}

async function tryCommand(
  file: string,
  args: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Trial> {
  try {
    await runCommand(file, args, { signal, timeoutMs: 10_000 });
    return { works: true };
  } catch (error) {
    signal?.throwIfAborted();
    return { works: false, reason: Fault.from(error).message };
  }
}

async function probeCgroups(): Promise<Trial> {
  const roots = await cgroupRoots();
  if (roots.length === 0) return { works: false, reason: 'no cgroup hierarchy is mounted' };
  for (const root of roots) {
    // root gets EROFS on a read-only mount.
    const writable = await access(root, constants.W_OK).then(
      () => true,
      () => false,
    );
    if (!writable) return { works: false, reason: `${root} is read-only` };
  }
  return { works: true };
}

async function findPrograms({ programs }: Requirements, path: string): Promise<Record<string, string>> {
  const directories = [...path.split(':').filter((directory) => directory !== ''), ...SYSTEM_PATH];
  const found = await Promise.all(
    programs.map(async ({ program }): Promise<[string, string] | undefined> => {
      const candidates = program.startsWith('/')
        ? [program]
        : directories.map((directory) => join(directory, program));
      for (const candidate of candidates) {
        const executable = await access(candidate, constants.X_OK).then(
          () => true,
          () => false,
        );
        if (executable) return [program, candidate];
      }
      return undefined;
    }),
  );
  return Object.fromEntries(found.filter((entry) => entry !== undefined));
}

/** Returns the free space of the nearest existing directory. */
async function freeSpace(directory: string): Promise<bigint> {
  try {
    const { bavail, bsize } = await statfs(directory, { bigint: true });
    return bavail * bsize;
  } catch (error) {
    if (directory === '/') throw error;
    return await freeSpace(dirname(directory));
  }
}
