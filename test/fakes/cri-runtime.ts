import {
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Socket } from 'node:net';
import { unlink } from 'node:fs/promises';

export interface FakeCall {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly stream: ServerHttp2Stream;
  /** The request's bytes with their prefix, once it ended. */
  readonly body: Promise<Buffer>;
}

/** A runtime that speaks HTTP/2 and knows nothing of CRI: what it answers is the test's. */
export interface FakeRuntime extends AsyncDisposable {
  readonly calls: FakeCall[];
  readonly sessions: ReadonlySet<ServerHttp2Session>;
  /** Answers calls from now on. */
  answer(handler: (call: FakeCall) => void): void;
}

const WINDOW_BYTES = 32 * 1024 * 1024;

export async function startFakeRuntime(
  socketPath: string,
  handler: (call: FakeCall) => void = echo,
): Promise<FakeRuntime> {
  const calls: FakeCall[] = [];
  const sessions = new Set<ServerHttp2Session>();
  let current = handler;
  const server = createServer({
    settings: { initialWindowSize: WINDOW_BYTES },
    maxSessionMemory: 256,
    strictSingleValueFields: false,
    streamResetBurst: 1_000_000,
    streamResetRate: 100_000,
  });
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('session', (session) => {
    sessions.add(session);
    session.setLocalWindowSize(WINDOW_BYTES);
    session.on('error', () => undefined);
    session.on('close', () => sessions.delete(session));
  });
  server.on('stream', (stream, headers, _flags, rawHeaders: string[]) => {
    stream.on('error', () => undefined);
    const chunks: Buffer[] = [];
    const body = new Promise<Buffer>((resolve) => {
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => resolve(Buffer.concat(chunks)));
    });
    const call = { path: headers[':path'] ?? '', headers, rawHeaders, stream, body };
    calls.push(call);
    current(call);
  });
  await unlink(socketPath).catch(() => undefined);
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    calls,
    sessions,
    answer(next) {
      current = next;
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      // As the death of a process: no GOAWAY, no resets.
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Answers with the request's own bytes. */
export function echo({ stream, body }: FakeCall): void {
  void body.then((bytes) => reply(stream, bytes));
}

/** A successful unary answer of these bytes. */
export function reply(
  stream: ServerHttp2Stream,
  body: Uint8Array,
  trailers: Record<string, string | string[]> = { 'grpc-status': '0' },
): void {
  if (stream.destroyed) return;
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  const options = { waitForTrailers: true, sendDate: false };
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, options);
  stream.end(body);
}
