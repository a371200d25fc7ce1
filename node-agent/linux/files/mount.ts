import { closeSync, constants, openSync } from 'node:fs';
import { O_PATH, openBeneath, ownFd } from './beneath.ts';
import { checked, libc, SysError } from '../libc/libc.ts';

/** System call numbers of the new mount API are the same on every architecture. */
const SYS_OPEN_TREE = 428;
const SYS_MOVE_MOUNT = 429;
const SYS_FSOPEN = 430;
const SYS_MOUNT_SETATTR = 442;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
const AT_EMPTY_PATH = 0x1000;
const MOVE_MOUNT_F_EMPTY_PATH = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH = 0x40;
const MOUNT_ATTR_BYTES = 32;

/** Attributes of one mount, as for mount_setattr(2). */
interface MountAttributes {
  readonly set: bigint;
  readonly clear: bigint;
}

/** Whether the kernel supports the file system type; loads its module, as a mount would. */
export function knowsFilesystem(type: string): boolean {
  try {
    using context = ownFd(checked(Number(libc.fsopen(SYS_FSOPEN, type, 1)), 'fsopen', type));
    return context.fd >= 0;
  } catch (error) {
    if (error instanceof SysError && error.code === 'ENODEV') return false;
    throw error;
  }
}

/** Mounts a file system. Throws SysError. */
export function mountFilesystem(source: string, target: string, type: string, data: string): void {
  checked(libc.mount(source, target, type, 0, data) as number, 'mount', target);
}

/**
 * Bind-mounts the directory `path` below `root` at the directory `target`, with its attributes set
 * before it is visible: a read-only mount is never writable. Refuses symbolic links at either end.
 * Throws SysError.
 */
export function bindBeneath(root: number, path: string, target: string, attributes: MountAttributes): void {
  using source = openBeneath(root, path, O_PATH | constants.O_DIRECTORY);
  bind(source.fd, path, target, constants.O_DIRECTORY, attributes);
}

/**
 * Bind-mounts the device node `device` at the file `target`, which must not be a symbolic link.
 * Throws SysError.
 */
export function bindDevice(device: string, target: string, attributes: MountAttributes): void {
  const source = openSync(device, O_PATH | constants.O_NOFOLLOW);
  try {
    bind(source, device, target, 0, attributes);
  } finally {
    closeSync(source);
  }
}

function bind(source: number, name: string, target: string, kind: number, attributes: MountAttributes): void {
  const opened: unknown = libc.openTree(
    SYS_OPEN_TREE,
    source,
    '',
    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH,
  );
  using tree = ownFd(checked(Number(opened), 'open_tree', name));
  const args = Buffer.alloc(MOUNT_ATTR_BYTES);
  args.writeBigUInt64LE(attributes.set, 0);
  args.writeBigUInt64LE(attributes.clear, 8);
  const changed: unknown = libc.mountSetattr(
    SYS_MOUNT_SETATTR,
    tree.fd,
    '',
    AT_EMPTY_PATH,
    args,
    args.length,
  );
  checked(Number(changed), 'mount_setattr', target);
  const destination = openSync(target, O_PATH | kind | constants.O_NOFOLLOW);
  try {
    const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    checked(
      Number(libc.moveMount(SYS_MOVE_MOUNT, tree.fd, '', destination, '', flags)),
      'move_mount',
      target,
    );
  } finally {
    closeSync(destination);
  }
}

/** Unmounts `target`; flags as in umount2(2). Throws SysError. */
export function umount(target: string, flags: number): void {
  checked(libc.umount2(target, flags) as number, 'umount2', target);
}
