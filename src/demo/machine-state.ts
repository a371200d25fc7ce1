import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../runtime/child-process.ts';
import { cgroupRoots } from '../../node-agent/linux/process/cgroups.ts';
import { readMountTable } from '../../node-agent/linux/files/mount-table.ts';
import { listProcesses, readProcess } from './processes.ts';

export const RESOURCE_KINDS = [
  'mount',
  'loop device',
  'network interface',
  'network namespace',
  'nft table',
  'route',
  'rule',
  'process',
  'cgroup',
  'file',
] as const;
export type ResourceKind = (typeof RESOURCE_KINDS)[number];

/** A resource that a program could leave behind; `key` identifies it. */
export interface Resource {
  readonly kind: ResourceKind;
  readonly key: string;
  /** Identifies its owner: a path, a command line, a name. */
  readonly trace: string;
}

/** Directories outside of the node's, where its files could appear. */
const WATCHED_DIRECTORIES = [
  '/run',
  '/run/containerd',
  '/run/netns',
  '/etc/cni',
  '/opt/cni',
  '/var/lib/cni',
  '/var/tmp',
  '/tmp',
];

/** Returns all resources, without this process and its short-lived children. */
export async function readMachine(signal?: AbortSignal): Promise<Resource[]> {
  const found = await Promise.all([
    mounts(),
    loopDevices(),
    ipObjects('network interface', ['link'], linkName, signal),
    ipObjects('route', ['route', 'show', 'table', 'all'], (line) => line, signal),
    ipObjects('rule', ['rule'], (line) => line, signal),
    networkNamespaces(signal),
    nftTables(signal),
    processes(),
    cgroups(),
    files(),
  ]);
  return found.flat();
}

/** Returns loop devices and their files. */
export async function readLoopDevices(): Promise<{ readonly device: string; readonly file: string }[]> {
  const names = (await readdir('/sys/block')).filter((name) => name.startsWith('loop'));
  const devices = await Promise.all(
    names.map(async (name) => {
      const file = await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => undefined);
      return file === undefined ? undefined : { device: `/dev/${name}`, file: file.trimEnd() };
    }),
  );
  return devices.filter((device) => device !== undefined);
}

async function mounts(): Promise<Resource[]> {
  return (await readMountTable()).map(({ mountPoint, source, type }) => ({
    kind: 'mount',
    key: `${mountPoint} (${type} from ${source})`,
    trace: mountPoint,
  }));
}

async function loopDevices(): Promise<Resource[]> {
  return (await readLoopDevices()).map(({ device, file }) => ({
    kind: 'loop device',
    key: `${device} on ${file}`,
    trace: file,
  }));
}

async function ipObjects(
  kind: ResourceKind,
  args: readonly string[],
  name: (line: string) => string,
  signal: AbortSignal | undefined,
): Promise<Resource[]> {
  const listings = await Promise.all(
    (kind === 'network interface' ? ['-4'] : ['-4', '-6']).map((family) =>
      runCommand('ip', [family, '-oneline', ...args], { signal, accept: [1, 2, 255] }),
    ),
  );
  return (
    listings
      .flatMap(({ stdout }) => stdout.split('\n'))
      .filter((line) => line !== '')
      // The remaining lifetime is not part of the identity.
      .map((line) => line.replace(/ expires \d+sec/, '').trimEnd())
      .map((line) => ({ kind, key: name(line), trace: name(line) }))
  );
}

/** Parses `veth0` of `7: veth0@if2: <FLAGS> ...`. */
function linkName(line: string): string {
  return /^\d+: ([^:@]+)/.exec(line)?.[1] ?? line;
}

interface NamespaceListing {
  readonly namespaces: readonly {
    readonly ns: number | string;
    readonly pid: number | string | null;
    readonly nsfs: string | null;
    readonly command: string | null;
  }[];
}

/** Traced by their holders: the kernel reuses the numbers of namespaces. */
async function networkNamespaces(signal: AbortSignal | undefined): Promise<Resource[]> {
  const args = ['--type', 'net', '--json', '--output', 'NS,PID,NSFS,COMMAND'];
  const { stdout } = await runCommand('lsns', args, { signal, accept: [1] });
  const { namespaces } = JSON.parse(stdout || '{"namespaces":[]}') as NamespaceListing;
  return await Promise.all(
    namespaces.map(async ({ ns, pid, nsfs, command }): Promise<Resource> => {
      const holder = pid === null ? undefined : await readProcess(Number(pid));
      const trace = [nsfs ?? '', command ?? '', ...(holder?.cgroups ?? [])].join(' ');
      return { kind: 'network namespace', key: `net:[${ns}]`, trace };
    }),
  );
}

async function nftTables(signal: AbortSignal | undefined): Promise<Resource[]> {
  const { stdout } = await runCommand('nft', ['list', 'tables'], { signal });
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => ({ kind: 'nft table', key: line, trace: line }));
}

async function processes(): Promise<Resource[]> {
  return (await listProcesses())
    .filter(({ pid, program }) => pid !== process.pid && program !== '')
    .map(({ pid, startTicks, program, args, cgroups: paths }) => ({
      kind: 'process',
      key: `${pid} ${program} (started at tick ${startTicks})`,
      trace: [...args, ...paths].join(' '),
    }));
}

async function cgroups(): Promise<Resource[]> {
  const groups = await Promise.all(
    (await cgroupRoots()).map(async (root) => {
      const entries = await readdir(root, { withFileTypes: true }).catch(() => []);
      return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(root, name));
    }),
  );
  return groups.flat().map((path) => ({ kind: 'cgroup', key: path, trace: path }));
}

async function files(): Promise<Resource[]> {
  const entries = await Promise.all(
    WATCHED_DIRECTORIES.map(async (directory) =>
      (await readdir(directory).catch(() => [])).map((name) => join(directory, name)),
    ),
  );
  return entries.flat().map((path) => ({ kind: 'file', key: path, trace: path }));
}
