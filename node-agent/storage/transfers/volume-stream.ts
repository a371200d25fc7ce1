import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import {
  type ContentFrame,
  ENCODINGS,
  MAX_PAYLOAD_BYTES,
  type StreamHeader,
} from '../contract/content-transfer.ts';
import { Fault } from '../../../src/core/fault.ts';
import { FS_TYPES, VOLUME_MODES } from '../../../src/core/volumes/volume.ts';
import { isId } from '../../../src/core/volumes/volume-name.ts';

const bytes = z.string().regex(/^\d+$/).transform(BigInt);
const snapshotId = z
  .string()
  .refine((id) => isId(id) && id.startsWith('snap-'), 'is not the id of a snapshot');
const hex16 = z.string().regex(/^[0-9a-f]{32}$/);

const headerSchema: z.ZodType<StreamHeader> = z.strictObject({
  encoding: z.enum(ENCODINGS),
  snapshotId,
  sourceVolumeId: z.string().refine(isId, 'is not the id of a volume'),
  createdAtMs: z.int(),
  parentId: snapshotId.nullable(),
  volumeMode: z.enum(VOLUME_MODES),
  fsType: z.enum(FS_TYPES).nullable(),
  sizeBytes: bytes,
  contentBytes: bytes,
  encryption: z.strictObject({ salt: hex16, keyIdentifier: hex16.optional() }).nullable(),
});
const MAGIC = Buffer.from('keelson-volume-1\n', 'latin1');
/**
 * Kind (1), zeros (3), payload length (4), offset (8), CRC-32 of the head before it and payload
 * (4).
 */
const HEAD_BYTES = 20;
const KINDS = { header: 1, data: 2, zeros: 3, end: 4 } as const;

/**
 * Encodes a stream: header and frames with a CRC-32 each, and the SHA-256 of all of it at the end.
 */
export async function* encodeStream(
  header: StreamHeader,
  frames: AsyncIterable<ContentFrame>,
): AsyncGenerator<Buffer> {
  const hash = createHash('sha256');
  const hashed = (...parts: readonly Buffer[]): Buffer => {
    for (const part of parts) hash.update(part);
    return Buffer.concat(parts);
  };
  const json = JSON.stringify(header, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  );
  yield hashed(MAGIC, frameOf(KINDS.header, 0n, Buffer.from(json, 'utf8')));
  for await (const frame of frames) {
    if (frame.kind === 'data') {
      for (let at = 0; at < frame.bytes.length; at += MAX_PAYLOAD_BYTES) {
        const part = frame.bytes.subarray(at, at + MAX_PAYLOAD_BYTES);
        yield hashed(frameOf(KINDS.data, frame.offset + BigInt(at), part));
      }
    } else {
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(frame.length);
      yield hashed(frameOf(KINDS.zeros, frame.offset, length));
    }
  }
  yield frameOf(KINDS.end, 0n, hash.digest());
}

/** A stream with its header read. It is verified only once its frames are read to the end. */
export interface OpenStream {
  readonly header: StreamHeader;
  readonly frames: () => AsyncGenerator<ContentFrame>;
}

/**
 * Reads the header of a stream. Throws `invalid`, also while frames are read, for a damaged stream.
 */
export async function decodeStream(input: AsyncIterable<Uint8Array>): Promise<OpenStream> {
  const reader = new ByteReader(input);
  const hash = createHash('sha256');
  const magic = await reader.take(MAGIC.length);
  if (!magic.equals(MAGIC)) throw damaged('it does not start with the magic of `keelson volume export`');
  hash.update(magic);
  const next = async (): Promise<{ kind: number; offset: bigint; payload: Buffer }> => {
    const head = await reader.take(HEAD_BYTES);
    const length = head.readUInt32LE(4);
    if (length > MAX_PAYLOAD_BYTES) throw damaged('a frame has an invalid length');
    const payload = await reader.take(length);
    if (head.readUInt32LE(16) !== crc32(payload, crc32(head.subarray(0, 16)))) {
      throw damaged(`checksum mismatch at byte ${reader.position - length - HEAD_BYTES}`);
    }
    const kind = head.readUInt8(0);
    if (kind !== KINDS.end) hash.update(head).update(payload);
    return { kind, offset: head.readBigUInt64LE(8), payload };
  };
  const first = await next();
  const parsed = headerSchema.safeParse(first.kind === KINDS.header ? parseJson(first.payload) : undefined);
  if (!parsed.success) {
    throw damaged(`its header is invalid or of another version: ${parsed.error.issues[0]?.message ?? ''}`);
  }
  return {
    header: parsed.data,
    async *frames() {
      for (;;) {
        const { kind, offset, payload } = await next();
        if (kind === KINDS.data) yield { kind: 'data', offset, bytes: payload };
        else if (kind === KINDS.zeros && payload.length === 8) {
          yield { kind: 'zeros', offset, length: payload.readBigUInt64LE() };
        } else if (kind === KINDS.end) {
          if (!payload.equals(hash.digest())) throw damaged('SHA-256 mismatch');
          if (!(await reader.atEnd())) throw damaged('data follows its end');
          return;
        } else throw damaged(`unknown frame kind ${kind}`);
      }
    },
  };
}

function frameOf(kind: number, offset: bigint, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt8(kind, 0);
  head.writeUInt32LE(payload.length, 4);
  head.writeBigUInt64LE(offset, 8);
  head.writeUInt32LE(crc32(payload, crc32(head.subarray(0, 16))), 16);
  return Buffer.concat([head, payload]);
}

function parseJson(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'));
  } catch {
    return undefined;
  }
}

function damaged(what: string): Fault {
  return new Fault('invalid', `the stream is not a complete volume export: ${what}; no volume was imported`);
}

/** Reads exact numbers of bytes from chunks of any size. */
class ByteReader {
  position = 0;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(input: AsyncIterable<Uint8Array>) {
    this.#chunks = input[Symbol.asyncIterator]();
  }

  async take(length: number): Promise<Buffer> {
    const parts = [this.#rest];
    for (let have = this.#rest.length; have < length; ) {
      const next = await this.#chunks.next();
      if (next.done === true) throw damaged(`it ends early, at byte ${this.position + have}`);
      const { value } = next;
      parts.push(Buffer.from(value.buffer, value.byteOffset, value.length));
      have += value.length;
    }
    const all = parts.length === 1 ? this.#rest : Buffer.concat(parts);
    this.#rest = all.subarray(length);
    this.position += length;
    return all.subarray(0, length);
  }

  async atEnd(): Promise<boolean> {
    return this.#rest.length === 0 && (await this.#chunks.next()).done === true;
  }
}
