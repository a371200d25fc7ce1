import { Fault } from '../core/fault.ts';

/** Above every object: etcd stores at most 1.5 MiB. */
const MAX_LINE_BYTES = 32 * 1024 * 1024;

const NEWLINE = 0x0a;

/** Yields the values of JSON lines. Rejects with `unavailable` at an invalid or truncated line. */
export async function* readJsonLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator {
  let parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      parts.push(chunk.subarray(start, end));
      start = end + 1;
      const line = Buffer.concat(parts).toString('utf8').trim();
      parts = [];
      size = 0;
      if (line !== '') yield parseLine(line);
    }
    if (start < chunk.length) {
      parts.push(chunk.subarray(start));
      size += chunk.length - start;
    }
    if (size > MAX_LINE_BYTES) {
      throw new Fault('unavailable', `watch event exceeds ${MAX_LINE_BYTES} bytes`);
    }
  }
  if (size > 0) throw new Fault('unavailable', 'watch ended within an event');
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new Fault('unavailable', 'invalid JSON in watch event', { cause: error });
  }
}
