import type { FileHandle } from 'node:fs/promises';
import { splitByData } from '../../../src/core/volumes/block-map.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';
import type { BlockMap, BlockMaps } from '../contract/block-map.ts';
import { changedLists } from './changed-blocks.ts';
import {
  type SentContent,
  type ContentTransfer,
  type ContentFrame,
  MAX_PAYLOAD_BYTES,
  type StreamHeader,
} from '../contract/content-transfer.ts';

/**
 * Creates the file of a snapshot, as a copy of `parentId` if given; it is visible once `fill` wrote
 * it.
 */
export type MakeFile = (
  id: string,
  content: { readonly sizeBytes: bigint; readonly parentId: string | undefined },
  fill: (file: FileHandle) => Promise<void>,
) => Promise<void>;

/** Transfers content that is a file: its data by offset, without holes. */
export class FileTransfer implements ContentTransfer {
  readonly encoding = 'extents';
  readonly #maps: BlockMaps;
  readonly #make: MakeFile;
  readonly #kernel: Kernel;

  constructor(
    { maps, make }: { readonly maps: BlockMaps; readonly make: MakeFile },
    { kernel }: { readonly kernel: Kernel },
  ) {
    this.#maps = maps;
    this.#make = make;
    this.#kernel = kernel;
  }

  async send(id: string, parentId: string | undefined, signal: AbortSignal): Promise<SentContent> {
    await using opened = new AsyncDisposableStack();
    const target = opened.use(await this.#open(id));
    const parent = parentId === undefined ? undefined : opened.use(await this.#open(parentId));
    const owned = opened.move();
    return {
      contentBytes: target.sizeBytes,
      frames: () => framesOf(target, parent, signal),
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  }

  async receive(
    id: string,
    { contentBytes, parentId }: StreamHeader,
    frames: AsyncIterable<ContentFrame>,
    signal: AbortSignal,
  ): Promise<void> {
    const content = { sizeBytes: contentBytes, parentId: parentId ?? undefined };
    await this.#make(id, content, async (file) => {
      for await (const frame of frames) {
        signal.throwIfAborted();
        const end = frame.offset + (frame.kind === 'data' ? BigInt(frame.bytes.length) : frame.length);
        if (end > contentBytes)
          throw new Fault('invalid', 'the stream has data beyond the end of its volume');
        if (frame.kind === 'data') await writeAll(file, frame.bytes, Number(frame.offset));
        else await this.#kernel.call('punchHole', file.fd, frame.offset, frame.length);
      }
    });
  }

  async #open(id: string): Promise<BlockMap> {
    const map = await this.#maps.open(id);
    if (map !== undefined) return map;
    throw new Fault('not-found', `the data of snapshot ${id} is not in its pool`, {
      fields: { snapshotId: id },
    });
  }
}

async function* framesOf(
  target: BlockMap,
  parent: BlockMap | undefined,
  signal: AbortSignal,
): AsyncGenerator<ContentFrame> {
  // Without a parent: the difference to a file of zeros.
  for await (const { ranges, after } of changedLists(parent, target, 0n)) {
    for (const { start, end, isData } of ranges.flatMap((range) => splitByData(range, after))) {
      if (!isData) yield { kind: 'zeros', offset: start, length: end - start };
      else {
        for (let offset = start; offset < end; ) {
          signal.throwIfAborted();
          const leftBytes = end - offset;
          const bytes = await target.readBytes(offset, Math.min(Number(leftBytes), MAX_PAYLOAD_BYTES));
          yield { kind: 'data', offset, bytes };
          offset += BigInt(bytes.length);
        }
      }
    }
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}
