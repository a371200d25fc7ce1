import type { BigIntStatsFs } from 'node:fs';
import type { FilesystemStats } from '../contract/volume-mounts.ts';

/** What statfs(2) tells, in bytes; without inodes where they are made as needed. */
export function filesystemStats({
  blocks,
  bfree,
  bavail,
  bsize,
  files,
  ffree,
}: BigIntStatsFs): FilesystemStats {
  return {
    totalBytes: blocks * bsize,
    usedBytes: (blocks - bfree) * bsize,
    availableBytes: bavail * bsize,
    ...(files === 0n ? {} : { inodes: { total: files, used: files - ffree, available: ffree } }),
  };
}
