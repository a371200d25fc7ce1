import { checked, libc, SysError } from '../libc/libc.ts';

/** include/uapi/linux/fs.h. */
const FICLONE = 0x40049409;
const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;
const FS_NOCOW_FL = 0x00800000;
/** FALLOC_FL_PUNCH_HOLE and FALLOC_FL_KEEP_SIZE, include/uapi/linux/falloc.h. */
const PUNCH_HOLE = 3;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** Errors of file systems without reflinks, and for files on two file systems. */
const CANNOT_CLONE = ['EOPNOTSUPP', 'EXDEV', 'EINVAL', 'ENOTTY', 'ENOSYS'];

/**
 * Makes the file `to` share all data of `from` in constant time. Returns false if the file system
 * cannot.
 */
export function cloneFile(from: number, to: number): boolean {
  try {
    checked(libc.ioctlNumber(to, FICLONE, from) as number, 'FICLONE');
    return true;
  } catch (error) {
    if (error instanceof SysError && CANNOT_CLONE.includes(error.code)) return false;
    throw error;
  }
}

/**
 * Punches a hole, which reads as zeros and frees its space. Throws SysError without support for
 * holes.
 */
export function punchHole(fd: number, start: bigint, length: bigint): void {
  checked(libc.fallocate(fd, PUNCH_HOLE, start, length) as number, 'fallocate');
}

/** Returns the first stretch of data at or after `offset`; undefined if only a hole is left. */
export function findData(
  fd: number,
  offset: number,
): { readonly start: number; readonly end: number } | undefined {
  try {
    const start = checked(Number(libc.lseek(fd, offset, SEEK_DATA)), 'lseek SEEK_DATA');
    return { start, end: checked(Number(libc.lseek(fd, start, SEEK_HOLE)), 'lseek SEEK_HOLE') };
  } catch (error) {
    if (error instanceof SysError && error.code === 'ENXIO') return undefined;
    throw error;
  }
}

/**
 * Disables copy-on-write for new files in the directory `fd` on btrfs. With it, disk images
 * fragment, old and new data are both charged for a while, and direct I/O can fail checksums of
 * changing data. Returns false on other file systems.
 */
export function disableCopyOnWrite(fd: number): boolean {
  const flags = Buffer.alloc(8);
  if ((libc.ioctl(fd, FS_IOC_GETFLAGS, flags) as number) !== 0) return false;
  const before = flags.readUInt32LE(0);
  if ((before & FS_NOCOW_FL) !== 0) return true;
  flags.writeUInt32LE((before | FS_NOCOW_FL) >>> 0, 0);
  return (libc.ioctl(fd, FS_IOC_SETFLAGS, flags) as number) === 0;
}
