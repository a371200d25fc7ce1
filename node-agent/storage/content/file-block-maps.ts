import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { ExtentList } from '../../../src/core/volumes/block-map.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';

/** Knows where the data of a pool's Block snapshots lies. */
export interface BlockMaps {
  /** Undefined when there is no such snapshot. What it has opened stays whole, also when the snapshot is deleted meanwhile. */
  open(snapshotId: string): Promise<BlockMap | undefined>;
}

/** Where the data of one file lies. */
export interface BlockMap extends AsyncDisposable {
  readonly sizeBytes: bigint;
  /** The extents from `start` on, as far as one call tells; the list says how far that is. */
  read(start: bigint): Promise<ExtentList>;
  /** So many bytes, which are within the file; fewer where it pleases, but never none. */
  readBytes(start: bigint, length: number): Promise<Buffer>;
}

export interface FileBlockMapsOptions {
  /** Path of the file with a snapshot's bytes, through the pool's open root. */
  readonly fileOf: (snapshotId: string) => string;
}

/** Of pools whose Block snapshots are files. */
export class FileBlockMaps implements BlockMaps {
  readonly #fileOf: FileBlockMapsOptions['fileOf'];
  readonly #kernel: Kernel;

  constructor({ fileOf }: FileBlockMapsOptions, { kernel }: { readonly kernel: Kernel }) {
    this.#fileOf = fileOf;
    this.#kernel = kernel;
  }

  async open(snapshotId: string): Promise<BlockMap | undefined> {
    await using cleanup = new AsyncDisposableStack();
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
    const file = await open(this.#fileOf(snapshotId), flags).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (file === undefined) return undefined;
    cleanup.use(file);
    const { size } = await file.stat({ bigint: true });
    const owned = cleanup.move();
    return {
      sizeBytes: size,
      read: (start) => this.#kernel.call('readExtents', file.fd, start, size),
      async readBytes(start, length) {
        const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, Number(start));
        if (bytesRead > 0) return buffer.subarray(0, bytesRead);
        throw new Fault('bug', `snapshot ${snapshotId} ends before byte ${start}`);
      },
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  }
}
