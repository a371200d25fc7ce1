import { Fault } from '../core/fault.ts';

/** More than any object: etcd takes 1.5 MiB, and a watch event adds little. */
const MAX_LINE_BYTES = 32 * 1024 * 1024;

const NEWLINE = 0x0a;

/** The values of a stream of JSON lines. Rejects with `unavailable` at a line that is no JSON, and at an end inside of a line. */
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
      throw new Fault('unavailable', `a line of a stream is longer than ${MAX_LINE_BYTES} bytes`);
    }
  }
  if (size > 0) throw new Fault('unavailable', 'a stream ended in the middle of an object');
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new Fault('unavailable', 'a line of a stream is no JSON', { cause: error });
  }
}
