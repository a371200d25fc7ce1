import type { ExtentList } from '../../../src/core/volumes/block-map.ts';

/** Reads where the data of a pool's Block snapshots lies. */
export interface BlockMaps {
  /** Returns undefined for an unknown snapshot. An open map survives the snapshot's deletion. */
  open(snapshotId: string): Promise<BlockMap | undefined>;
}

/** The extents of one file. Dispose it. */
export interface BlockMap extends AsyncDisposable {
  readonly sizeBytes: bigint;
  /** Returns the extents from `start` on, up to the `end` that the list names. */
  read(start: bigint): Promise<ExtentList>;
  /** Reads 1 to `length` bytes at `start`; the range must lie within the file. */
  readBytes(start: bigint, length: number): Promise<Buffer>;
}
