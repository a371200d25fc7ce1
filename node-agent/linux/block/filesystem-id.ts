import { libc } from '../libc/libc.ts';
import { readBtrfsUuid } from '../btrfs/btrfs.ts';

/**
 * include/uapi/linux/fs.h, FS_IOC_GETFSUUID: Linux 6.9 for most, 5.18 for ext4 by a number of its
 * own.
 */
const FS_IOC_GETFSUUID = 0x80111500;

/**
 * UUID of the file system that `fd` is on; undefined where it has none, or the kernel does not
 * tell.
 */
export function readFilesystemUuid(fd: number): string | undefined {
  const btrfs = readBtrfsUuid(fd);
  if (btrfs !== undefined) return btrfs;
  const answer = Buffer.alloc(17);
  if ((libc.ioctl(fd, FS_IOC_GETFSUUID, answer) as number) !== 0 || answer[0] !== 16) return undefined;
  const hex = answer.toString('hex', 1);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
