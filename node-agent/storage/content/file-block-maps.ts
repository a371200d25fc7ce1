import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { Fault } from '../../../src/core/fault.ts';
import type { BlockMap, BlockMaps } from '../contract/block-map.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';

export interface FileBlockMapsOptions {
  /** Returns the path of a snapshot's file, through the pool's open root. */
  readonly fileOf: (snapshotId: string) => string;
}

/** Reads the block maps of pools whose Block snapshots are files. */
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
