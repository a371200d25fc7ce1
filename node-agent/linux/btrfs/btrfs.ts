import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { openBeneath } from '../files/beneath.ts';
import * as uapi from './btrfs-ioctl.ts';
import { checked, libc, SysError } from '../libc/libc.ts';

const SUPER_MAGIC = 0x9123683e;

/** Usage and limit of one quota group, in bytes. `id` holds the level in its top 16 bits. */
interface Qgroup {
  readonly id: bigint;
  readonly referencedBytes: bigint;
  /** Undefined for no limit. */
  readonly limitBytes: bigint | undefined;
}

type QuotaMode = 'simple' | 'classic';

/** Returns the file system's UUID; undefined if `fd` is not on btrfs. */
export function readBtrfsUuid(fd: number): string | undefined {
  if (statfsSync(`/proc/self/fd/${fd}`).type !== SUPER_MAGIC) return undefined;
  const info = Buffer.alloc(1024);
  uapi.ioctl(fd, uapi.FS_INFO, info, 'BTRFS_IOC_FS_INFO');
  const hex = info.toString('hex', 16, 32);
  return [8, 12, 16, 20, 32]
    .map((end, index, ends) => hex.slice(index === 0 ? 0 : ends[index - 1], end))
    .join('-');
}

/**
 * Enables quotas; they may be enabled already. `simple` throws SysError where the kernel does not
 * support simple quotas.
 */
export function enableQuota(fd: number, mode: QuotaMode): void {
  const command = mode === 'simple' ? uapi.QUOTA_ENABLE_SIMPLE : uapi.QUOTA_ENABLE;
  uapi.ioctl(fd, uapi.QUOTA_CTL, uapi.words(command, 0n), `BTRFS_IOC_QUOTA_CTL ${mode}`);
}

/** Waits until a rescan of classic quotas ends. */
export function waitForQuotaRescan(fd: number): void {
  uapi.ioctl(fd, uapi.QUOTA_RESCAN_WAIT, null, 'BTRFS_IOC_QUOTA_RESCAN_WAIT');
}

/** Starts a rescan of classic quotas. Returns false if one was running. */
export function startQuotaRescan(fd: number): boolean {
  try {
    uapi.ioctl(fd, uapi.QUOTA_RESCAN, Buffer.alloc(64), 'BTRFS_IOC_QUOTA_RESCAN');
    return true;
  } catch (error) {
    if (error instanceof SysError && error.code === 'EINPROGRESS') return false;
    throw error;
  }
}

/**
 * Creates the subvolume `name` in the directory `parent` below `root`. Throws SysError EEXIST for
 * an existing name.
 */
export function createSubvolume(root: number, parent: string, name: string): void {
  using directory = openBeneath(root, parent);
  uapi.ioctl(
    directory.fd,
    uapi.SUBVOL_CREATE_V2,
    uapi.volArgs({ name }),
    `BTRFS_IOC_SUBVOL_CREATE_V2 ${name}`,
  );
}

/**
 * Creates the snapshot `name` of the subvolume `source` in `parent`, all below `root`, with all
 * completed writes.
 */
export function snapshotSubvolume(
  root: number,
  source: string,
  parent: string,
  name: string,
  { readonly }: { readonly readonly: boolean },
): void {
  using from = openBeneath(root, source);
  using directory = openBeneath(root, parent);
  const args = uapi.volArgs({ name, fd: from.fd, flags: readonly ? uapi.SUBVOL_RDONLY : 0n });
  uapi.ioctl(directory.fd, uapi.SNAP_CREATE_V2, args, `BTRFS_IOC_SNAP_CREATE_V2 ${name}`);
}

/**
 * Destroys the subvolume `path` below `root` and all subvolumes nested in it. Returns whether it
 * existed.
 */
export function destroySubvolume(root: number, path: string): boolean {
  const id = readSubvolumeId(root, path);
  if (id === undefined) return false;
  destroyById(root, id);
  return true;
}

/** Destroys nested subvolumes first: unprivileged pods can create them in their volumes. */
function destroyById(root: number, id: bigint): void {
  for (const nested of readNestedSubvolumes(root, id)) destroyById(root, nested);
  uapi.ioctl(root, uapi.SNAP_DESTROY_V2, uapi.volArgsById(id), `BTRFS_IOC_SNAP_DESTROY_V2 ${id}`);
}

/**
 * Returns the id of the subvolume whose root directory is `path` below `root`; undefined for an
 * absent path.
 */
export function readSubvolumeId(root: number, path: string): bigint | undefined {
  try {
    using subvolume = openBeneath(root, path);
    const args = Buffer.alloc(4096);
    args.writeBigUInt64LE(uapi.FIRST_FREE_OBJECTID, 8);
    uapi.ioctl(subvolume.fd, uapi.INO_LOOKUP, args, 'BTRFS_IOC_INO_LOOKUP');
    return args.readBigUInt64LE(0);
  } catch (error) {
    if (error instanceof SysError && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Lists the ids of the subvolumes whose directory entry is in subvolume `id`. */
export function readNestedSubvolumes(root: number, id: bigint): bigint[] {
  const within = { tree: uapi.ROOT_TREE, objectid: id, type: uapi.ROOT_REF_KEY };
  return [...searchTree(root, within)].map(({ offset }) => offset);
}

/** Creates a quota group; it may exist already. */
export function createQgroup(fd: number, id: bigint): void {
  ignoring('EEXIST', () => {
    uapi.ioctl(fd, uapi.QGROUP_CREATE, uapi.words(1n, id), `BTRFS_IOC_QGROUP_CREATE ${id}`);
  });
}

/** Removes a quota group; it may be absent. Returns false while its last extents are not freed. */
export function removeQgroup(fd: number, id: bigint): boolean {
  try {
    ignoring('ENOENT', () => {
      uapi.ioctl(fd, uapi.QGROUP_CREATE, uapi.words(0n, id), `BTRFS_IOC_QGROUP_CREATE ${id}`);
    });
    return true;
  } catch (error) {
    if (error instanceof SysError && error.code === 'EBUSY') return false;
    throw error;
  }
}

/** Assigns the group `child` to `parent`; it may be assigned already. */
export function assignQgroup(fd: number, child: bigint, parent: bigint): void {
  ignoring('EEXIST', () => {
    uapi.ioctl(
      fd,
      uapi.QGROUP_ASSIGN,
      uapi.words(1n, child, parent),
      `BTRFS_IOC_QGROUP_ASSIGN ${child} ${parent}`,
    );
  });
}

/** Limits the bytes that the group may reference. */
export function limitQgroup(fd: number, id: bigint, limitBytes: bigint): void {
  const args = uapi.words(id, uapi.QGROUP_LIMIT_MAX_RFER, limitBytes, 0n, 0n, 0n);
  uapi.ioctl(fd, uapi.QGROUP_LIMIT, args, `BTRFS_IOC_QGROUP_LIMIT ${id}`);
}

/**
 * Lists all quota groups of the file system of `root`; none while quotas are disabled. Reads the
 * quota tree in a few calls: sysfs has three files per group. The kernel updates both when it
 * commits a transaction.
 */
export function readQgroups(root: number): Qgroup[] {
  const find = (type: number): SearchedItem[] =>
    ignoring('ENOENT', () => [...searchTree(root, { tree: uapi.QUOTA_TREE, objectid: 0n, type })]) ?? [];
  const limits = new Map(
    find(uapi.QGROUP_LIMIT_KEY).flatMap(({ offset, data }) => {
      const isLimited = (data.readBigUInt64LE(0) & uapi.QGROUP_LIMIT_MAX_RFER) !== 0n;
      return isLimited ? [[offset, data.readBigUInt64LE(8)] as const] : [];
    }),
  );
  return find(uapi.QGROUP_INFO_KEY).map(({ offset: id, data }) => ({
    id,
    // The key follows the transaction number.
    referencedBytes: data.readBigUInt64LE(8),
    limitBytes: limits.get(id),
  }));
}

interface SearchedItem {
  readonly offset: bigint;
  readonly data: Buffer;
}

const SEARCH_KEY_BYTES = 104;
const SEARCH_HEADER_BYTES = 32;
const LARGEST = 2n ** 64n - 1n;

/**
 * Lists the items of one object and type in a tree, by offset. Throws SysError ENOENT for an absent
 * tree.
 */
function* searchTree(
  root: number,
  { tree, objectid, type }: { readonly tree: bigint; readonly objectid: bigint; readonly type: number },
): Generator<SearchedItem> {
  for (let from = 0n; from <= LARGEST; ) {
    const args = Buffer.alloc(4096);
    // tree, objectid from and to, offset from and to, transaction from and to
    uapi.words(tree, objectid, objectid, from, LARGEST, 0n, LARGEST).copy(args);
    args.writeUInt32LE(type, 56);
    args.writeUInt32LE(type, 60);
    args.writeUInt32LE(4096, 64);
    uapi.ioctl(root, uapi.TREE_SEARCH, args, 'BTRFS_IOC_TREE_SEARCH');
    const items = args.readUInt32LE(64);
    if (items === 0) return;
    let position = SEARCH_KEY_BYTES;
    for (let item = 0; item < items; item += 1) {
      const offset = args.readBigUInt64LE(position + 16);
      const start = position + SEARCH_HEADER_BYTES;
      position = start + args.readUInt32LE(position + 28);
      from = offset + 1n;
      yield { offset, data: args.subarray(start, position) };
    }
  }
}

/** State of enabled quotas. */
interface QuotaState {
  readonly mode: QuotaMode;
  /** Classic quotas that need a rescan: limits are not enforced. */
  readonly inconsistent: boolean;
}

/**
 * Returns the state of quotas; undefined while they are disabled. In sysfs, `enabled` and
 * `inconsistent` exist since Linux 6.1, `mode` since 6.7.
 */
export function readQuotaState(fsUuid: string): QuotaState | undefined {
  const directory = `/sys/fs/btrfs/${fsUuid}/qgroups`;
  const read = (file: string): string | undefined => readOrNone(`${directory}/${file}`)?.trim();
  // Before 6.1, only the directory exists while quotas are enabled.
  if (!existsSync(directory) || read('enabled') === '0') return undefined;
  const mode = read('mode') === 'squota' ? 'simple' : 'classic';
  return { mode, inconsistent: read('inconsistent') === '1' };
}

function readOrNone(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Writes all data of the file system to disk, as syncfs(2) does. */
export function syncFilesystem(fd: number): void {
  checked(libc.syncfs(fd) as number, 'syncfs');
}

/** Returns undefined if `work` throws the SysError `code`. */
function ignoring<T>(code: string, work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof SysError && error.code === code) return undefined;
    throw error;
  }
}
