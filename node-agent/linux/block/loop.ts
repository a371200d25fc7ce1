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
/** Whoever closes a device that it could have written has udev look at it anew, each time. */
const LOOK = constants.O_RDONLY;

export interface LoopDevice {
  readonly path: string;
  readonly directIo: boolean;
  /** Backed by this file before the call already. */
  readonly reused: boolean;
  /** Keeps the device attached until it is mounted: hand it to `closeLoop` then. */
  readonly fd: number;
}

export interface AttachOptions {
  /** Whether the kernel detaches the device at its last close; without it, `detachLoop` does. */
  readonly autoclear: boolean;
}

/**
 * Attaches `file`, no symbolic link, to a loop device in one step (LOOP_CONFIGURE, Linux 5.8), with
 * direct I/O and the sector size that this needs where the file allows it. Takes the device that
 * already serves the same inode, so that one file never has two caches.
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
 * A device that somebody else (udev looks at each new one) has open while it is detached stays
 * until that one closes it, marked to go then. Who wants it back takes the mark off: else it would
 * go under its next user, and the same number could come to serve another file. Closes it when that
 * fails.
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
 * Opened for direct I/O, the kernel takes the sector size that the disk beneath needs (4 KiB on
 * some) and not 512.
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
      // A device keeps this from its last user, whoever that was.
      setReadOnly(path, false);
      return { path, directIo: (readFlags(fd) & LO_FLAGS_DIRECT_IO) !== 0, reused: false, fd };
    }
    const failure = lastError('LOOP_CONFIGURE', path);
    // Someone else took the free device first: ask for another.
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
 * The attached loop device whose backing file is the inode of `file`, kept open; undefined when
 * there is none, or no such file.
 */
export function findLoop(file: string): LoopDevice | undefined {
  const backing = statSync(file, { bigint: true, throwIfNoEntry: false });
  if (backing === undefined) return undefined;
  const { dev, ino } = backing;
  for (const name of readdirSync('/sys/block')) {
    // Devices of others are not even opened: that would hold up their detaching.
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

/** Path of the loop device of `file`; undefined when there is none, or no such file. */
export function findLoopPath(file: string): string | undefined {
  const device = findLoop(file);
  if (device !== undefined) closeSync(device.fd);
  return device?.path;
}

/**
 * Number, as `MAJOR:MINOR`, of the loop device of `file`; undefined when there is none, or no such
 * file.
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

/** Lets go of a device: once nothing mounts it, the kernel detaches it. */
export function closeLoop({ fd }: { readonly fd: number }): void {
  closeSync(fd);
}

/**
 * Detaches the device at once, or when its last user goes; whoever gets it next can write to it.
 */
export function detachLoop(path: string): void {
  setReadOnly(path, false);
  const fd = openSync(path, LOOK);
  try {
    checked(libc.ioctlNumber(fd, LOOP_CLR_FD, 0) as number, 'LOOP_CLR_FD', path);
  } finally {
    closeSync(fd);
  }
}

/** Makes the device as large as its file is now, also while it is in use. */
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

/** Last part of the path of its file; undefined for a device that is not attached. */
function backingName(name: string): string | undefined {
  try {
    const path = readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trimEnd();
    return path === '' ? undefined : basename(path);
  } catch {
    return undefined;
  }
}

/** Device and inode of the file behind an attached loop device; undefined for anything else. */
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
