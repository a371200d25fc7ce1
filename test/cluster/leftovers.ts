import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { cgroupRoots } from '../../node-agent/linux/process/cgroups.ts';
import { readMountTable } from '../../node-agent/linux/files/mount-table.ts';
import { isWithin } from '../../src/core/volumes/mount-table.ts';
import { listProcesses } from '../../src/demo/processes.ts';
import { findLoopDevices } from './loop-devices.ts';

export interface Belongings {
  readonly directory: string;
  /** What the names of its cgroups begin with. */
  readonly cgroupPrefix: string;
  readonly hostLink: string;
}

/**
 * Everything on this machine that is the cluster's, in words; empty when nothing is. Its directory
 * is looked at last by its caller.
 */
export async function findLeftovers({ directory, cgroupPrefix, hostLink }: Belongings): Promise<string[]> {
  const [processes, mounts, cgroups, loops, link] = await Promise.all([
    processesOf(directory, cgroupPrefix),
    readMountTable(),
    cgroupsOf(cgroupPrefix),
    findLoopDevices(directory),
    exists(join('/sys/class/net', hostLink)),
  ]);
  return [
    ...processes,
    ...mounts
      .filter(({ mountPoint }) => isWithin(mountPoint, directory))
      .map(({ mountPoint }) => `mount ${mountPoint}`),
    ...cgroups,
    ...loops.map((name) => `loop device ${name}`),
    ...(link ? [`network interface ${hostLink}`] : []),
  ];
}

/** By their cgroup; those that started them are outside of it, and name the directory. */
async function processesOf(directory: string, cgroupPrefix: string): Promise<string[]> {
  const starters = ['unshare', 'nsenter', 'dash', 'sh'];
  return (await listProcesses())
    .filter(
      ({ program, args, cgroups }) =>
        cgroups.some((path) => path.startsWith(`/${cgroupPrefix}`)) ||
        (starters.includes(program) && args.some((arg) => isWithin(arg, directory))),
    )
    .map(({ pid, program }) => `process ${pid} (${program})`);
}

async function cgroupsOf(prefix: string): Promise<string[]> {
  const found = await Promise.all(
    (await cgroupRoots()).map(async (root) =>
      (await readdir(root))
        .filter((name) => name.startsWith(prefix))
        .map((name) => `cgroup ${join(root, name)}`),
    ),
  );
  return found.flat();
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
