import { createServer, type ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { GrpcCode } from '../../src/core/policies/cri-call.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { CallRelay, type RelayOptions } from './call-relay.ts';
import type { CallObserver, Forwarder, Reviewer } from './forwarder.ts';
import { guardSocket, SERVER_OPTIONS, WINDOW_BYTES } from './http2-options.ts';
import { Upstream, type UpstreamDeps, type UpstreamOptions } from './upstream.ts';

export interface Http2ForwarderOptions extends UpstreamOptions, RelayOptions {}

export interface Http2ForwarderDeps extends UpstreamDeps {
  readonly reviewer: Reviewer;
  readonly observer: CallObserver;
  readonly clock: Clock;
}

/**
 * Forwards by terminating HTTP/2 on both sides: every client connection has its own connection to
 * the runtime, so that a client that reads slowly does not delay others.
 */
export function createHttp2Forwarder(options: Http2ForwarderOptions, deps: Http2ForwarderDeps): Forwarder {
  const sessions = new Set<ServerHttp2Session>();
  const calls = new Set<CallRelay>();
  let idle = Promise.withResolvers<undefined>();
  let draining = false;

  // Never listens: connections are passed to it.
  const server = createServer(SERVER_OPTIONS);
  server.on('error', () => undefined);
  server.on('sessionError', () => undefined);
  server.on('session', (session) => {
    const upstream = new Upstream(options, deps);
    sessions.add(session);
    session.setLocalWindowSize(WINDOW_BYTES);
    session.on('error', () => undefined);
    session.on('close', () => {
      sessions.delete(session);
      upstream[Symbol.dispose]();
      if (sessions.size === 0) idle.resolve(undefined);
    });
    session.on('stream', (stream, _headers, _flags, rawHeaders: string[]) => {
      const call = new CallRelay(stream, rawHeaders, options, { ...deps, upstream });
      calls.add(call);
      stream.once('close', () => calls.delete(call));
      call.start();
      if (draining && call.endless) call.fail(GrpcCode.unavailable, STOPPING);
    });
    if (draining) session.close();
  });

  return {
    accept(socket: Socket) {
      guardSocket(socket);
      server.emit('connection', socket);
    },
    async drain(timeoutMs) {
      draining = true;
      idle = Promise.withResolvers();
      if (sessions.size === 0) return;
      for (const session of sessions) session.close();
      for (const call of calls) if (call.endless) call.fail(GrpcCode.unavailable, STOPPING);
      using _cut = deps.clock.schedule(timeoutMs, () => {
        for (const call of calls) call.fail(GrpcCode.unavailable, STOPPING);
      });
      // For clients that do not read that answer.
      using _destroy = deps.clock.schedule(timeoutMs + LAST_WORDS_MS, () => {
        for (const session of sessions) session.destroy();
      });
      await idle.promise;
    },
  };
}

const LAST_WORDS_MS = 500;
const STOPPING = 'the Keelson CRI proxy is stopping; retry the call when it runs again';
