import { Fault } from '../core/fault.ts';
import { type Clock, sleep, systemClock } from '../runtime/clock.ts';
import { deadlineSignal, linkSignals } from '../runtime/signals.ts';
import type {
  CallOptions,
  DeleteOptions,
  KubeClient,
  ListOptions,
  Page,
  Patch,
  WatchEvent,
  WatchOptions,
  WriteOptions,
} from './client.ts';
import type { ClusterAccess } from './transport.ts';
import {
  type Call,
  describe,
  type ListBody,
  patchBody,
  selection,
  subresourceOf,
  targetOf,
  watchEvent,
  type WatchLine,
  withType,
} from './http-call.ts';
import { readJsonLines } from './json-lines.ts';
import { RateLimiter } from './rate-limiter.ts';
import { type KubeObject, type ObjectName, pathOf, type Resource } from './resource.ts';
import { IdleTimeout } from './idle-timeout.ts';
import { isUnauthorized, retryAfterMs, statusFault } from './status-fault.ts';
import { type HttpResponse, readBody, Transport } from './transport.ts';

export interface HttpKubeClientOptions {
  readonly access: ClusterAccess;
  /** E.g. `keelson-agent/1.2.0`. */
  readonly userAgent: string;
  /** Sustained requests a second, default 20. */
  readonly qps?: number;
  /** Burst of requests, default 40. */
  readonly burst?: number;
  /** Limit for one request with its retries, not for the stream of a watch; default 30 s. */
  readonly timeoutMs?: number;
  /**
   * Ends a watch without data for this long, whose connection may be dead; default 150 s. Bookmarks
   * arrive at most once a minute, and may not arrive for an unchanged kind.
   */
  readonly watchIdleMs?: number;
}

/** Observes requests, for metrics. */
export interface RequestObserver {
  /** `status` 0: no response. The duration of a watch is the time to its first byte. */
  completed(verb: string, resource: string, status: number, durationMs: number): void;
  /** A request waited for the rate limit or for Retry-After. */
  throttled(waitMs: number): void;
}

interface HttpKubeClientDeps {
  readonly clock?: Clock;
  readonly observer?: RequestObserver;
}

/** Retries after a response with Retry-After. */
const MAX_RETRIES = 4;
const MAX_RETRY_AFTER_MS = 10_000;

/** KubeClient over HTTP. Disposing closes its connections. */
export class HttpKubeClient implements KubeClient, Disposable {
  readonly #options: Required<HttpKubeClientOptions>;
  readonly #clock: Clock;
  readonly #observer: RequestObserver | undefined;
  readonly #limiter: RateLimiter;
  readonly #transport: Transport;

  constructor(options: HttpKubeClientOptions, { clock = systemClock, observer }: HttpKubeClientDeps = {}) {
    this.#options = { qps: 20, burst: 40, timeoutMs: 30_000, watchIdleMs: 150_000, ...options };
    this.#clock = clock;
    this.#observer = observer;
    this.#limiter = new RateLimiter(this.#options, { clock });
    this.#transport = new Transport(options);
  }

  async get<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    options: CallOptions = {},
  ): Promise<T> {
    return await this.#json<T>(
      { verb: 'get', resource, method: 'GET', path: pathOf(resource, name) },
      options,
    );
  }

  async list<T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}): Promise<Page<T>> {
    const answer = await this.#json<ListBody<T>>(
      {
        verb: 'list',
        resource,
        method: 'GET',
        path: pathOf(resource, { namespace: options.namespace }),
        query: { ...selection(options), limit: options.limit, continue: options.continue },
      },
      options,
    );
    const { resourceVersion = '', continue: next } = answer.metadata ?? {};
    // Items of a list have no kind and no apiVersion.
    const items = (answer.items ?? []).map((item) => withType(item, resource));
    return { items, resourceVersion, continue: next === '' ? undefined : next };
  }

  async create<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options: WriteOptions = {},
  ): Promise<T> {
    const { namespace, name } = object.metadata ?? {};
    const { subresource } = options;
    // A subresource (token, eviction) is created below its object.
    const where =
      subresource === undefined || name === undefined ? { namespace } : { namespace, name, subresource };
    const path = pathOf(resource, where);
    return await this.#write<T>(
      { verb: 'create', resource, method: 'POST', path, body: withType(object, resource) },
      options,
    );
  }

  async update<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options: WriteOptions = {},
  ): Promise<T> {
    const { namespace, name = '' } = object.metadata ?? {};
    const path = pathOf(resource, { namespace, name, ...subresourceOf(options) });
    return await this.#write<T>(
      { verb: 'update', resource, method: 'PUT', path, body: withType(object, resource) },
      options,
    );
  }

  async patch<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    patch: Patch,
    options: WriteOptions = {},
  ): Promise<T> {
    const path = pathOf(resource, { ...name, ...subresourceOf(options) });
    const { body, contentType, query, fieldManager } = patchBody(patch, resource, name);
    const verb = 'apply' in patch ? 'apply' : 'patch';
    const call: Call = { verb, resource, method: 'PATCH', path, body, contentType, query };
    return await this.#write<T>(call, fieldManager === undefined ? options : { ...options, fieldManager });
  }

  async delete<T extends KubeObject>(
    resource: Resource<T>,
    name: ObjectName,
    { precondition, propagation, gracePeriodSeconds, ...options }: DeleteOptions = {},
  ): Promise<void> {
    const body = {
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      preconditions: precondition,
      propagationPolicy: propagation,
      gracePeriodSeconds,
    };
    await this.#json(
      { verb: 'delete', resource, method: 'DELETE', path: pathOf(resource, name), body },
      options,
    );
  }

  async *watch<T extends KubeObject>(
    resource: Resource<T>,
    options: WatchOptions,
  ): AsyncGenerator<WatchEvent<T>> {
    const call: Call = {
      verb: 'watch',
      resource,
      method: 'GET',
      path: pathOf(resource, { namespace: options.namespace }),
      query: {
        ...selection(options),
        watch: true,
        allowWatchBookmarks: true,
        resourceVersion: options.resourceVersion,
        timeoutSeconds: Math.ceil(options.timeoutMs / 1_000),
      },
    };
    using idle = new IdleTimeout(this.#options.watchIdleMs, this.#clock);
    using linked = linkSignals(options.signal, idle.signal);
    let response: HttpResponse | undefined;
    try {
      response = await this.#send(call, linked.signal);
      yield { type: 'OPENED' };
      for await (const line of readJsonLines(idle.watched(response.body))) {
        yield watchEvent<T>(line as WatchLine<T>, describe(call));
      }
    } catch (error) {
      if (options.signal.aborted) throw options.signal.reason as Error;
      // The caller opens the next watch and learns whether the server responds.
      if (idle.signal.aborted && response !== undefined) return;
      if (error instanceof Fault) throw error;
      throw new Fault('unavailable', `${describe(call)}: connection of the watch broke`, { cause: error });
    } finally {
      response?.body.destroy();
    }
  }

  [Symbol.dispose](): void {
    this.#transport[Symbol.dispose]();
  }

  async #write<T>(call: Call, { dryRun, fieldManager, ...options }: WriteOptions): Promise<T> {
    const query = { ...call.query, dryRun: dryRun === true ? 'All' : undefined, fieldManager };
    return await this.#json<T>({ ...call, query }, options);
  }

  async #json<T>(call: Call, { signal }: CallOptions): Promise<T> {
    using deadline = deadlineSignal(this.#options.timeoutMs, { signal, clock: this.#clock });
    try {
      const response = await this.#send(call, deadline.signal);
      return JSON.parse(await readBody(response, deadline.signal)) as T;
    } catch (error) {
      if (error instanceof SyntaxError) {
        throw new Fault('unavailable', `${describe(call)}: invalid JSON in response`, { cause: error });
      }
      if (!signal?.aborted && deadline.signal.aborted) {
        throw new Fault('timeout', `${describe(call)}: no response within ${this.#options.timeoutMs} ms`, {
          cause: error,
        });
      }
      throw error;
    }
  }

  /** Returns a successful response. Retries after Retry-After, once with renewed credentials. */
  async #send(call: Call, signal: AbortSignal): Promise<HttpResponse> {
    let isRenewed = false;
    for (let retry = 0; ; retry += 1) {
      this.#throttled(await this.#limiter.take({ signal }));
      try {
        return await this.#attempt(call, signal);
      } catch (error) {
        if (isUnauthorized(error)) {
          this.#options.access.credentials.reject();
          if (isRenewed) throw error;
          isRenewed = true;
          continue;
        }
        const waitMs = retryAfterMs(error);
        if (waitMs === undefined || waitMs > MAX_RETRY_AFTER_MS || retry >= MAX_RETRIES) throw error;
        this.#throttled(waitMs);
        await sleep(waitMs, { signal, clock: this.#clock });
      }
    }
  }

  async #attempt(call: Call, signal: AbortSignal): Promise<HttpResponse> {
    const startedMs = this.#clock.monotonicMs();
    let status = 0;
    try {
      const response = await this.#transport.send({
        method: call.method,
        target: targetOf(call),
        body: call.body === undefined ? undefined : JSON.stringify(call.body),
        contentType: call.contentType,
        isStream: call.verb === 'watch',
        signal,
      });
      ({ status } = response);
      if (status >= 200 && status < 300) return response;
      const body = await readBody(response, signal);
      throw statusFault({ request: describe(call), status, body, retryAfter: response.retryAfter });
    } finally {
      const elapsedMs = this.#clock.monotonicMs() - startedMs;
      this.#observer?.completed(call.verb, call.resource.plural, status, elapsedMs);
    }
  }

  #throttled(waitMs: number): void {
    if (waitMs > 0) this.#observer?.throttled(waitMs);
  }
}
