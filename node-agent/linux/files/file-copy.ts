import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** The kernel operations that copying needs, as `Kernel` implements them. */
export interface CopyKernel {
  call(operation: 'cloneFile', source: number, target: number): Promise<boolean>;
  call(
    operation: 'findData',
    fd: number,
    position: number,
  ): Promise<{ readonly start: number; readonly end: number } | undefined>;
}

export interface CopyFileOptions {
  readonly from: string;
  /** The final path, where the complete file appears. */
  readonly to: string;
  readonly unfinished: string;
  readonly mode: number;
  /** Called from time to time with the copied bytes; never for a copy in constant time. */
  readonly onProgress?: ((copiedBytes: number, sizeBytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const CHUNK_BYTES = 1 << 20;
const PROGRESS_BYTES = 1 << 30;

/**
 * Copies `from` to `to`: shares the data where the file system can, or else copies data without
 * holes. `finish` works on the file before it gets its final name, so that a file of that name is
 * complete.
 */
export async function copyFileWhole(
  { from, to, unfinished, mode, onProgress, signal }: CopyFileOptions,
  { kernel }: { readonly kernel: CopyKernel },
  finish: (file: FileHandle) => Promise<void> = async () => undefined,
): Promise<void> {
  await rm(unfinished, { force: true });
  {
    await using source = await open(from, 'r');
    await using target = await open(unfinished, 'wx+', mode | 0o200);
    await copyContent(source, target, { kernel, onProgress, signal });
    await finish(target);
    await target.chmod(mode);
    await target.sync();
  }
  await putInPlace(unfinished, to);
}

/** Renames a finished file to its final name, durably. */
export async function putInPlace(unfinished: string, path: string): Promise<void> {
  await rename(unfinished, path);
  await using directory = await open(dirname(path), 'r');
  await directory.sync();
}

/**
 * Copies the content of `source` to the empty `target`: shares it atomically where the file system
 * can, or else copies it.
 */
export async function copyContent(
  source: FileHandle,
  target: FileHandle,
  {
    kernel,
    onProgress,
    signal,
  }: Pick<CopyFileOptions, 'onProgress' | 'signal'> & { readonly kernel: CopyKernel },
): Promise<void> {
  if (await kernel.call('cloneFile', source.fd, target.fd)) return;
  const { size } = await source.stat();
  await target.truncate(size);
  const buffer = Buffer.alloc(CHUNK_BYTES);
  let copied = 0;
  let reported = 0;
  let position = 0;
  for (;;) {
    const data = await kernel.call('findData', source.fd, position);
    if (data === undefined) return;
    for (position = data.start; position < data.end; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await source.read(
        buffer,
        0,
        Math.min(buffer.length, data.end - position),
        position,
      );
      if (bytesRead === 0) return;
      await target.write(buffer, 0, bytesRead, position);
      position += bytesRead;
      copied += bytesRead;
      if (copied - reported < PROGRESS_BYTES) continue;
      reported = copied;
      onProgress?.(copied, size);
    }
  }
}
