import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { parse } from 'yaml';
import type { ClusterAccess } from '../../src/kube/transport.ts';
import { type Credentials, fixed } from '../../src/kube/credentials.ts';
import { HttpKubeClient, type HttpKubeClientOptions } from '../../src/kube/http-client.ts';
import type { KubeObject, Resource } from '../../src/kube/resource.ts';
import { ApiError, type Json } from './fake-api-error.ts';
import { FakeApiStore, type FakePatch, type FakeWrite } from './fake-api-store.ts';

/** What goes wrong with a request instead of its answer. */
export type InjectedFault =
  | {
      readonly status: number;
      readonly reason?: string;
      readonly retryAfterSeconds?: number;
      readonly body?: string;
    }
  /** The connection ends without an answer. */
  | 'cut'
  /** No answer, ever. */
  | 'hang';

export interface RecordedRequest {
  readonly method: string;
  readonly url: string;
  readonly watch: boolean;
  readonly userAgent: string | undefined;
  readonly authorization: string | undefined;
}

interface Injection {
  readonly matches: (request: RecordedRequest) => boolean;
  readonly fault: InjectedFault;
  left: number;
}

/**
 * An API server for tests on loopback: real HTTP, the state of a FakeApiStore, and faults on
 * demand.
 */
export class FakeApiServer implements AsyncDisposable {
  readonly store = new FakeApiStore();
  readonly requests: RecordedRequest[] = [];
  readonly #resources: readonly Resource<KubeObject>[];
  readonly #injections: Injection[] = [];
  readonly #streams = new Set<ServerResponse>();
  readonly #server: Server;
  /** Refuses every other bearer token while set. */
  validToken: string | undefined;
  #port = 0;

  constructor(resources: readonly Resource<KubeObject>[]) {
    this.#resources = resources;
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  /** Starts listening; after `stop`, on the same port. */
  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#port, '127.0.0.1', resolve);
    });
    const address = this.#server.address();
    this.#port = typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** Refuses connections and cuts those that are open. */
  async stop(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  access(credentials: Credentials = fixed({})): ClusterAccess {
    return { server: `http://127.0.0.1:${this.#port}`, credentials, tls: {}, namespace: 'default' };
  }

  client(options: Partial<HttpKubeClientOptions> = {}): HttpKubeClient {
    return new HttpKubeClient({
      access: this.access(),
      userAgent: 'fake',
      qps: 1_000,
      burst: 1_000,
      ...options,
    });
  }

  /** The next `times` requests that match meet `fault`. */
  inject(fault: InjectedFault, matches: (request: RecordedRequest) => boolean, times = 1): void {
    this.#injections.push({ fault, matches, left: times });
  }

  /** Streams that are open. */
  get watches(): number {
    return this.#streams.size;
  }

  /** Ends all watches: in order, or by breaking the connection. */
  endWatches(how: 'end' | 'break' = 'end'): void {
    for (const stream of this.#streams) {
      if (how === 'end') stream.end();
      else stream.destroy();
    }
  }

  /** Writes text into all watches as it is: garbage, or half an object. */
  writeToWatches(raw: string): void {
    for (const stream of this.#streams) stream.write(raw);
  }

  bookmark(): void {
    const object = { metadata: { resourceVersion: this.store.version } };
    this.writeToWatches(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.stop();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://fake');
    const recorded: RecordedRequest = {
      method: request.method ?? '',
      url: request.url ?? '',
      watch: url.searchParams.get('watch') === 'true',
      userAgent: request.headers['user-agent'],
      authorization: request.headers.authorization,
    };
    this.requests.push(recorded);
    const body = await text(request).catch(() => '');
    const fault = this.#take(recorded);
    if (fault === 'hang') return;
    if (fault === 'cut') {
      response.destroy();
      return;
    }
    try {
      if (fault !== undefined) {
        if (fault.body !== undefined) {
          response.writeHead(fault.status, { 'content-type': 'text/plain' }).end(fault.body);
          return;
        }
        throw new ApiError(fault.status, fault.reason ?? '', `injected ${fault.status}`, fault);
      }
      if (this.validToken !== undefined && recorded.authorization !== `Bearer ${this.validToken}`) {
        throw new ApiError(401, 'Unauthorized', 'Unauthorized');
      }
      this.#route(request, url, body, response);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const after = error.retryAfterSeconds;
      const headers = after === undefined ? {} : { 'retry-after': String(after) };
      send(response, error.status, error.toStatus(), headers);
    }
  }

  #take(request: RecordedRequest): InjectedFault | undefined {
    const injection = this.#injections.find((candidate) => candidate.left > 0 && candidate.matches(request));
    if (injection === undefined) return undefined;
    injection.left -= 1;
    return injection.fault;
  }

  #route(request: IncomingMessage, url: URL, body: string, response: ServerResponse): void {
    const { resource, namespace, name, subresource } = this.#locate(url.pathname);
    const query = url.searchParams;
    const write: FakeWrite = {
      subresource,
      fieldManager: query.get('fieldManager') ?? undefined,
      dryRun: query.has('dryRun'),
    };
    const selection = {
      namespace,
      labelSelector: query.get('labelSelector') ?? undefined,
      fieldSelector: query.get('fieldSelector') ?? undefined,
    };
    const where = { namespace, name: name ?? '' };
    const parsed = body === '' ? {} : (parse(body) as Json);
    switch (request.method) {
      case 'GET':
        if (name !== undefined) send(response, 200, this.store.get(resource, where));
        else if (query.get('watch') === 'true') {
          this.#watch(resource, selection, query.get('resourceVersion') ?? '', response);
        } else {
          const limit = Number(query.get('limit') ?? 0);
          const page = this.store.list(resource, selection, {
            limit,
            token: query.get('continue') ?? undefined,
          });
          const metadata = { resourceVersion: page.version, continue: page.token ?? '' };
          send(response, 200, { kind: `${resource.kind}List`, metadata, items: page.items });
        }
        return;
      case 'POST': {
        const metadata = {
          ...(parsed['metadata'] as Json),
          ...(namespace === undefined ? {} : { namespace }),
        };
        send(response, 201, this.store.create(resource, { ...parsed, metadata }, write));
        return;
      }
      case 'PUT':
        send(response, 200, this.store.update(resource, parsed, write));
        return;
      case 'PATCH': {
        const patch = patchOf(request.headers['content-type'] ?? '', parsed, query.get('force') === 'true');
        send(response, 200, this.store.patch(resource, where, patch, write));
        return;
      }
      case 'DELETE':
        send(
          response,
          200,
          this.store.delete(resource, where, (parsed['preconditions'] as Json | undefined) ?? {}),
        );
        return;
      default:
        throw new ApiError(405, 'MethodNotAllowed', `no ${request.method ?? ''}`);
    }
  }

  #watch(
    resource: Resource<KubeObject>,
    selection: {
      namespace: string | undefined;
      labelSelector: string | undefined;
      fieldSelector: string | undefined;
    },
    version: string,
    response: ServerResponse,
  ): void {
    const lines: string[] = [];
    let started = false;
    const watching = this.store.watch(resource, selection, version, (event) => {
      const line = `${JSON.stringify(event)}\n`;
      if (!started) lines.push(line);
      // A stream that ends says no more; the client comes again from where it was.
      else if (!response.writableEnded && !response.destroyed) response.write(line);
    });
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    for (const line of lines) response.write(line);
    started = true;
    this.#streams.add(response);
    response.once('close', () => {
      watching[Symbol.dispose]();
      this.#streams.delete(response);
    });
  }

  #locate(pathname: string): {
    resource: Resource<KubeObject>;
    namespace: string | undefined;
    name: string | undefined;
    subresource: string | undefined;
  } {
    const parts = pathname.split('/').slice(1).map(decodeURIComponent);
    const group = parts.shift() === 'api' ? '' : (parts.shift() ?? '');
    parts.shift();
    const namespaced = parts[0] === 'namespaces' && parts.length > 2;
    const namespace = namespaced ? parts.splice(0, 2)[1] : undefined;
    const [plural, name, subresource] = parts;
    const resource = this.#resources.find((known) => known.group === group && known.plural === plural);
    if (resource === undefined)
      throw new ApiError(404, 'NotFound', 'the server could not find the requested resource');
    return { resource, namespace, name, subresource };
  }
}

function patchOf(contentType: string, body: unknown, force: boolean): FakePatch {
  if (contentType.includes('apply-patch')) return { type: 'apply', body, force };
  if (contentType.includes('json-patch')) return { type: 'json', body };
  if (contentType.includes('merge-patch')) return { type: 'merge', body };
  throw new ApiError(415, 'UnsupportedMediaType', `no ${contentType}`);
}

function send(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}
