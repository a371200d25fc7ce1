import {
  type ClientRequest,
  Agent as HttpAgent,
  type IncomingMessage,
  request as httpRequest,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest, type RequestOptions } from 'node:https';
import { text } from 'node:stream/consumers';
import { Fault } from '../core/fault.ts';
import type { Credentials } from './credentials.ts';

/** How to reach an API server, and as whom. */
export interface ClusterAccess {
  /** `https://host:port`, with a path where the server lives below one. */
  readonly server: string;
  readonly credentials: Credentials;
  readonly tls: {
    /** PEM; the system's authorities when absent. */
    readonly ca?: string | undefined;
    readonly serverName?: string | undefined;
    readonly insecure?: boolean | undefined;
  };
  readonly proxyUrl?: string | undefined;
  /** Where namespaced commands go unless told otherwise. */
  readonly namespace: string;
}

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path and query. */
  readonly target: string;
  readonly body?: string | undefined;
  readonly contentType?: string | undefined;
  /** The answer has no end of its own, so it has a connection of its own. */
  readonly isStream?: boolean | undefined;
  readonly signal: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  readonly retryAfter: string | undefined;
  /** Must be read or destroyed. */
  readonly body: IncomingMessage;
}

export interface TransportOptions {
  readonly access: ClusterAccess;
  /** E.g. `keelson-agent/1.2.0`. */
  readonly userAgent: string;
}

/** The API server ends connections that were idle for 90 s or more; ours end first, so that no request meets one that is closing. */
const IDLE_CONNECTION_MS = 60_000;

/** A peer that is gone without a word is noticed by the kernel after this and nine more probes. */
const TCP_KEEPALIVE_MS = 30_000;

/**
 * Requests at a time; the others wait for a free connection. To open one costs both sides as much as several requests, and a server that
 * needs longer for more of them is not made faster by more.
 */
const MAX_CONNECTIONS = 6;

/** Sends requests to one API server over kept connections. Disposing ends them. */
export class Transport implements Disposable {
  readonly #options: TransportOptions;
  readonly #base: URL;
  readonly #agent: HttpAgent;
  /** Streams would keep every connection that requests need. */
  readonly #streamAgent: HttpAgent;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#base = new URL(options.access.server);
    const { proxyUrl } = options.access;
    const settings = {
      keepAlive: true,
      keepAliveMsecs: TCP_KEEPALIVE_MS,
      timeout: IDLE_CONNECTION_MS,
      ...(proxyUrl === undefined ? {} : { proxyEnv: { HTTPS_PROXY: proxyUrl, HTTP_PROXY: proxyUrl } }),
    };
    const HttpOrHttps = this.#base.protocol === 'https:' ? HttpsAgent : HttpAgent;
    this.#agent = new HttpOrHttps({ ...settings, maxSockets: MAX_CONNECTIONS });
    this.#streamAgent = new HttpOrHttps(settings);
  }

  /** Resolves at the response's head. Rejects with `unavailable` when there is none, or with the signal's reason. */
  async send({ method, target, body, contentType, isStream, signal }: HttpRequest): Promise<HttpResponse> {
    const { access, userAgent } = this.#options;
    const { token, certificate } = await access.credentials.current(signal);
    signal.throwIfAborted();
    const { hostname, port, protocol, pathname } = this.#base;
    const secure = protocol === 'https:';
    const options = {
      agent: isStream === true ? this.#streamAgent : this.#agent,
      method,
      hostname: hostname.replace(/^\[|\]$/g, ''),
      port,
      path: `${pathname === '/' ? '' : pathname}${target}`,
      signal,
      headers: {
        accept: 'application/json',
        'user-agent': userAgent,
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined
          ? {}
          : { 'content-type': contentType ?? 'application/json', 'content-length': Buffer.byteLength(body) }),
      },
      ...(secure ? { ...tlsOptions(access), ...certificate } : {}),
    };
    return await new Promise((resolve, reject) => {
      const request = this.#open(secure, options);
      request.once('response', (response) => {
        const retryAfter = response.headers['retry-after'];
        resolve({ status: response.statusCode ?? 0, retryAfter, body: response });
      });
      request.on('error', (error: NodeJS.ErrnoException) => {
        if (signal.aborted) reject(signal.reason as Error);
        else reject(connectionFault(access.server, error));
      });
      request.end(body);
    });
  }

  #open(secure: boolean, options: RequestOptions): ClientRequest {
    try {
      return secure ? httpsRequest(options) : httpRequest(options);
    } catch (error) {
      // Certificates and keys are read here for the first time.
      throw new Fault(
        'invalid',
        `no request to ${this.#options.access.server} can be made: check certificate and key`,
        {
          cause: error,
        },
      );
    }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
    this.#streamAgent.destroy();
  }
}

/** The whole body. Rejects with `unavailable` when the connection breaks before its end, or with the signal's reason. */
export async function readBody(response: HttpResponse, signal: AbortSignal): Promise<string> {
  try {
    return await text(response.body);
  } catch (error) {
    if (signal.aborted) throw signal.reason as Error;
    throw new Fault('unavailable', 'the connection to the API server broke in the middle of an answer', {
      cause: error,
    });
  }
}

function tlsOptions({ tls }: ClusterAccess): object {
  return {
    ...(tls.ca === undefined ? {} : { ca: tls.ca }),
    ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
    ...(tls.insecure === true ? { rejectUnauthorized: false } : {}),
  };
}

function connectionFault(server: string, error: NodeJS.ErrnoException): Fault {
  return new Fault(
    'unavailable',
    `cannot reach the API server at ${server}: ${error.code ?? error.message}`,
    {
      fields: { server, ...(error.code === undefined ? {} : { errno: error.code }) },
      cause: error,
    },
  );
}
