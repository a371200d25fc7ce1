import { openBeneath } from '../files/beneath.ts';
import * as uapi from './btrfs-ioctl.ts';

/**
 * Starts a commit of the file system of `fd` without waiting for it; does nothing without changes.
 */
export function startCommit(fd: number): void {
  uapi.ioctl(fd, uapi.START_SYNC, Buffer.alloc(8), 'BTRFS_IOC_START_SYNC');
}

/**
 * Returns the transaction in which the subvolume `path` below `root` was created. Snapshots of one
 * transaction were created by one commit, during which no write starts: they show one instant.
 */
export function readCreationTransaction(root: number, path: string): bigint {
  using subvolume = openBeneath(root, path);
  const info = Buffer.alloc(uapi.SUBVOL_INFO_BYTES);
  uapi.ioctl(subvolume.fd, uapi.GET_SUBVOL_INFO, info, 'BTRFS_IOC_GET_SUBVOL_INFO');
  return info.readBigUInt64LE(uapi.SUBVOL_INFO_OTRANSID);
}

/** Makes the subvolume `path` below `root` read-only; it may be already. */
export function protectSubvolume(root: number, path: string): void {
  using subvolume = openBeneath(root, path);
  const flags = Buffer.alloc(8);
  uapi.ioctl(subvolume.fd, uapi.SUBVOL_GETFLAGS, flags, 'BTRFS_IOC_SUBVOL_GETFLAGS');
  const before = flags.readBigUInt64LE(0);
  if ((before & uapi.SUBVOL_RDONLY) !== 0n) return;
  const wanted = uapi.words(before | uapi.SUBVOL_RDONLY);
  uapi.ioctl(subvolume.fd, uapi.SUBVOL_SETFLAGS, wanted, 'BTRFS_IOC_SUBVOL_SETFLAGS');
}
