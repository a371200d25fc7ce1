import type { ContentForm } from '../../../src/core/volumes/volume.ts';
import type { ContentFrame, ENCODINGS, StreamHeader } from '../transfers/volume-stream.ts';

/** Reads and makes the content of snapshots, for streams that leave the node and come to it. */
export interface Transfers {
  readonly encoding: (typeof ENCODINGS)[number];
  /** The content of a snapshot, or what of it differs from `parentId`, an older one of the same volume. */
  send(id: string, parentId: string | undefined, signal: AbortSignal): Promise<SentContent>;
  /** Makes the data of snapshot `id`. What a failure leaves of it, `discard` removes. */
  receive(
    id: string,
    header: StreamHeader,
    frames: AsyncIterable<ContentFrame>,
    signal: AbortSignal,
  ): Promise<void>;
}

export interface SentContent extends AsyncDisposable {
  readonly contentBytes: bigint;
  readonly frames: () => AsyncIterable<ContentFrame>;
}

/** Leaves each content to those of its mode. */
export type TransfersByMode = Readonly<Record<ContentForm['volumeMode'], Transfers>>;
