/** Bytes of a volume from `start` up to and without `end`. */
export interface BlockRange {
  readonly start: bigint;
  readonly end: bigint;
}

/**
 * A stretch of a file that holds data. Bytes outside of extents are zeros: holes and unwritten
 * space.
 */
export interface DataExtent extends BlockRange {
  /** Location of its first byte on disk; undefined if it does not identify the content. */
  readonly physical: bigint | undefined;
}

/** The extents between two offsets, by ascending offset. */
export interface ExtentList extends BlockRange {
  readonly extents: readonly DataExtent[];
}

/** Returns the part of `list` before `end`. */
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

/** Joins adjacent ranges. */
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
 * Returns the ranges in which two files may differ, both listed between the same offsets. The same
 * location on disk means the same data; all else counts as changed, such as a block that was
 * rewritten with its old content.
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

/** Splits `range` into pieces with data and pieces of zeros, by the extents of `list`. */
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

/** Whether both are zeros, or the same bytes on disk. */
function isSame(base: DataExtent | undefined, target: DataExtent | undefined, at: bigint): boolean {
  if (base === undefined || target === undefined) return base === target;
  if (base.physical === undefined || target.physical === undefined) return false;
  return base.physical + (at - base.start) === target.physical + (at - target.start);
}

/** Finds the extents of ascending offsets. */
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
