import { checked, libc } from '../libc/libc.ts';

/** Kernel interface numbers and layouts of btrfs: include/uapi/linux/btrfs.h and btrfs_tree.h. */
const MAGIC = 0x94;
const WRITE = 1;
const READ = 2;

function request(direction: number, number: number, size: number): number {
  return ((direction << 30) | (size << 16) | (MAGIC << 8) | number) >>> 0;
}

const VOL_ARGS_BYTES = 4096;

export const TREE_SEARCH = request(READ | WRITE, 17, 4096);
export const INO_LOOKUP = request(READ | WRITE, 18, 4096);
export const SNAP_CREATE_V2 = request(WRITE, 23, VOL_ARGS_BYTES);
export const SUBVOL_CREATE_V2 = request(WRITE, 24, VOL_ARGS_BYTES);
export const START_SYNC = request(READ, 24, 8);
export const SUBVOL_GETFLAGS = request(READ, 25, 8);
export const SUBVOL_SETFLAGS = request(WRITE, 26, 8);
export const FS_INFO = request(READ, 31, 1024);
export const QUOTA_CTL = request(READ | WRITE, 40, 16);
export const QGROUP_ASSIGN = request(WRITE, 41, 24);
export const QGROUP_CREATE = request(WRITE, 42, 16);
export const QGROUP_LIMIT = request(READ, 43, 48);
export const QUOTA_RESCAN = request(WRITE, 44, 64);
export const QUOTA_RESCAN_WAIT = request(0, 46, 0);
export const GET_SUBVOL_INFO = request(READ, 60, 504);
export const SNAP_DESTROY_V2 = request(WRITE, 63, VOL_ARGS_BYTES);

export const SUBVOL_RDONLY = 1n << 1n;
const SUBVOL_SPEC_BY_ID = 1n << 4n;
const SUBVOL_NAME_MAX = 4039;

export const QUOTA_ENABLE = 1n;
export const QUOTA_ENABLE_SIMPLE = 4n;
export const QGROUP_LIMIT_MAX_RFER = 1n;

/**
 * Offset in `struct btrfs_ioctl_get_subvol_info_args` of the transaction that created the
 * subvolume.
 */
export const SUBVOL_INFO_BYTES = 504;
export const SUBVOL_INFO_OTRANSID = 352;

/** Inode number of every subvolume's root directory. */
export const FIRST_FREE_OBJECTID = 256n;
export const ROOT_TREE = 1n;
export const ROOT_REF_KEY = 156;
export const QUOTA_TREE = 8n;
export const QGROUP_INFO_KEY = 242;
export const QGROUP_LIMIT_KEY = 244;

export function ioctl(fd: number, number: number, argument: Buffer | null, what: string): void {
  checked(libc.ioctl(fd, number, argument) as number, what);
}

/** Encodes `struct btrfs_ioctl_vol_args_v2` for a name in the directory `fd`. */
export function volArgs({
  name,
  fd = 0,
  flags = 0n,
}: {
  readonly name: string;
  readonly fd?: number;
  readonly flags?: bigint;
}): Buffer {
  const args = Buffer.alloc(VOL_ARGS_BYTES);
  args.writeBigInt64LE(BigInt(fd), 0);
  args.writeBigUInt64LE(flags, 16);
  args.write(name, 56, SUBVOL_NAME_MAX, 'utf8');
  return args;
}

/** Encodes the same structure for a subvolume id. */
export function volArgsById(id: bigint): Buffer {
  const args = Buffer.alloc(VOL_ARGS_BYTES);
  args.writeBigUInt64LE(SUBVOL_SPEC_BY_ID, 16);
  args.writeBigUInt64LE(id, 56);
  return args;
}

export function words(...values: readonly bigint[]): Buffer {
  const buffer = Buffer.alloc(values.length * 8);
  values.forEach((value, index) => {
    buffer.writeBigUInt64LE(value, index * 8);
  });
  return buffer;
}
