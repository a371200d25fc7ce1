import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';
import { createConnection } from 'node:net';
import type { RawHeaders } from '../../src/core/policies/cri-call.ts';
import { Fault } from '../../src/core/fault.ts';
import { type Clock, sleep } from '../../src/runtime/clock.ts';
import { raceSignal } from '../../src/runtime/signals.ts';
import { guardSocket, SESSION_OPTIONS, WINDOW_BYTES } from './http2-options.ts';

export interface UpstreamOptions {
  /** The runtime's socket. */
  readonly socketPath: string;
}

export interface UpstreamDeps {
  readonly clock: Clock;
  /** Called when a connection to the runtime is established, and when it is lost. */
  readonly onConnected?: () => void;
  readonly onLost?: () => void;
}

const RETRY_EVERY_MS = 50;

/**
 * One client's connection to the runtime: an HTTP/2 session that is opened on first use and
 * replaced once it is lost or the runtime refuses further calls on it.
 */
export class Upstream implements Disposable {
  readonly #options: UpstreamOptions;
  readonly #deps: UpstreamDeps;
  #session: Promise<ClientHttp2Session> | undefined;
  #current: ClientHttp2Session | undefined;
  /** Not yet answered by the runtime. */
  #opening: ClientHttp2Session | undefined;
  #disposed = false;

  constructor(options: UpstreamOptions, deps: UpstreamDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Returns a session that accepts calls, if one is open: without waiting. */
  get ready(): ClientHttp2Session | undefined {
    return this.#current?.closed === false && !this.#current.destroyed ? this.#current : undefined;
  }

  /**
   * Resolves to a session that accepts calls. Retries for `holdMs` while the runtime is
   * unreachable, then rejects with `unavailable`.
   */
  async session({
    holdMs,
    signal,
  }: {
    readonly holdMs: number;
    readonly signal?: AbortSignal | undefined;
  }): Promise<ClientHttp2Session> {
    const { clock } = this.#deps;
    const untilMs = clock.monotonicMs() + holdMs;
    for (;;) {
      const attempt = (this.#session ??= this.#connect());
      try {
        return await raceSignal(attempt, signal);
      } catch (error) {
        if (signal?.aborted) throw error;
        if (this.#session === attempt) this.#session = undefined;
        if (this.#disposed || clock.monotonicMs() + RETRY_EVERY_MS > untilMs) throw error;
        await sleep(RETRY_EVERY_MS, { signal, clock });
      }
    }
  }

  /** Ends the session as soon as its calls are done; it is not replaced. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#opening?.destroy();
    if (this.#current?.closed === false) this.#current.close();
  }

  async #connect(): Promise<ClientHttp2Session> {
    const { socketPath } = this.#options;
    const opened = Promise.withResolvers<ClientHttp2Session>();
    const socket = createConnection(socketPath);
    guardSocket(socket);
    const session = connect('http://localhost', { ...SESSION_OPTIONS, createConnection: () => socket });
    this.#opening = session;
    const forget = (): void => {
      if (this.#opening === session) this.#opening = undefined;
      if (this.#current === session) {
        this.#current = undefined;
        this.#session = undefined;
      }
    };
    session.on('error', (error) => {
      forget();
      opened.reject(
        new Fault(
          'unavailable',
          `the container runtime does not respond at ${socketPath}; retry the call when it runs again`,
          { fields: { socket: socketPath }, cause: error },
        ),
      );
    });
    // No more calls on this session; those in flight continue.
    session.on('goaway', () => {
      forget();
      if (!session.closed) session.close();
    });
    session.on('close', () => {
      const known = this.#current === session;
      forget();
      if (known) this.#deps.onLost?.();
      opened.reject(
        new Fault('unavailable', `the container runtime closed the connection at ${socketPath}`, {
          fields: { socket: socketPath },
        }),
      );
    });
    // Waits for the runtime's SETTINGS, not only the connect: a listening socket whose process
    // hangs accepts connects.
    session.once('remoteSettings', () => {
      session.setLocalWindowSize(WINDOW_BYTES);
      this.#opening = undefined;
      this.#current = session;
      this.#deps.onConnected?.();
      opened.resolve(session);
    });
    return await opened.promise;
  }
}

/** Opens a call on `session`; its errors show as its close. */
export function openCall(session: ClientHttp2Session, headers: RawHeaders): ClientHttp2Stream {
  const stream = session.request(headers, { endStream: false });
  stream.on('error', () => undefined);
  return stream;
}
