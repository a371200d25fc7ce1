import { constants } from 'node:fs';
import { glob, mkdir, open, readdir, realpath, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { Fault, isFault } from '../../../src/core/fault.ts';
import { PROBE_BYTES, probeFilesystem, probeSignature } from '../../../src/core/volumes/filesystem-probe.ts';
import type { FsType } from '../../../src/core/volumes/volume.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';
import { makePoolFilesystem, mountedAt, mountPool, POOL_LABEL, type PoolMount } from './pool-filesystem.ts';
import { NO_UUID } from './pool-marker.ts';
import { absent } from '../../linux/files/absent.ts';

export interface DevicesSource {
  readonly pool: string;
  /** Paths and globs below /dev. */
  readonly devices: readonly string[];
  readonly mountPoint: string;
  /**
   * UUID of the file system that was in service under this name; NO_UUID if the kernel did not
   * report it, and the marker decides.
   */
  readonly knownUuid: string | undefined;
  readonly types: readonly FsType[];
  readonly options: readonly string[];
}

/** One device and its content. */
interface Candidate {
  readonly path: string;
  /** What was found on the device; undefined for an empty, unused one. */
  readonly found: string | undefined;
  /** Label and UUID match a file system that the agent may have created. */
  readonly ours: { readonly type: FsType; readonly uuid: string } | undefined;
}

/**
 * Ensures that the devices of a pool are mounted. Formats them if all are empty and the pool is
 * new. Never writes to a device with any signature, in use, or without zeros at both ends: throws
 * `precondition`, which names each. Adds empty devices that appear later to a btrfs.
 */
export async function ensurePoolDevices(
  source: DevicesSource,
  { kernel, logger }: { readonly kernel: Kernel; readonly logger: Logger },
): Promise<FsType> {
  const { pool, mountPoint, knownUuid, types, options } = source;
  const candidates = await readCandidates(source, { kernel });
  const isAny = knownUuid === undefined || knownUuid === NO_UUID;
  const members = candidates.filter(({ ours }) => ours !== undefined && (isAny || ours.uuid === knownUuid));
  const empty = candidates.filter(({ found }) => found === undefined);
  await mkdir(mountPoint, { recursive: true, mode: 0o700 });
  const first = members[0];
  if (first?.ours !== undefined) {
    const { type } = first.ours;
    if (!types.includes(type) || members.some(({ ours }) => ours?.uuid !== first.ours?.uuid)) {
      throw refusal(pool, 'the devices hold different file systems', candidates);
    }
    if ((await mountedAt(mountPoint)) === undefined) {
      const paths = members.map(({ path }) => path);
      await mountDevices(paths, { mountPoint, type, options }, { kernel });
    }
    if (type === 'btrfs') await addDevices(empty, { pool, mountPoint, logger });
    return type;
  }
  if (knownUuid !== undefined) {
    throw refusal(pool, `none of its devices has file system ${knownUuid} of the pool`, candidates);
  }
  if (empty.length < candidates.length || empty.length === 0) {
    throw refusal(pool, 'only whole, empty devices are formatted', candidates);
  }
  const type = types[0] ?? 'btrfs';
  if (type !== 'btrfs' && empty.length > 1) {
    throw refusal(pool, `${type} supports one device; name one, or use backend btrfs`, candidates);
  }
  const paths = empty.map(({ path }) => path);
  logger.info({ pool, devices: paths, type }, 'formatting empty devices');
  // Crash window: some devices formatted, no marker written. They have the agent's label, and are
  // mounted as they are.
  await makePoolFilesystem(type, paths);
  await mountDevices(paths, { mountPoint, type, options }, { kernel });
  return type;
}

/** Mounting a btrfs of several devices names them all. */
async function mountDevices(
  paths: readonly string[],
  { mountPoint, type, options }: Pick<PoolMount, 'mountPoint' | 'type' | 'options'>,
  { kernel }: { readonly kernel: Kernel },
): Promise<void> {
  const list = type === 'btrfs' ? paths.map((path) => `device=${path}`) : [];
  const whole = options.map((option) => [...list, option].filter((word) => word !== '').join(','));
  await mountPool({ device: paths[0] ?? '', mountPoint, type, options: whole }, { kernel });
}

async function addDevices(
  empty: readonly Candidate[],
  {
    pool,
    mountPoint,
    logger,
  }: { readonly pool: string; readonly mountPoint: string; readonly logger: Logger },
): Promise<void> {
  for (const { path } of empty) {
    logger.info({ pool, device: path }, 'adding an empty device to the pool');
    await runCommand('btrfs', ['device', 'add', '--nodiscard', path, mountPoint], { timeoutMs: 600_000 });
  }
}

async function readCandidates(
  { pool, devices }: DevicesSource,
  { kernel }: { readonly kernel: Kernel },
): Promise<Candidate[]> {
  const paths = new Set<string>();
  for (const pattern of devices) {
    for await (const path of glob(pattern)) paths.add(await realpath(path));
  }
  if (paths.size === 0) {
    throw new Fault('precondition', `pool ${pool}: no device matches ${devices.join(', ')}`, {
      fields: { pool },
    });
  }
  return await Promise.all([...paths].sort().map((path) => readCandidate(path, { kernel })));
}

async function readCandidate(path: string, { kernel }: { readonly kernel: Kernel }): Promise<Candidate> {
  if (!path.startsWith('/dev/') || !(await stat(path)).isBlockDevice()) {
    return { path, found: 'not a block device', ours: undefined };
  }
  const sizeBytes = await kernel.call('readDeviceBytes', path);
  const head = Buffer.alloc(PROBE_BYTES);
  const tail = Buffer.alloc(PROBE_BYTES);
  {
    await using device = await open(path, 'r');
    await device.read(head, 0, head.length, 0);
    const end = Number(sizeBytes) - tail.length;
    if (end > 0) await device.read(tail, 0, tail.length, end);
  }
  const type = probeFilesystem(head)?.type;
  const ours = type === undefined ? undefined : readOurs(type, head);
  if (ours !== undefined) return { path, found: `${type ?? ''} of a pool`, ours };
  const found = probeSignature(head, tail) ?? (await readUse(path)) ?? (await askBlkid(path));
  return { path, found, ours: undefined };
}

/** Offsets and lengths of label and UUID in each superblock. */
const OURS: Readonly<Record<FsType, { readonly label: readonly [number, number]; readonly uuid: number }>> = {
  btrfs: { label: [65_536 + 0x12b, 256], uuid: 65_536 + 0x20 },
  xfs: { label: [108, 12], uuid: 32 },
  ext4: { label: [1024 + 0x78, 16], uuid: 1024 + 0x68 },
};

function readOurs(type: FsType, head: Buffer): Candidate['ours'] {
  const { label, uuid } = OURS[type];
  const text = head.toString('latin1', label[0], label[0] + label[1]).replace(/\0.*$/s, '');
  if (text !== POOL_LABEL) return undefined;
  const hex = head.toString('hex', uuid, uuid + 16);
  return { type, uuid: hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5') };
}

/** Returns what uses a device without a signature: a mount, RAID, LVM or partitions. */
async function readUse(path: string): Promise<string | undefined> {
  const directory = `/sys/class/block/${basename(path)}`;
  const holders = (await readdir(`${directory}/holders`).catch(absent)) ?? [];
  if (holders.length > 0) return `in use by ${holders.join(', ')}`;
  const parts = ((await readdir(directory).catch(absent)) ?? []).filter((name) =>
    name.startsWith(basename(path)),
  );
  if (parts.length > 0) return `partitions ${parts.join(', ')}`;
  try {
    await (await open(path, constants.O_RDONLY | constants.O_EXCL)).close();
    return undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return 'in use';
    throw error;
  }
}

/**
 * blkid knows more signatures than the agent; without it, the agent's list and the zeros decide.
 */
async function askBlkid(path: string): Promise<string | undefined> {
  try {
    const { stdout, code } = await runCommand('blkid', ['--probe', '--output', 'full', path], {
      accept: [2, 8],
    });
    return code === 2 ? undefined : `a signature: ${stdout.trim().slice(0, 200)}`;
  } catch (error) {
    if (isFault(error, 'unsupported')) return undefined;
    throw error;
  }
}

function refusal(pool: string, reason: string, candidates: readonly Candidate[]): Fault {
  const found = candidates.map(({ path, found: what }) => `${path}: ${what ?? 'empty'}`).join('; ');
  return new Fault(
    'precondition',
    `cannot open pool ${pool}: ${reason}; found ${found}; nothing was written; to use a device, erase it first: wipefs --all DEVICE`,
    { fields: { pool } },
  );
}
