import { closeSync, constants, fsyncSync, openSync } from 'node:fs';
import { checked, libc } from '../libc/libc.ts';

/** include/uapi/linux/fs.h. */
const BLKROSET = 0x125d;
const BLKGETSIZE64 = 0x80081272;

/** Makes a block device read-only, or writable again. */
export function setReadOnly(path: string, readonly: boolean): void {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const argument = Buffer.alloc(4);
    argument.writeInt32LE(readonly ? 1 : 0);
    checked(libc.ioctl(fd, BLKROSET, argument) as number, 'BLKROSET', path);
  } finally {
    closeSync(fd);
  }
}

/** Returns the size of a block device in bytes. */
export function readDeviceBytes(path: string): bigint {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const argument = Buffer.alloc(8);
    checked(libc.ioctl(fd, BLKGETSIZE64, argument) as number, 'BLKGETSIZE64', path);
    return argument.readBigUInt64LE();
  } finally {
    closeSync(fd);
  }
}

/** Writes the device's dirty buffers to disk. */
export function flushDevice(path: string): void {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
