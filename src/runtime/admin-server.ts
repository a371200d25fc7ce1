import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { Fault } from '../core/fault.ts';
import type { Health } from './health.ts';
import type { Logger } from './logger.ts';
import type { MetricsRegistry } from './metrics.ts';
import { publishSocket } from './unix-socket.ts';

export interface AdminServerOptions {
  /** `host:port` for scrapers and probes; absent: no TCP listener. Port 0 selects a free one. */
  readonly address?: string | undefined;
  /** Unix socket for the `keelson` command; also serves `/status`. */
  readonly socketPath?: string | undefined;
}

export interface AdminServerDeps {
  readonly metrics: MetricsRegistry;
  readonly health: Health;
  readonly logger: Logger;
  /** The response of `/status`; a plain JSON object. */
  readonly status: () => Promise<object>;
  /** Further paths of the unix socket. */
  readonly routes?: Readonly<Record<string, AdminRoute>>;
}

/** A request to a route. */
interface AdminCall {
  readonly query: URLSearchParams;
  /** Aborts when the client disconnects. */
  readonly signal: AbortSignal;
}

/** A path of the unix socket. Faults before the first byte are sent to the client as JSON. */
export interface AdminRoute {
  /** Resolves to a stream, sent as the client reads; one that fails aborts the connection. */
  get?(call: AdminCall): Promise<{
    readonly type: string;
    readonly content: AsyncIterable<Uint8Array>;
    /** Disposed at the end in any case. */
    readonly close: AsyncDisposable;
  }>;
  /** Reads a stream to its end, and resolves to the JSON response. */
  post?(call: AdminCall & { readonly body: AsyncIterable<Uint8Array> }): Promise<object>;
}

/** Serves `/metrics`, `/healthz` and `/readyz`. Disposing closes both listeners. */
export interface AdminServer extends AsyncDisposable {
  /** Address of the TCP listener, for example `127.0.0.1:9810`. */
  readonly address: string | undefined;
}

/**
 * Starts the configured listeners. Throws `invalid` for a malformed address, `conflict` for one in
 * use.
 */
export async function startAdminServer(
  options: AdminServerOptions,
  deps: AdminServerDeps,
): Promise<AdminServer> {
  await using started = new AsyncDisposableStack();
  let address: string | undefined;
  if (options.socketPath !== undefined) {
    const server = createServer((request, response) => void answer(request, response, deps, true));
    // Streams have no time limit.
    server.requestTimeout = 0;
    started.defer(() => close(server));
    await publishSocket(options.socketPath, 0o600, (path) => listen(server, { path }));
  }
  if (options.address !== undefined) {
    const { host, port } = parseAddress(options.address);
    const server = createServer((request, response) => void answer(request, response, deps, false));
    started.defer(() => close(server));
    await listen(server, { host, port });
    const bound = server.address() as AddressInfo;
    address = `${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`;
    deps.logger.info({ address }, 'serving metrics and health');
  }
  const running = started.move();
  return { address, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { metrics, health, status, routes, logger }: AdminServerDeps,
  local: boolean,
): Promise<void> {
  try {
    switch (request.url?.split('?')[0]) {
      case '/metrics':
        send(response, 200, await metrics.metrics(), metrics.contentType);
        return;
      case '/healthz':
        send(response, 200, 'ok\n');
        return;
      case '/readyz': {
        const report = await health.report();
        send(
          response,
          report.ok ? 200 : 503,
          `${JSON.stringify(report, undefined, 2)}\n`,
          'application/json',
        );
        return;
      }
      case '/status':
        if (!local) break;
        send(response, 200, `${JSON.stringify(await status())}\n`, 'application/json');
        return;
      default:
    }
    const url = new URL(request.url ?? '/', 'http://localhost');
    const route = local ? routes?.[url.pathname] : undefined;
    if (route === undefined) send(response, 404, 'not found\n');
    else await serveRoute(route, url.searchParams, request, response, logger);
  } catch (error) {
    logger.error({ url: request.url, err: error }, 'admin request failed');
    send(response, 500, `${Fault.from(error).message}\n`);
  }
}

/**
 * Refusals are 400 with their kind. After the first byte the connection is aborted, which the
 * client does not take for the end.
 */
async function serveRoute(
  route: AdminRoute,
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
  logger: Logger,
): Promise<void> {
  const disconnected = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished)
      disconnected.abort(new DOMException('the client disconnected', 'AbortError'));
  });
  try {
    if (request.method === 'POST' && route.post !== undefined) {
      const result = await route.post({ query, signal: disconnected.signal, body: request });
      send(response, 200, `${JSON.stringify(result)}\n`, 'application/json');
      return;
    }
    if (request.method !== 'GET' || route.get === undefined) {
      throw new Fault(
        'invalid',
        `method ${request.method ?? ''} not allowed for ${request.url?.split('?')[0] ?? ''}`,
      );
    }
    const { type, content, close: end } = await route.get({ query, signal: disconnected.signal });
    await using _end = end;
    response.writeHead(200, { 'content-type': type });
    await pipeline(content, response);
  } catch (error) {
    const { kind, message } = Fault.from(error);
    if (!disconnected.signal.aborted) {
      logger.warn({ path: request.url?.split('?')[0], kind, err: error }, 'admin request failed');
    }
    if (response.headersSent) response.destroy();
    else {
      const text = kind === 'bug' ? "internal error; see the agent's log" : message;
      send(response, 400, `${JSON.stringify({ kind, message: text })}\n`, 'application/json');
    }
  }
}

function send(response: ServerResponse, code: number, body: string, type = 'text/plain'): void {
  response.writeHead(code, { 'content-type': type }).end(body);
}

function parseAddress(address: string): { host: string; port: number } {
  const match = /^(\[[0-9a-fA-F:]+\]|[^:]+):(\d{1,5})$/.exec(address);
  const port = Number(match?.[2]);
  if (match?.[1] === undefined || port > 65_535) {
    throw new Fault(
      'invalid',
      `metrics address ${address} is not HOST:PORT; expected for example 127.0.0.1:9810`,
    );
  }
  return { host: match[1].replace(/^\[|\]$/g, ''), port };
}

function listen(server: Server, where: { path: string } | { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const name = 'path' in where ? where.path : `${where.host}:${where.port}`;
      const kind = error.code === 'EADDRINUSE' ? 'conflict' : 'unavailable';
      reject(new Fault(kind, `cannot listen on ${name}: ${error.code ?? error.message}`, { cause: error }));
    });
    server.listen(where, resolve);
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
