import { type FileHandle, open, rm } from 'node:fs/promises';
import { linkSignals } from '../../../../src/runtime/signals.ts';
import type { Kernel } from '../../../linux/kernel/kernel.ts';
import type { SnapshotCreation } from '../../contract/volume-backend.ts';
import { copyContent, putInPlace } from '../../../linux/files/file-copy.ts';

/** A file to be copied with others. */
export interface FileCut {
  readonly from: string;
  readonly to: string;
  readonly unfinished: string;
  readonly onProgress?: ((copiedBytes: number, sizeBytes: number) => void) | undefined;
  /** Of the pool: aborts at its end. */
  readonly signal?: AbortSignal | undefined;
}

export interface ImageCutDeps {
  readonly kernel: Kernel;
  readonly onEnd: () => void;
}

/**
 * Copies of several files. Each is of one instant by itself where the file system can share data;
 * that it is the same instant for all is up to whoever holds the writers. Only the copying is done
 * while they wait: opening comes before, making it last after.
 */
export class ImageCut implements SnapshotCreation {
  readonly #files: readonly FileCut[];
  readonly #deps: ImageCutDeps;
  readonly #taken: FileHandle[] = [];

  constructor(files: readonly FileCut[], deps: ImageCutDeps) {
    this.#files = files;
    this.#deps = deps;
  }

  async take(held: AbortSignal): Promise<void> {
    const { kernel } = this.#deps;
    for (const { from, unfinished, onProgress, signal: ending } of this.#files) {
      held.throwIfAborted();
      await rm(unfinished, { force: true });
      await using source = await open(from, 'r');
      const target = await open(unfinished, 'wx+', 0o600);
      this.#taken.push(target);
      using both = linkSignals(held, ending);
      await copyContent(source, target, { kernel, onProgress, signal: both.signal });
    }
  }

  async finish(): Promise<void> {
    for (const [index, { unfinished, to }] of this.#files.entries()) {
      await this.#taken[index]?.chmod(0o400);
      await this.#taken[index]?.sync();
      // Crash window: some have their names. They are snapshots that nobody has heard of yet;
      // recovery removes them by their records.
      await putInPlace(unfinished, to);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      for (const handle of this.#taken) await handle.close();
      for (const { unfinished } of this.#files) await rm(unfinished, { force: true });
    } finally {
      this.#deps.onEnd();
    }
  }
}
