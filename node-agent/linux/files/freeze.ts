import { closeSync, constants, openSync } from 'node:fs';
import { checked, libc, SysError } from '../libc/libc.ts';

/** include/uapi/linux/fs.h. */
const FIFREEZE = 0xc0045877;
const FITHAW = 0xc0045878;

/**
 * Freezes the file system mounted at `mountPoint`: flushes completed writes and blocks writers.
 * Returns false if it was frozen already by another process.
 */
export function freezeFilesystem(mountPoint: string): boolean {
  return onDirectory(mountPoint, FIFREEZE, 'FIFREEZE', 'EBUSY');
}

/** Thaws the file system. Returns false if it was not frozen. */
export function thawFilesystem(mountPoint: string): boolean {
  return onDirectory(mountPoint, FITHAW, 'FITHAW', 'EINVAL');
}

function onDirectory(path: string, request: number, name: string, already: string): boolean {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    checked(libc.ioctlNumber(fd, request, 0) as number, name, path);
    return true;
  } catch (error) {
    if (error instanceof SysError && error.code === already) return false;
    throw error;
  } finally {
    closeSync(fd);
  }
}
