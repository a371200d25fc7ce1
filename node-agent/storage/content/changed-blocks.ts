import {
  type BlockRange,
  changedRanges,
  clipExtents,
  type ExtentList,
} from '../../../src/core/volumes/block-map.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { BlockMap } from '../contract/block-map.ts';

/** How often one stretch is read while the file system moves its data. */
const ATTEMPTS = 5;

/**
 * Yields the ranges in which two files may differ, list by list, with the extents of the newer
 * file. Without a base: the ranges that hold data.
 */
export async function* changedLists(
  base: BlockMap | undefined,
  target: BlockMap,
  start: bigint,
): AsyncGenerator<{ readonly ranges: readonly BlockRange[]; readonly after: ExtentList }> {
  for (let from = start; from < target.sizeBytes; ) {
    const [before, after] =
      base === undefined ? await readAlone(target, from) : await readBoth(base, target, from);
    yield { ranges: changedRanges(before, after), after };
    from = after.end;
  }
}

async function readAlone(target: BlockMap, from: bigint): Promise<readonly [ExtentList, ExtentList]> {
  const after = await target.read(from);
  return [{ ...after, extents: [] }, after];
}

/**
 * Reads the same stretch of both files. The same location on disk means the same data only while
 * the file system does not move the base (a btrfs balance does), so the base is read before and
 * after.
 */
async function readBoth(
  base: BlockMap,
  target: BlockMap,
  from: bigint,
): Promise<readonly [ExtentList, ExtentList]> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const first = await readWithin(base, from, target.sizeBytes);
    const after = await target.read(from);
    const again = await readWithin(base, from, target.sizeBytes);
    const end = [first.end, after.end, again.end].reduce((least, next) => (next < least ? next : least));
    const [before, once] = [clipExtents(first, end), clipExtents(again, end)];
    if (isEqual(before, once)) return [before, clipExtents(after, end)];
  }
  throw new Fault(
    'unavailable',
    'the file system is moving the data of the snapshots (a btrfs balance?); try again when it has ended',
  );
}

/** The base may be smaller than the target, and than `from`: beyond its end are zeros. */
async function readWithin(map: BlockMap, from: bigint, size: bigint): Promise<ExtentList> {
  if (from >= map.sizeBytes) return { start: from, end: size, extents: [] };
  const list = await map.read(from);
  return list.end >= map.sizeBytes ? { ...list, end: size > list.end ? size : list.end } : list;
}

function isEqual(one: ExtentList, other: ExtentList): boolean {
  return (
    one.extents.length === other.extents.length &&
    one.extents.every((extent, index) => {
      const { start, end, physical } = other.extents[index] ?? {};
      return extent.start === start && extent.end === end && extent.physical === physical;
    })
  );
}
