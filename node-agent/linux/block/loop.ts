import { closeSync, constants, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { setReadOnly } from './block-device.ts';
import { checked, libc, SysError } from '../libc/libc.ts';

/** Kernel interface of loop devices: include/uapi/linux/loop.h. */
const LOOP_CLR_FD = 0x4c01;
const LOOP_SET_STATUS64 = 0x4c04;
const LOOP_GET_STATUS64 = 0x4c05;
const LOOP_SET_CAPACITY = 0x4c07;
const LOOP_CONFIGURE = 0x4c0a;
const LOOP_CTL_GET_FREE = 0x4c82;
const LO_FLAGS_AUTOCLEAR = 4;
const LO_FLAGS_DIRECT_IO = 16;
const INFO64_BYTES = 232;
const CONFIG_BYTES = 304;
const INFO_FLAGS_OFFSET = 52;
const INFO_NAME_OFFSET = 56;
const NAME_BYTES = 64;
/** Opened read-only: closing a device that was open for writing makes udev probe it again. */
const LOOK = constants.O_RDONLY;

/** An attached loop device. */
interface LoopDevice {
  readonly path: string;
  readonly directIo: boolean;
  /** Whether the device was attached to this file before the call. */
  readonly reused: boolean;
  /** Keeps the device attached until it is mounted; pass it to `closeLoop` then. */
  readonly fd: number;
}

interface AttachOptions {
  /** Whether the kernel detaches the device at its last close; otherwise `detachLoop` does. */
  readonly autoclear: boolean;
}

/**
 * Attaches `file`, which must not be a symbolic link, to a loop device in one step (LOOP_CONFIGURE,
 * Linux 5.8), with direct I/O where the file allows it. Reuses a device of the same inode, so that
 * a file never has two page caches.
 */
export function attachLoop(file: string, { autoclear }: AttachOptions = { autoclear: true }): LoopDevice {
  const backing = openBacking(file);
  try {
    const existing = findLoop(file);
    if (existing !== undefined) {
      if (!autoclear) keepAttached(existing);
      return existing;
    }
    const control = openSync('/dev/loop-control', constants.O_RDWR);
    try {
      for (;;) {
        const index = checked(libc.ioctlNumber(control, LOOP_CTL_GET_FREE, 0) as number, 'LOOP_CTL_GET_FREE');
        const device = configure(`/dev/loop${index}`, backing, file, autoclear);
        if (device !== undefined) return device;
      }
    } finally {
      closeSync(control);
    }
  } finally {
    closeSync(backing);
  }
}

/**
 * Clears the autoclear flag of a reused device, and closes the device on failure. A device that is
 * detached while another process (udev) has it open is only marked for autoclear; without this it
 * would detach under its next user, and its number could be reused for another file.
 */
function keepAttached({ path, fd }: LoopDevice): void {
  try {
    const info = Buffer.alloc(INFO64_BYTES);
    checked(libc.ioctl(fd, LOOP_GET_STATUS64, info) as number, 'LOOP_GET_STATUS64', path);
    const flags = info.readUInt32LE(INFO_FLAGS_OFFSET);
    if ((flags & LO_FLAGS_AUTOCLEAR) === 0) return;
    info.writeUInt32LE(flags & ~LO_FLAGS_AUTOCLEAR, INFO_FLAGS_OFFSET);
    checked(libc.ioctl(fd, LOOP_SET_STATUS64, info) as number, 'LOOP_SET_STATUS64', path);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * With direct I/O the kernel takes the sector size of the underlying disk (4 KiB on some), not 512.
 */
function openBacking(file: string): number {
  const flags = constants.O_RDWR | constants.O_NOFOLLOW;
  try {
    return openSync(file, flags | constants.O_DIRECT);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
    return openSync(file, flags);
  }
}

function configure(path: string, backing: number, file: string, autoclear: boolean): LoopDevice | undefined {
  const fd = openSync(path, constants.O_RDWR);
  const common = autoclear ? LO_FLAGS_AUTOCLEAR : 0;
  for (const flags of [common | LO_FLAGS_DIRECT_IO, common]) {
    const config = Buffer.alloc(CONFIG_BYTES);
    config.writeUInt32LE(backing, 0);
    config.writeUInt32LE(flags, 8 + INFO_FLAGS_OFFSET);
    config.write(file.slice(-(NAME_BYTES - 1)), 8 + INFO_NAME_OFFSET, NAME_BYTES - 1, 'utf8');
    if ((libc.ioctl(fd, LOOP_CONFIGURE, config) as number) === 0) {
      // A device keeps the read-only flag of its earlier user.
      setReadOnly(path, false);
      return { path, directIo: (readFlags(fd) & LO_FLAGS_DIRECT_IO) !== 0, reused: false, fd };
    }
    const failure = lastError('LOOP_CONFIGURE', path);
    // Another process attached the free device first: request another one.
    if (failure.code === 'EBUSY') {
      closeSync(fd);
      return undefined;
    }
    if (failure.code !== 'EINVAL' || flags === common) {
      closeSync(fd);
      throw failure;
    }
  }
  return undefined;
}

function lastError(syscall: string, subject: string): SysError {
  try {
    checked(-1, syscall, subject);
  } catch (error) {
    if (error instanceof SysError) return error;
  }
  return new SysError(syscall, 0, subject);
}

/**
 * Returns the attached loop device whose backing file is the inode of `file`, kept open; undefined
 * without one, and for an absent file.
 */
export function findLoop(file: string): LoopDevice | undefined {
  const backing = statSync(file, { bigint: true, throwIfNoEntry: false });
  if (backing === undefined) return undefined;
  const { dev, ino } = backing;
  for (const name of readdirSync('/sys/block')) {
    // Other devices are not opened: that would delay their detaching.
    if (!name.startsWith('loop') || backingName(name) !== basename(file)) continue;
    const path = `/dev/${name}`;
    let fd: number;
    try {
      fd = openSync(path, LOOK);
    } catch {
      continue;
    }
    const info = Buffer.alloc(INFO64_BYTES);
    const known = (libc.ioctl(fd, LOOP_GET_STATUS64, info) as number) === 0;
    if (known && info.readBigUInt64LE(0) === dev && info.readBigUInt64LE(8) === ino) {
      return {
        path,
        directIo: (info.readUInt32LE(INFO_FLAGS_OFFSET) & LO_FLAGS_DIRECT_IO) !== 0,
        reused: true,
        fd,
      };
    }
    closeSync(fd);
  }
  return undefined;
}

/** Returns the path of the loop device of `file`; undefined without one, and for an absent file. */
export function findLoopPath(file: string): string | undefined {
  const device = findLoop(file);
  if (device !== undefined) closeSync(device.fd);
  return device?.path;
}

/**
 * Returns the number of the loop device of `file`, as `MAJOR:MINOR`; undefined without one, and for
 * an absent file.
 */
export function findLoopNumber(file: string): string | undefined {
  const path = findLoopPath(file);
  if (path === undefined) return undefined;
  try {
    return readFileSync(`/sys/block/${basename(path)}/dev`, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Closes a device; the kernel detaches an autoclear device once it is not mounted. */
export function closeLoop({ fd }: { readonly fd: number }): void {
  closeSync(fd);
}

/** Detaches the device now, or when its last user closes it; its number can then be reused. */
export function detachLoop(path: string): void {
  setReadOnly(path, false);
  const fd = openSync(path, LOOK);
  try {
    checked(libc.ioctlNumber(fd, LOOP_CLR_FD, 0) as number, 'LOOP_CLR_FD', path);
  } finally {
    closeSync(fd);
  }
}

/** Grows the device to the current size of its file, also in use. */
export function refreshLoopCapacity(path: string): void {
  const fd = openSync(path, LOOK);
  try {
    checked(libc.ioctlNumber(fd, LOOP_SET_CAPACITY, 0) as number, 'LOOP_SET_CAPACITY', path);
  } finally {
    closeSync(fd);
  }
}

function readFlags(fd: number): number {
  const info = Buffer.alloc(INFO64_BYTES);
  checked(libc.ioctl(fd, LOOP_GET_STATUS64, info) as number, 'LOOP_GET_STATUS64');
  return info.readUInt32LE(INFO_FLAGS_OFFSET);
}

/** Returns the file name of the device's backing file; undefined for a detached device. */
function backingName(name: string): string | undefined {
  try {
    const path = readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trimEnd();
    return path === '' ? undefined : basename(path);
  } catch {
    return undefined;
  }
}

/**
 * Returns device and inode of an attached loop device's backing file; undefined for other devices.
 */
export function readLoopBacking(path: string): { readonly dev: bigint; readonly ino: bigint } | undefined {
  if (!/^\/dev\/loop\d+$/.test(path)) return undefined;
  const fd = openSync(path, LOOK);
  try {
    const info = Buffer.alloc(INFO64_BYTES);
    if ((libc.ioctl(fd, LOOP_GET_STATUS64, info) as number) !== 0) return undefined;
    return { dev: info.readBigUInt64LE(0), ino: info.readBigUInt64LE(8) };
  } finally {
    closeSync(fd);
  }
}
