import { closeSync, constants, openSync } from 'node:fs';
import { checked, libc, SysError } from '../libc/libc.ts';

/**
 * Kernel interface of fscrypt: include/uapi/linux/fscrypt.h, Documentation/filesystems/fscrypt.rst.
 */
const SET_ENCRYPTION_POLICY = 0x800c6613;
const GET_ENCRYPTION_POLICY_EX = 0xc0096616;
const ADD_ENCRYPTION_KEY = 0xc0506617;
const REMOVE_ENCRYPTION_KEY_ALL_USERS = 0xc0406619;
const GET_ENCRYPTION_KEY_STATUS = 0xc080661a;
const ADD_KEY_BYTES = 80;
const REMOVE_KEY_BYTES = 64;
const KEY_STATUS_BYTES = 128;
const POLICY_V2 = 2;
const POLICY_V2_BYTES = 24;
const MODE_AES_256_XTS = 1;
const MODE_AES_256_CTS = 4;
/** File names are padded to 32 bytes, which hides their length. */
const PAD_32 = 3;
const SPEC_IDENTIFIER = 2;
const IDENTIFIER_OFFSET = 8;
const IDENTIFIER_BYTES = 16;
const REMOVED_FILES_BUSY = 1;
const STATUS_PRESENT = 2;

/**
 * Adds a key to the file system at `mountPoint` until it is unmounted; it may be present. Returns
 * the kernel's identifier of the key, which is derived from it and hides it. Overwrites `key`.
 */
export function addEncryptionKey(mountPoint: string, key: Uint8Array): string {
  const args = Buffer.alloc(ADD_KEY_BYTES + key.length);
  args.writeUInt32LE(SPEC_IDENTIFIER, 0);
  args.writeUInt32LE(key.length, 40);
  args.set(key, ADD_KEY_BYTES);
  key.fill(0);
  try {
    onDirectory(mountPoint, (fd) => {
      checked(libc.ioctl(fd, ADD_ENCRYPTION_KEY, args) as number, 'FS_IOC_ADD_ENCRYPTION_KEY', mountPoint);
    });
    return args.toString('hex', IDENTIFIER_OFFSET, IDENTIFIER_OFFSET + IDENTIFIER_BYTES);
  } finally {
    args.fill(0);
  }
}

/**
 * Removes the key from the file system, with all decrypted data in caches; it may be absent.
 * Returns false while files are open: these stay readable, others are locked.
 */
export function removeEncryptionKey(mountPoint: string, identifier: string): boolean {
  const args = keySpecifier(identifier, REMOVE_KEY_BYTES);
  return onDirectory(mountPoint, (fd) => {
    try {
      checked(
        libc.ioctl(fd, REMOVE_ENCRYPTION_KEY_ALL_USERS, args) as number,
        'FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS',
        mountPoint,
      );
    } catch (error) {
      if (error instanceof SysError && error.code === NO_KEY) return true;
      throw error;
    }
    return (args.readUInt32LE(40) & REMOVED_FILES_BUSY) === 0;
  });
}

/** Whether the file system has the key, so that files can be opened. */
export function hasEncryptionKey(mountPoint: string, identifier: string): boolean {
  const args = keySpecifier(identifier, KEY_STATUS_BYTES);
  return onDirectory(mountPoint, (fd) => {
    checked(
      libc.ioctl(fd, GET_ENCRYPTION_KEY_STATUS, args) as number,
      'FS_IOC_GET_ENCRYPTION_KEY_STATUS',
      mountPoint,
    );
    return args.readUInt32LE(64) === STATUS_PRESENT;
  });
}

/**
 * Encrypts all files that are created in the empty `directory`. Throws SysError: ENOTEMPTY, or
 * EEXIST for another key.
 */
export function setEncryptionPolicy(directory: string, identifier: string): void {
  const policy = Buffer.alloc(POLICY_V2_BYTES);
  policy.set([POLICY_V2, MODE_AES_256_XTS, MODE_AES_256_CTS, PAD_32]);
  policy.write(identifier, IDENTIFIER_OFFSET, IDENTIFIER_BYTES, 'hex');
  onDirectory(directory, (fd) => {
    checked(
      libc.ioctl(fd, SET_ENCRYPTION_POLICY, policy) as number,
      'FS_IOC_SET_ENCRYPTION_POLICY',
      directory,
    );
  });
}

/**
 * Returns the identifier of the key of `directory`; undefined without encryption or with another
 * policy version.
 */
export function readEncryptionPolicy(directory: string): string | undefined {
  const args = Buffer.alloc(8 + POLICY_V2_BYTES);
  args.writeBigUInt64LE(BigInt(POLICY_V2_BYTES), 0);
  return onDirectory(directory, (fd) => {
    try {
      checked(
        libc.ioctl(fd, GET_ENCRYPTION_POLICY_EX, args) as number,
        'FS_IOC_GET_ENCRYPTION_POLICY_EX',
        directory,
      );
    } catch (error) {
      if (error instanceof SysError && error.code === 'ENODATA') return undefined;
      throw error;
    }
    const start = 8 + IDENTIFIER_OFFSET;
    return args[8] === POLICY_V2 ? args.toString('hex', start, start + IDENTIFIER_BYTES) : undefined;
  });
}

/** ENOKEY, which Node does not name. */
const NO_KEY = 'errno 126';

function keySpecifier(identifier: string, bytes: number): Buffer {
  const args = Buffer.alloc(bytes);
  args.writeUInt32LE(SPEC_IDENTIFIER, 0);
  args.write(identifier, IDENTIFIER_OFFSET, IDENTIFIER_BYTES, 'hex');
  return args;
}

function onDirectory<T>(path: string, work: (fd: number) => T): T {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}
