import type { ServerHttp2Stream } from 'node:http2';
import { gunzipSync } from 'node:zlib';
import {
  frameMessage,
  MAX_MESSAGE_BYTES,
  MESSAGE_PREFIX_BYTES,
  unframeMessage,
} from '../../src/core/policies/cri-call.ts';
import { Fault } from '../../src/core/fault.ts';

/** The complete request of a unary call. */
export interface UnaryRequest {
  /** As received, with its prefix. */
  readonly body: Uint8Array;
  /** The message; undefined when it could not be read, for the reason in `unreadable`. */
  readonly message: Uint8Array | undefined;
  readonly unreadable?: string;
  /** The message was compressed. */
  readonly encoded: boolean;
  /** Returns what to send instead of `body`, never compressed. */
  withMessage(message: Uint8Array): Uint8Array;
}

/**
 * Reads a request to its end. Rejects with `exhausted` when it exceeds the limit of every runtime,
 * with `cancelled` when it is aborted.
 */
export function readRequest(stream: ServerHttp2Stream, encoding: string | undefined): Promise<UnaryRequest> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    stream.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length > MAX_MESSAGE_BYTES + MESSAGE_PREFIX_BYTES) {
        stream.pause();
        reject(
          new Fault(
            'exhausted',
            `the request has more than ${MAX_MESSAGE_BYTES} bytes, the limit of container runtimes`,
          ),
        );
        return;
      }
      chunks.push(chunk);
    });
    stream.on('end', () => resolve(toRequest(Buffer.concat(chunks), encoding)));
    stream.on('close', () => reject(new Fault('cancelled', 'the client disconnected')));
  });
}

function toRequest(body: Uint8Array, encoding: string | undefined): UnaryRequest {
  const framed = unframeMessage(body);
  const base = { body, encoded: framed?.compressed ?? false, withMessage: frameMessage };
  if (framed === undefined) return { ...base, message: undefined, unreadable: 'it is not one gRPC message' };
  if (!framed.compressed) return { ...base, message: framed.payload };
  if (encoding !== 'gzip') {
    return {
      ...base,
      message: undefined,
      unreadable: `it is compressed by ${encoding ?? 'an unnamed method'}`,
    };
  }
  try {
    return { ...base, message: gunzipSync(framed.payload, { maxOutputLength: MAX_MESSAGE_BYTES }) };
  } catch {
    return { ...base, message: undefined, unreadable: 'it is not valid gzip, or too large' };
  }
}
