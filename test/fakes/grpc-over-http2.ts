import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';
import { createConnection } from 'node:net';
import { headerOf } from '../../src/core/policies/cri-call.ts';

const WINDOW_BYTES = 32 * 1024 * 1024;

/** A client session on a unix socket that can carry whole CRI messages. */
export async function openSession(socketPath: string): Promise<ClientHttp2Session> {
  const options = {
    createConnection: () => createConnection(socketPath),
    settings: { initialWindowSize: WINDOW_BYTES },
    maxSessionMemory: 256,
    strictSingleValueFields: false,
  };
  const session = connect('http://localhost', options);
  session.on('error', () => undefined);
  await new Promise((resolve) => session.once('remoteSettings', resolve));
  session.setLocalWindowSize(WINDOW_BYTES);
  return session;
}

export interface Answer {
  readonly headers: readonly string[];
  readonly trailers: readonly string[] | undefined;
  readonly body: Buffer;
  readonly status: string | undefined;
  readonly message: string | undefined;
  readonly rstCode: number;
}

/** Header lines of a call. */
export function callHeaders(path: string, more: readonly string[] = []): string[] {
  return [
    ...[':method', 'POST', ':scheme', 'http', ':path', path, ':authority', 'localhost'],
    ...['content-type', 'application/grpc', 'te', 'trailers', ...more],
  ];
}

/** Sends one call and gathers all that comes back, however it ends. */
export function send(
  session: ClientHttp2Session,
  path: string,
  body: Uint8Array,
  more: readonly string[] = [],
): Promise<Answer> {
  const stream = session.request(callHeaders(path, more), { endStream: false });
  stream.end(body);
  return gather(stream);
}

/** All that comes back on a stream. */
export async function gather(stream: ClientHttp2Stream): Promise<Answer> {
  let headers: readonly string[] = [];
  let trailers: readonly string[] | undefined;
  const chunks: Buffer[] = [];
  stream.on('error', () => undefined);
  stream.on('response', (_headers, _flags, raw: string[]) => {
    headers = raw;
  });
  stream.on('trailers', (_headers, _flags, raw: string[]) => {
    trailers = raw;
  });
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  await new Promise((resolve) => stream.once('close', resolve));
  const last = trailers ?? headers;
  const message = headerOf(last, 'grpc-message');
  return {
    headers,
    trailers,
    body: Buffer.concat(chunks),
    status: headerOf(last, 'grpc-status'),
    message: message === undefined ? undefined : decodeURIComponent(message),
    rstCode: stream.rstCode,
  };
}
