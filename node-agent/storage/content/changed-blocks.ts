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
 * Where two files may differ, piece by piece, with where the newer one holds data. Without a base:
 * against zeros.
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
 * The same stretch of both. A file system may move data (a balance of btrfs) and put other data
 * where it was; only while the base stays where it is does the same place mean the same data.
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
    'the file system moves the data of the snapshots at the moment (a balance?); try again when it has ended',
  );
}

/** A base may be smaller than its target, and than `from`: beyond its end are zeros. */
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
