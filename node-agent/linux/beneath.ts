import { constants } from 'node:fs';
import { checked, libc } from './libc.ts';

/** openat2 has the same number on every architecture (the unified table since Linux 5.1). */
const SYS_OPENAT2 = 437;
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_NO_SYMLINKS = 0x04;
const RESOLVE_BENEATH = 0x08;
const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;

/** An open file; disposing closes it. */
export interface OpenFile extends Disposable {
  readonly fd: number;
}

/** Owns a descriptor that the kernel gave us: Node has not seen it open, and would complain about closing it. */
export function ownFd(fd: number): OpenFile {
  return { fd, [Symbol.dispose]: () => void libc.close(fd) };
}

/**
 * Opens `path` below the directory `root`, following no symbolic link at any depth and never leaving `root` (openat2(2)): whatever
 * a pod planted in its volume, it is not followed. Throws SysError: ELOOP for a link, EXDEV for a way out.
 */
export function openBeneath(
  root: number,
  path: string,
  flags: number = constants.O_RDONLY | constants.O_DIRECTORY,
): OpenFile {
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS), 16);
  const opened = Number(libc.openat2(SYS_OPENAT2, root, path, how, how.length));
  const fd = checked(opened, 'openat2', path);
  return ownFd(fd);
}
