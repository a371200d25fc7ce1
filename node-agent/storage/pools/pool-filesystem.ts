import { randomUUID } from 'node:crypto';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { BackendKind } from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { FsType } from '../../../src/core/volumes/volume.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';
import { SysError } from '../../linux/libc/libc.ts';
import { readMountTable } from '../../linux/files/mount-table.ts';
import { growFilesystem } from '../backends/image/volume-filesystem.ts';

/**
 * btrfs needs about 109 MiB for its first chunks, mkfs.xfs 300 MiB; smaller pools have no usable
 * space.
 */
export const LEAST_POOL_BYTES: Readonly<Record<FsType, bigint>> = {
  btrfs: 256n << 20n,
  xfs: 512n << 20n,
  ext4: 64n << 20n,
};

/** Label of pool file systems: devices with another label are never taken for a pool's. */
export const POOL_LABEL = 'keelson';

/**
 * File systems that a pool of this backend supports, the best first. Images need a file system that
 * can share data between files: XFS fragments them less than btrfs.
 */
export async function poolFilesystems(
  backend: BackendKind,
  { kernel }: { readonly kernel: Kernel },
): Promise<readonly FsType[]> {
  const all = POOL_FILESYSTEMS[backend];
  const present: FsType[] = [];
  for (const type of all) if (await kernel.call('knowsFilesystem', type)) present.push(type);
  return present.length === 0 ? all : present;
}

const POOL_FILESYSTEMS: Readonly<Record<BackendKind, readonly FsType[]>> = {
  btrfs: ['btrfs'],
  image: ['xfs', 'btrfs', 'ext4'],
  // A kernel without quota support cannot mount an ext4 that was created with it.
  directory: ['xfs'],
};

/** Returns the mount options to try for a pool's file system, the best first. */
export function poolMountOptions(backend: BackendKind): readonly string[] {
  return backend === 'directory' ? ['prjquota', ''] : [''];
}

/** Mounts the file system of a pool with the first of `options` that the kernel accepts. */
export async function mountPool(
  { device, mountPoint, type, options }: Omit<PoolMount, 'pool' | 'file'> & { readonly device: string },
  { kernel }: { readonly kernel: Kernel },
): Promise<void> {
  const [data = '', ...others] = options;
  try {
    await kernel.call('mountFilesystem', device, mountPoint, type, data);
  } catch (error) {
    if (others.length === 0 || !(error instanceof SysError && error.code === 'EINVAL')) throw error;
    await mountPool({ device, mountPoint, type, options: others }, { kernel });
  }
}

/** Creates the file system of a pool on a file or devices, which destroys their content. */
export async function makePoolFilesystem(type: FsType, on: readonly string[]): Promise<void> {
  const [program, ...args] = MAKE[type](on.length);
  await runCommand(program, [...args, ...on], { timeoutMs: 600_000 });
}

const MAKE: Readonly<Record<FsType, (devices: number) => readonly [string, ...string[]]>> = {
  btrfs: (devices) => [
    'mkfs.btrfs',
    '--quiet',
    '--nodiscard',
    '--label',
    POOL_LABEL,
    '--uuid',
    randomUUID(),
    ...(devices > 1 ? ['--data', 'single', '--metadata', 'raid1'] : []),
  ],
  xfs: () => ['mkfs.xfs', '-q', '-K', '-L', POOL_LABEL, '-m', 'reflink=1', '-s', 'size=4096'],
  ext4: () => ['mkfs.ext4', '-q', '-F', '-m', '0', '-L', POOL_LABEL, '-E', 'nodiscard'],
};

export interface PoolMount {
  readonly pool: string;
  readonly file: string;
  readonly mountPoint: string;
  readonly type: FsType;
  readonly options: readonly string[];
}

/**
 * Ensures that `file` is mounted at `mountPoint` in its full size. The pool's marker identifies it.
 */
export async function ensurePoolFileMounted(
  { pool, file, mountPoint, type, options }: PoolMount,
  { kernel }: { readonly kernel: Kernel },
): Promise<void> {
  await mkdir(mountPoint, { recursive: true, mode: 0o700 });
  const present = await mountedAt(mountPoint);
  if (present !== undefined) {
    const backing = await kernel.call('readLoopBacking', present);
    const { dev, ino } = await stat(file, { bigint: true });
    if (backing?.dev !== dev || backing.ino !== ino) {
      throw new Fault(
        'precondition',
        `pool ${pool}: ${present} is mounted at ${mountPoint}, expected ${file}`,
        { fields: { pool, file, mountPoint } },
      );
    }
    await growTo(file, present, { type, mountPoint, kernel });
    return;
  }
  const device = await kernel.call('attachLoop', file);
  try {
    await mountPool({ device: device.path, mountPoint, type, options }, { kernel });
    await growTo(file, device.path, { type, mountPoint, kernel });
  } finally {
    await kernel.call('closeLoop', { fd: device.fd });
  }
}

/**
 * The file may have grown, now or at an interrupted start. Growing to the same size has no effect.
 */
async function growTo(
  file: string,
  device: string,
  {
    type,
    mountPoint,
    kernel,
  }: { readonly type: FsType; readonly mountPoint: string; readonly kernel: Kernel },
): Promise<void> {
  const { size } = await stat(file, { bigint: true });
  if ((await kernel.call('readDeviceBytes', device)) < size) await kernel.call('refreshLoopCapacity', device);
  await growFilesystem(type, device, mountPoint);
}

/** Returns the device that is mounted at `mountPoint`; undefined for none. */
export async function mountedAt(mountPoint: string): Promise<string | undefined> {
  return (await readMountTable()).findLast((entry) => entry.mountPoint === mountPoint)?.source;
}

/** Returns the mount point of a pool of source `file` or `devices`. */
export function poolMountPoint(stateDir: string, pool: string): string {
  return join(stateDir, 'pools', pool);
}
