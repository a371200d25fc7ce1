import type { BigIntStatsFs } from 'node:fs';
import type { FilesystemStats } from '../contract/volume-mounts.ts';

/**
 * Converts the result of statfs(2) to bytes; without inodes if the file system allocates on demand.
 */
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
