import { describe, expect, it } from 'vitest';
import { decodeStream, encodeStream } from './volume-stream.ts';
import type { ContentFrame, StreamHeader } from '../contract/content-transfer.ts';

const header: StreamHeader = {
  encoding: 'extents',
  snapshotId: `snap-${'1'.repeat(24)}`,
  sourceVolumeId: `vol-${'2'.repeat(24)}`,
  createdAtMs: 5,
  parentId: null,
  volumeMode: 'Block',
  fsType: null,
  sizeBytes: 1n << 40n,
  contentBytes: 1n << 40n,
  encryption: { salt: 'a'.repeat(32) },
};
const content: readonly ContentFrame[] = [
  { kind: 'data', offset: 0n, bytes: Buffer.from('first') },
  { kind: 'zeros', offset: 4096n, length: 1n << 39n },
  { kind: 'data', offset: (1n << 40n) - 4n, bytes: Buffer.from('last') },
];

async function* from<T>(values: Iterable<T>): AsyncGenerator<T> {
  yield* values;
}

async function encoded(frames: readonly ContentFrame[] = content): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(encodeStream(header, from(frames))));
}

async function decoded(stream: Buffer, step = 7): Promise<readonly ContentFrame[]> {
  const pieces: Buffer[] = [];
  for (let at = 0; at < stream.length; at += step) pieces.push(stream.subarray(at, at + step));
  const opened = await decodeStream(from(pieces));
  expect(opened.header).toEqual(header);
  return await Array.fromAsync(opened.frames());
}

describe('a stream of a volume', () => {
  it('decodes to what was encoded, for chunks of any size', async () => {
    const stream = await encoded();
    for (const step of [1, 7, 1000]) {
      const frames = await decoded(stream, step);
      expect(frames.map(({ kind, offset }) => [kind, offset])).toEqual(
        content.map(({ kind, offset }) => [kind, offset]),
      );
      expect(frames[1]).toEqual(content[1]);
      const [first] = frames;
      expect(first?.kind === 'data' && Buffer.from(first.bytes).toString()).toBe('first');
    }
    expect(await decoded(await encoded([]))).toEqual([]);
  });

  it('is split into frames of at most 1 MiB', async () => {
    const frames = await decoded(
      await encoded([{ kind: 'data', offset: 8n, bytes: Buffer.alloc(5 << 19, 1) }]),
      65_536,
    );
    expect(frames.map(({ offset }) => offset)).toEqual([8n, 8n + (1n << 20n), 8n + (2n << 20n)]);
  });

  it('is refused for any flipped bit and any truncation', async () => {
    const stream = await encoded();
    for (let at = 0; at < stream.length; at += 1) {
      const wrong = Buffer.from(stream);
      wrong.writeUInt8(wrong.readUInt8(at) ^ 0x10, at);
      await expect(decoded(wrong, 1000), `bit of byte ${at}`).rejects.toMatchObject({ kind: 'invalid' });
      await expect(decoded(stream.subarray(0, at), 1000), `cut at ${at}`).rejects.toMatchObject({
        kind: 'invalid',
      });
    }
    await expect(decoded(Buffer.concat([stream, stream]))).rejects.toThrow(/data follows its end/);
  });
});
