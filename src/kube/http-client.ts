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
import { SilenceSignal } from './silence-signal.ts';
import { isUnauthorized, retryAfterMs, statusFault } from './status-fault.ts';
import { type HttpResponse, readBody, Transport } from './transport.ts';

export interface HttpKubeClientOptions {
  readonly access: ClusterAccess;
  /** E.g. `keelson-agent/1.2.0`. */
  readonly userAgent: string;
  /** Requests a second in the long run, default 20. */
  readonly qps?: number;
  /** Requests at once after a pause, default 40. */
  readonly burst?: number;
  /** For one request with its repetitions, without a watch's stream; default 30 s. */
  readonly timeoutMs?: number;
  /**
   * A watch that is silent for so long ends, for it may be dead; default 150 s. Bookmarks come once a minute at best: of a kind of which
   * nothing changes, a server may send none.
   */
  readonly silenceMs?: number;
}

/** Told of every answer, for metrics. */
export interface RequestObserver {
  /** `status` 0: there was no answer. A watch's duration is the time to its first byte. */
  answered(verb: string, resource: string, status: number, durationMs: number): void;
  /** A request waited for its turn, or because the server asked to. */
  throttled(waitMs: number): void;
}

export interface HttpKubeClientDeps {
  readonly clock?: Clock;
  readonly observer?: RequestObserver;
}

/** An answer that says "later" is followed so often. */
const MAX_REPETITIONS = 4;
const MAX_RETRY_AFTER_MS = 10_000;

/** KubeClient over HTTP. Disposing ends its connections. */
export class HttpKubeClient implements KubeClient, Disposable {
  readonly #options: Required<HttpKubeClientOptions>;
  readonly #clock: Clock;
  readonly #observer: RequestObserver | undefined;
  readonly #limiter: RateLimiter;
  readonly #transport: Transport;

  constructor(options: HttpKubeClientOptions, { clock = systemClock, observer }: HttpKubeClientDeps = {}) {
    this.#options = { qps: 20, burst: 40, timeoutMs: 30_000, silenceMs: 150_000, ...options };
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
    // A server leaves kind and apiVersion out of the items of a list.
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
    // A subresource (a token, an eviction) is created below its object.
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
    using silence = new SilenceSignal(this.#options.silenceMs, this.#clock);
    using linked = linkSignals(options.signal, silence.signal);
    let response: HttpResponse | undefined;
    try {
      response = await this.#send(call, linked.signal);
      yield { type: 'OPENED' };
      for await (const line of readJsonLines(silence.watched(response.body))) {
        yield watchEvent<T>(line as WatchLine<T>, describe(call));
      }
    } catch (error) {
      if (options.signal.aborted) throw options.signal.reason as Error;
      // Whoever goes on from here asks again, and sees then whether the server is there.
      if (silence.signal.aborted && response !== undefined) return;
      if (error instanceof Fault) throw error;
      throw new Fault('unavailable', `${describe(call)}: the stream broke`, { cause: error });
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
        throw new Fault('unavailable', `${describe(call)}: the answer is no JSON`, { cause: error });
      }
      if (!signal?.aborted && deadline.signal.aborted) {
        throw new Fault('timeout', `${describe(call)}: no answer within ${this.#options.timeoutMs} ms`, {
          cause: error,
        });
      }
      throw error;
    }
  }

  /** An answer of success. Repeats what the server asks to repeat, and once with fresh credentials. */
  async #send(call: Call, signal: AbortSignal): Promise<HttpResponse> {
    let refused = false;
    for (let repetition = 0; ; repetition += 1) {
      this.#throttled(await this.#limiter.take({ signal }));
      try {
        return await this.#attempt(call, signal);
      } catch (error) {
        if (isUnauthorized(error)) {
          this.#options.access.credentials.reject();
          if (refused) throw error;
          refused = true;
          continue;
        }
        const waitMs = retryAfterMs(error);
        if (waitMs === undefined || waitMs > MAX_RETRY_AFTER_MS || repetition >= MAX_REPETITIONS) throw error;
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
      this.#observer?.answered(call.verb, call.resource.plural, status, elapsedMs);
    }
  }

  #throttled(waitMs: number): void {
    if (waitMs > 0) this.#observer?.throttled(waitMs);
  }
}
