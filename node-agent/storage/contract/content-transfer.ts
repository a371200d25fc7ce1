import type { ContentForm, Encryption, FsType, VolumeMode } from '../../../src/core/volumes/volume.ts';

/** How content is encoded: a file's data by offset, or the output of `btrfs send`. */
export const ENCODINGS = ['extents', 'btrfs'] as const;
/** One of `ENCODINGS`. */
type ContentEncoding = (typeof ENCODINGS)[number];

/** Limits the payload of one frame, so that a damaged length cannot exhaust memory. */
export const MAX_PAYLOAD_BYTES = 1 << 20;

/** Describes the content of a stream; it is the stream's first frame. */
export interface StreamHeader {
  readonly encoding: ContentEncoding;
  /** The snapshot whose content this is; unique over all nodes. */
  readonly snapshotId: string;
  readonly sourceVolumeId: string;
  readonly createdAtMs: number;
  /** The snapshot that the content is a difference to; null for full content. */
  readonly parentId: string | null;
  readonly volumeMode: VolumeMode;
  readonly fsType: FsType | null;
  readonly sizeBytes: bigint;
  /** Size of the file, for encoding `extents`. */
  readonly contentBytes: bigint;
  readonly encryption: Encryption | null;
}

/** A piece of content. */
export type ContentFrame =
  | { readonly kind: 'data'; readonly offset: bigint; readonly bytes: Uint8Array }
  /** Zeros, which may overwrite data of the parent. */
  | { readonly kind: 'zeros'; readonly offset: bigint; readonly length: bigint };

/** Sends and receives the content of snapshots of one pool. */
export interface ContentTransfer {
  readonly encoding: ContentEncoding;
  /** Sends a snapshot, or its difference to `parentId`, an older snapshot of the same volume. */
  send(id: string, parentId: string | undefined, signal: AbortSignal): Promise<SentContent>;
  /**
   * Creates the data of snapshot `id`. After a failure the caller calls `VolumeBackend.discard`.
   */
  receive(
    id: string,
    header: StreamHeader,
    frames: AsyncIterable<ContentFrame>,
    signal: AbortSignal,
  ): Promise<void>;
}

/** The content of a snapshot as frames. Dispose it. */
export interface SentContent extends AsyncDisposable {
  readonly contentBytes: bigint;
  readonly frames: () => AsyncIterable<ContentFrame>;
}

/** The transfer for each volume mode of a pool. */
export type TransfersByMode = Readonly<Record<ContentForm['volumeMode'], ContentTransfer>>;
