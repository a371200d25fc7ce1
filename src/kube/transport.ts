import {
  type AgentOptions,
  type ClientRequest,
  Agent as HttpAgent,
  type IncomingMessage,
  request as httpRequest,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest, type RequestOptions } from 'node:https';
import { text } from 'node:stream/consumers';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { Fault, isFault } from '../core/fault.ts';
import type { Credentials, Identity, Renewable } from './credentials.ts';

/** Address, trust and identity for one API server. */
export interface ClusterAccess {
  /** `https://host:port`, with a path if the API is not at the root. */
  readonly server: string;
  readonly credentials: Credentials;
  readonly tls: {
    /** PEM; the system's authorities when absent. */
    readonly ca?: Renewable<string> | undefined;
    readonly serverName?: string | undefined;
    readonly insecure?: boolean | undefined;
  };
  /** An http or https proxy. */
  readonly proxyUrl?: string | undefined;
  /** Replaces Node's agents, for a proxy protocol that they do not support (SOCKS). */
  readonly createAgent?: (options: AgentOptions) => HttpAgent;
  /** Default namespace of commands. */
  readonly namespace: string;
}

interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path and query. */
  readonly target: string;
  readonly body?: string | undefined;
  readonly contentType?: string | undefined;
  /** Gives the request a connection of its own: its response does not end by itself. */
  readonly isStream?: boolean | undefined;
  readonly signal: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  readonly retryAfter: string | undefined;
  /** Must be read or destroyed. */
  readonly body: IncomingMessage;
}

interface TransportOptions {
  readonly access: ClusterAccess;
  /** E.g. `keelson-agent/1.2.0`. */
  readonly userAgent: string;
}

/**
 * An API server closes connections idle for 90 s. Closing first avoids sends into a closing one.
 */
const IDLE_CONNECTION_MS = 60_000;

/** TCP keep-alive: Linux drops a silent peer after this and nine more probes. */
const TCP_KEEPALIVE_MS = 30_000;

/**
 * Concurrent requests; others wait for a free connection. Opening one costs both sides as much as
 * several requests.
 */
const MAX_CONNECTIONS = 6;

/** Node's and OpenSSL's codes for a server certificate that the known authorities did not sign. */
const UNTRUSTED_CODES: ReadonlySet<string> = new Set([
  'CERT_SIGNATURE_FAILURE',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** Sends requests to one API server over persistent connections. Disposing closes them. */
export class Transport implements Disposable {
  readonly #options: TransportOptions;
  readonly #base: URL;
  readonly #agent: HttpAgent;
  /** Streams would occupy all connections of the requests. */
  readonly #streamAgent: HttpAgent;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#base = new URL(options.access.server);
    const { proxyUrl, createAgent } = options.access;
    const settings = {
      keepAlive: true,
      keepAliveMsecs: TCP_KEEPALIVE_MS,
      timeout: IDLE_CONNECTION_MS,
      ...(proxyUrl === undefined ? {} : { proxyEnv: { HTTPS_PROXY: proxyUrl, HTTP_PROXY: proxyUrl } }),
    };
    const HttpOrHttps = this.#base.protocol === 'https:' ? HttpsAgent : HttpAgent;
    const agentOf = createAgent ?? ((options: AgentOptions) => new HttpOrHttps(options));
    this.#agent = agentOf({ ...settings, maxSockets: MAX_CONNECTIONS });
    this.#streamAgent = agentOf(settings);
  }

  /**
   * Resolves at the response head. Rejects with `unavailable`, or with the reason of the signal.
   */
  async send(request: HttpRequest): Promise<HttpResponse> {
    const { credentials, tls } = this.#options.access;
    const identity = await credentials.current(request.signal);
    const ca = await tls.ca?.current(request.signal);
    try {
      return await this.#attempt(request, identity, ca);
    } catch (error) {
      if (tls.ca === undefined || !isUntrusted(error)) throw error;
      // The cluster may have replaced its authority since the last read. Nothing was sent yet.
      tls.ca.reject();
      const renewed = await tls.ca.current(request.signal);
      if (renewed === ca) throw error;
      return await this.#attempt(request, identity, renewed);
    }
  }

  async #attempt(request: HttpRequest, identity: Identity, ca: string | undefined): Promise<HttpResponse> {
    const { signal, body } = request;
    signal.throwIfAborted();
    const { access } = this.#options;
    const secure = this.#base.protocol === 'https:';
    const options = {
      ...this.#optionsOf(request, identity),
      ...(secure ? { ...tlsOptions(access, ca, this.#base.hostname), ...identity.certificate } : {}),
    };
    return await new Promise((resolve, reject) => {
      const outgoing = this.#open(secure, options);
      outgoing.once('response', (response) => {
        const retryAfter = response.headers['retry-after'];
        resolve({ status: response.statusCode ?? 0, retryAfter, body: response });
      });
      outgoing.on('error', (error: NodeJS.ErrnoException) => {
        if (signal.aborted) reject(signal.reason as Error);
        else reject(connectionFault(access.server, error));
      });
      outgoing.end(body);
    });
  }

  #optionsOf(
    { method, target, body, contentType, isStream, signal }: HttpRequest,
    { headers }: Identity,
  ): RequestOptions {
    const { hostname, port, pathname } = this.#base;
    return {
      agent: isStream === true ? this.#streamAgent : this.#agent,
      method,
      hostname: hostname.replace(/^\[|\]$/g, ''),
      port,
      path: `${pathname === '/' ? '' : pathname}${target}`,
      signal,
      headers: {
        accept: 'application/json',
        'user-agent': this.#options.userAgent,
        ...headers,
        ...(body === undefined
          ? {}
          : { 'content-type': contentType ?? 'application/json', 'content-length': Buffer.byteLength(body) }),
      },
    };
  }

  #open(secure: boolean, options: RequestOptions): ClientRequest {
    try {
      return secure ? httpsRequest(options) : httpRequest(options);
    } catch (error) {
      // Certificates and keys are read here for the first time.
      throw new Fault(
        'invalid',
        `invalid TLS settings for ${this.#options.access.server}: check client certificate and key`,
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

/**
 * Returns the body. Rejects with `unavailable` if the connection breaks, or the signal's reason.
 */
export async function readBody(response: HttpResponse, signal: AbortSignal): Promise<string> {
  try {
    return await text(response.body);
  } catch (error) {
    if (signal.aborted) throw signal.reason as Error;
    throw new Fault('unavailable', 'the connection to the API server broke during a response', {
      cause: error,
    });
  }
}

function tlsOptions({ tls, createAgent }: ClusterAccess, ca: string | undefined, host: string): object {
  const name = tls.serverName ?? host.replace(/^\[|\]$/g, '');
  return {
    // An agent that connects through a proxy does not know the name of a server without SNI, such
    // as an address.
    ...(createAgent === undefined
      ? {}
      : {
          checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
            checkServerIdentity(name, certificate),
        }),
    ...(ca === undefined ? {} : { ca }),
    ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
    ...(tls.insecure === true ? { rejectUnauthorized: false } : {}),
  };
}

function isUntrusted(error: unknown): boolean {
  return isFault(error) && UNTRUSTED_CODES.has(String(error.fields['errno']));
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
