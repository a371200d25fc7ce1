import { libc } from '../libc/libc.ts';
import { readBtrfsUuid } from '../btrfs/btrfs.ts';

/**
 * include/uapi/linux/fs.h, FS_IOC_GETFSUUID: since Linux 6.9; ext4 has its own number since 5.18.
 */
const FS_IOC_GETFSUUID = 0x80111500;

/**
 * Returns the UUID of the file system of `fd`; undefined if it has none or the kernel does not
 * report it.
 */
export function readFilesystemUuid(fd: number): string | undefined {
  const btrfs = readBtrfsUuid(fd);
  if (btrfs !== undefined) return btrfs;
  const answer = Buffer.alloc(17);
  if ((libc.ioctl(fd, FS_IOC_GETFSUUID, answer) as number) !== 0 || answer[0] !== 16) return undefined;
  const hex = answer.toString('hex', 1);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
