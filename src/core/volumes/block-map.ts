/** Bytes `start` to `end`, without `end`, of a volume. */
export interface BlockRange {
  readonly start: bigint;
  readonly end: bigint;
}

/**
 * A stretch of a file that holds data. What no extent covers is zeros: holes, and what was
 * allocated and never written.
 */
export interface DataExtent extends BlockRange {
  /** Where its first byte lies; undefined where that says nothing about its content. */
  readonly physical: bigint | undefined;
}

/** The extents between two offsets, by rising offset. */
export interface ExtentList extends BlockRange {
  readonly extents: readonly DataExtent[];
}

/** What of `list` lies before `end`. */
export function clipExtents(list: ExtentList, end: bigint): ExtentList {
  if (list.end <= end) return list;
  return {
    start: list.start,
    end,
    extents: list.extents
      .filter((extent) => extent.start < end)
      .map((extent) => (extent.end <= end ? extent : { ...extent, end })),
  };
}

/** Ranges that touch are one. */
export function joinRanges(ranges: readonly BlockRange[]): BlockRange[] {
  const joined: BlockRange[] = [];
  for (const { start, end } of ranges) {
    const last = joined.at(-1);
    if (last?.end === start) joined[joined.length - 1] = { start: last.start, end };
    else joined.push({ start, end });
  }
  return joined;
}

/**
 * Where two files that share data may differ, both listed between the same offsets: the same place
 * on the disk is the same data, and all else counts as changed. So every byte that differs is in
 * it, and some that do not may be (a block that was written again with what it held).
 */
export function changedRanges(base: ExtentList, target: ExtentList): BlockRange[] {
  const cuts = new Set<bigint>();
  for (const { start, end } of [...base.extents, ...target.extents]) cuts.add(start).add(end);
  const edges = [...cuts].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const before = new Cursor(base.extents);
  const after = new Cursor(target.extents);
  const changed: BlockRange[] = [];
  for (const [index, start] of edges.entries()) {
    const end = edges[index + 1];
    if (end === undefined) break;
    if (!isSame(before.at(start), after.at(start), start)) changed.push({ start, end });
  }
  return joinRanges(changed);
}

/** `range` in pieces that hold data, and pieces that are zeros, as `list` says. */
export function splitByData(
  range: BlockRange,
  { extents }: ExtentList,
): readonly (BlockRange & { readonly isData: boolean })[] {
  const pieces: (BlockRange & { readonly isData: boolean })[] = [];
  let at = range.start;
  for (const extent of extents) {
    const start = extent.start > at ? extent.start : at;
    const end = extent.end < range.end ? extent.end : range.end;
    if (start >= end) continue;
    if (start > at) pieces.push({ start: at, end: start, isData: false });
    pieces.push({ start, end, isData: true });
    at = end;
  }
  if (at < range.end) pieces.push({ start: at, end: range.end, isData: false });
  return pieces;
}

/** Both zeros, or both the same bytes of the disk. */
function isSame(base: DataExtent | undefined, target: DataExtent | undefined, at: bigint): boolean {
  if (base === undefined || target === undefined) return base === target;
  if (base.physical === undefined || target.physical === undefined) return false;
  return base.physical + (at - base.start) === target.physical + (at - target.start);
}

/** Finds the extent of each offset, asked by rising ones. */
class Cursor {
  readonly #extents: readonly DataExtent[];
  #index = 0;

  constructor(extents: readonly DataExtent[]) {
    this.#extents = extents;
  }

  at(offset: bigint): DataExtent | undefined {
    while ((this.#extents[this.#index]?.end ?? offset + 1n) <= offset) this.#index += 1;
    const extent = this.#extents[this.#index];
    return extent !== undefined && extent.start <= offset ? extent : undefined;
  }
}
