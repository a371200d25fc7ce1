import { join } from 'node:path';
import { Fault } from '../../../src/core/fault.ts';
import type { PoolSpec } from '../../../src/core/pools/pool.ts';
import { filePool } from './storage-lab.ts';

/**
 * Pools for power cuts: `image` and `directory` are on their own XFS, `…-on-disk` in a directory of
 * the disk, an ext4, on which images are full copies.
 */
export const CUT_POOLS = ['btrfs', 'image', 'image-on-disk', 'directory', 'directory-on-disk'] as const;
export type CutPool = (typeof CUT_POOLS)[number];

/** Throws for an unknown name. */
export function parseCutPool(text: string | undefined): CutPool {
  const found = CUT_POOLS.find((name) => name === text);
  if (found === undefined) throw new Fault('invalid', `no pool ${text}; there are ${CUT_POOLS.join(', ')}`);
  return found;
}

/** Returns the pool on a disk; one in a directory needs `cutPoolDirectory`. */
export function cutPool(name: CutPool, disk: string): PoolSpec {
  const [backend, isOnDisk] = [
    name.replace('-on-disk', '') as PoolSpec['backend'],
    name.endsWith('-on-disk'),
  ];
  // Kernels with project quotas enforce them anyway.
  const spec = { ...filePool('default', join(disk, 'pool.img'), 2n << 30n), backend, enforce: false };
  return isOnDisk ? { ...spec, source: { kind: 'path', path: cutPoolDirectory(disk) } } : spec;
}

export function cutPoolDirectory(disk: string): string {
  return join(disk, 'pool');
}
