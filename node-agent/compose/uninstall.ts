import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { AgentConfig } from '../../src/core/config/agent-config.ts';
import { Fault } from '../../src/core/fault.ts';
import { HOST_LINK_PREFIX } from '../../src/core/network/link-plan.ts';
import { isServed } from '../../src/runtime/unix-socket.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { type CniDirectories, removeCni } from '../host/cni-files.ts';
import { type Kernel, startKernel } from '../linux/kernel/kernel.ts';
import type { MountEntry } from '../../src/core/volumes/mount-table.ts';
import { readMountTable } from '../linux/files/mount-table.ts';
import { removeNetwork } from '../network/removal.ts';

export interface UninstallOptions {
  readonly config: Pick<AgentConfig, 'stateDir' | 'runDir'>;
  readonly cni: CniDirectories;
  /** Also deletes pools in files and all records. Otherwise they stay for a later agent. */
  readonly deleteData: boolean;
}

/** The proxy's sockets do not belong to the agent: kubelet may use them. */
const NOT_OURS = /^cri(-admin)?\.sock/;

/**
 * Removes what an agent created on this node: CNI files, links, routes, firewall, sockets, mounts
 * of pools. Rejects with `conflict`, without changes, while an agent runs or a pod uses any of it.
 * Idempotent.
 */
export async function uninstallNode(
  { config, cni, deleteData }: UninstallOptions,
  { logger }: { readonly logger: Logger },
): Promise<void> {
  await using kernel = startKernel({ name: 'keelson-uninstall' });
  const mounts = await readMountTable();
  await refuseWhileUsed(config, kernel, mounts);
  await removeCni(cni);
  await removeNetwork({ stateDir: config.runDir }, { logger });
  logger.info({}, 'removed the network');
  for (const { mountPoint } of poolMounts(config.stateDir, mounts).reverse()) {
    await kernel.call('umount', mountPoint, 0);
    logger.info({ mountPoint }, 'unmounted the pool');
  }
  await emptyDirectory(config.runDir, (name) => !NOT_OURS.test(name));
  if (deleteData) {
    await emptyDirectory(config.stateDir, () => true);
    logger.info({ directory: config.stateDir }, 'deleted volumes and records');
  }
}

async function refuseWhileUsed(
  { stateDir, runDir }: UninstallOptions['config'],
  kernel: Kernel,
  mounts: readonly MountEntry[],
): Promise<void> {
  const socket = join(runDir, 'cni.sock');
  if (await isServed(socket)) {
    throw new Fault('conflict', `an agent serves ${socket}: stop it first`);
  }
  // A pod's link ends with its namespace.
  const links = await kernel.call('listLinks', HOST_LINK_PREFIX);
  if (links.length > 0) {
    throw new Fault(
      'conflict',
      `${links.length} pods on this node use Keelson's network: drain the node first`,
      { fields: { links: links.map(({ name }) => name).join(' ') } },
    );
  }
  const devices = new Set(poolMounts(stateDir, mounts).map(({ source }) => source));
  const used = mounts.find(
    ({ mountPoint, source }) => devices.has(source) && !isBeneath(mountPoint, stateDir),
  );
  if (used !== undefined) {
    throw new Fault('conflict', `a volume is in use at ${used.mountPoint}: delete its pod first`);
  }
}

function poolMounts(stateDir: string, mounts: readonly MountEntry[]): MountEntry[] {
  return mounts.filter(({ mountPoint }) => isBeneath(mountPoint, stateDir));
}

function isBeneath(path: string, directory: string): boolean {
  return path.startsWith(`${directory}/`);
}

/** The directory itself may be a mount. */
async function emptyDirectory(directory: string, select: (name: string) => boolean): Promise<void> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  for (const name of names.filter(select)) {
    await rm(join(directory, name), { recursive: true, force: true });
  }
}
