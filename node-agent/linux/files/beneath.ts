import { constants } from 'node:fs';
import { checked, libc } from '../libc/libc.ts';

/** openat2 has the same number on every architecture (the unified table since Linux 5.1). */
const SYS_OPENAT2 = 437;
const RESOLVE_NO_XDEV = 0x01;
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_NO_SYMLINKS = 0x04;
const RESOLVE_BENEATH = 0x08;
const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
const END = Buffer.alloc(1);

/** An open file. Disposing closes it. */
export interface OpenFile extends Disposable {
  readonly fd: number;
}

/**
 * Owns a descriptor from a system call: Node does not know it, and would warn when it closes it.
 */
export function ownFd(fd: number): OpenFile {
  return { fd, [Symbol.dispose]: () => void libc.close(fd) };
}

/**
 * Opens `path` below the directory `root` without following symbolic links or leaving `root`
 * (openat2(2)), whatever a pod creates in its volume. Throws SysError: ELOOP for a link, EXDEV for
 * a path out of `root`.
 */
export function openBeneath(
  root: number,
  path: string,
  flags: number = constants.O_RDONLY | constants.O_DIRECTORY,
): OpenFile {
  return openat2(root, path, flags, RESOLVE_BENEATH);
}

/**
 * Opens the entry `name` of `directory`, as bytes; with `O_PATH` and `O_NOFOLLOW` a symbolic link
 * itself. Throws SysError EXDEV for a mount point; nested btrfs subvolumes are not mount points.
 */
export function openEntry(directory: number, name: Buffer, flags: number): OpenFile {
  // The call reads a NUL-terminated string.
  return openat2(directory, Buffer.concat([name, END]), flags, RESOLVE_BENEATH | RESOLVE_NO_XDEV);
}

/**
 * Opens the current parent of `directory` with `O_PATH`. Throws SysError EXDEV at the root of a
 * mount.
 */
export function openParent(directory: number): OpenFile {
  return openat2(directory, '..', O_PATH | constants.O_DIRECTORY, RESOLVE_NO_XDEV);
}

function openat2(directory: number, path: string | Buffer, flags: number, resolve: number): OpenFile {
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(resolve | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS), 16);
  const opened = Number(libc.openat2(SYS_OPENAT2, directory, path, how, how.length));
  return ownFd(checked(opened, 'openat2', path.toString()));
}
