import type { CniCall } from '../../src/core/cni/cni-request.ts';
import { Fault } from '../../src/core/fault.ts';

/**
 * The protocol of the exec binary and the agent: one frame in each direction, each four bytes of
 * length (big endian) and that many of payload. A request is MAGIC, the environment as `NAME=value`
 * strings, an empty string, and standard input; strings end with NUL. An answer is the exit status
 * in one byte, and standard output.
 */
const MAGIC = 'keelson-cni/1';

export const LENGTH_BYTES = 4;
/**
 * Network configurations are a few KiB; a prevResult or a list of attachments may make them larger.
 */
export const MAX_REQUEST_BYTES = 8 * 1024 * 1024;

export interface CniAnswer {
  readonly status: number;
  readonly stdout: string;
}

/** Decodes the payload of a request. Throws `invalid` for anything else. */
export function decodeRequest(payload: Buffer): CniCall {
  const strings = readStrings(payload);
  const magic = strings.next().value;
  if (magic?.text !== MAGIC) {
    throw new Fault(
      'invalid',
      `a request begins with ${JSON.stringify(magic?.text ?? '')}; expected ${MAGIC}: install the exec binary of this version`,
    );
  }
  const environment = new Map<string, string>();
  for (const { text, end } of strings) {
    if (text === '') return { environment, stdin: payload.toString('utf8', end) };
    const at = text.indexOf('=');
    if (at > 0) environment.set(text.slice(0, at), text.slice(at + 1));
  }
  throw new Fault('invalid', 'a request ends within its environment');
}

function* readStrings(
  payload: Buffer,
): Generator<{ readonly text: string; readonly end: number }, undefined> {
  for (let start = 0; ; ) {
    const nul = payload.indexOf(0, start);
    if (nul < 0) return;
    yield { text: payload.toString('utf8', start, nul), end: nul + 1 };
    start = nul + 1;
  }
}

/** Encodes the payload of a request, as the exec binary does. */
export function encodeRequest({ environment, stdin }: CniCall): Buffer {
  const variables = Array.from(environment, ([name, value]) => `${name}=${value}\0`);
  return Buffer.from(`${MAGIC}\0${variables.join('')}\0${stdin}`);
}

/** Encodes an answer with its length. */
export function encodeAnswer({ status, stdout }: CniAnswer): Buffer {
  const text = Buffer.from(stdout);
  const frame = Buffer.alloc(LENGTH_BYTES + 1 + text.length);
  frame.writeUInt32BE(1 + text.length, 0);
  frame.writeUInt8(status, LENGTH_BYTES);
  text.copy(frame, LENGTH_BYTES + 1);
  return frame;
}
