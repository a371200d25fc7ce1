import { type FileHandle, open, rm } from 'node:fs/promises';
import { linkSignals } from '../../../../src/runtime/signals.ts';
import type { Kernel } from '../../../linux/kernel/kernel.ts';
import type { SnapshotCreation } from '../../contract/volume-backend.ts';
import { copyContent, putInPlace } from '../../../linux/files/file-copy.ts';

/** A file to copy together with others. */
export interface FileCopy {
  readonly from: string;
  readonly to: string;
  readonly unfinished: string;
  readonly onProgress?: ((copiedBytes: number, sizeBytes: number) => void) | undefined;
  /** Aborts when the pool closes. */
  readonly signal?: AbortSignal | undefined;
}

export interface ImageSnapshotCreationDeps {
  readonly kernel: Kernel;
  readonly onEnd: () => void;
}

/**
 * Creates snapshots by copying several files. Each copy is atomic where the file system can share
 * data; freezing the writers makes all copies one instant. Only the copying needs frozen writers:
 * the rest is done in `finish`.
 */
export class ImageSnapshotCreation implements SnapshotCreation {
  readonly #files: readonly FileCopy[];
  readonly #deps: ImageSnapshotCreationDeps;
  readonly #taken: FileHandle[] = [];

  constructor(files: readonly FileCopy[], deps: ImageSnapshotCreationDeps) {
    this.#files = files;
    this.#deps = deps;
  }

  async take(attempt: AbortSignal): Promise<void> {
    const { kernel } = this.#deps;
    for (const { from, unfinished, onProgress, signal: closing } of this.#files) {
      attempt.throwIfAborted();
      await rm(unfinished, { force: true });
      await using source = await open(from, 'r');
      const target = await open(unfinished, 'wx+', 0o600);
      this.#taken.push(target);
      using both = linkSignals(attempt, closing);
      await copyContent(source, target, { kernel, onProgress, signal: both.signal });
    }
  }

  async finish(): Promise<void> {
    for (const [index, { unfinished, to }] of this.#files.entries()) {
      await this.#taken[index]?.chmod(0o400);
      await this.#taken[index]?.sync();
      // Crash window: some files have their final names. Recovery removes them by their records.
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
