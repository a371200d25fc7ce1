import { join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import type { PoolSpec } from '../../src/core/pools/pool.ts';
import { filePool } from './storage-lab.ts';

/**
 * What the power is cut under: `image` and `directory` are on an XFS of their own, `…-on-disk` in a
 * directory of the disk itself, which is an ext4: images are copied in full there.
 */
export const CUT_POOLS = ['btrfs', 'image', 'image-on-disk', 'directory', 'directory-on-disk'] as const;
export type CutPool = (typeof CUT_POOLS)[number];

/** Throws for a name that is none of them. */
export function parseCutPool(text: string | undefined): CutPool {
  const found = CUT_POOLS.find((name) => name === text);
  if (found === undefined) throw new Fault('invalid', `no pool ${text}; there are ${CUT_POOLS.join(', ')}`);
  return found;
}

/** The pool on a disk; one in a directory of the disk wants `cutPoolDirectory` to be there. */
export function cutPool(name: CutPool, disk: string): PoolSpec {
  const [backend, isOnDisk] = [
    name.replace('-on-disk', '') as PoolSpec['backend'],
    name.endsWith('-on-disk'),
  ];
  // Where the kernel has project quota, they are in force all the same.
  const spec = { ...filePool('default', join(disk, 'pool.img'), 2n << 30n), backend, enforce: false };
  return isOnDisk ? { ...spec, source: { kind: 'path', path: cutPoolDirectory(disk) } } : spec;
}

export function cutPoolDirectory(disk: string): string {
  return join(disk, 'pool');
}
