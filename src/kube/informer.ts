import { isDeepStrictEqual } from 'node:util';
import { type Fault, isFault } from '../core/fault.ts';
import { type Clock, sleep, systemClock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/logger.ts';
import { type BackoffOptions, backoffMs } from '../runtime/retry.ts';
import { raceSignal } from '../runtime/signals.ts';
import { type KubeClient, listPages, type Selection, type WatchEvent } from './client.ts';
import { type Indexers, ObjectStore, type ReadonlyStore } from './object-store.ts';
import { type KubeObject, keyOf, type Resource } from './resource.ts';
import { isNewerVersion, versionOf } from './resource-version.ts';
import { isExpired, retryAfterMs } from './status-fault.ts';

export interface InformerOptions<T extends KubeObject> extends Selection {
  readonly resource: Resource<T>;
  /**
   * Returns the stored part of an object; default: all but `managedFields`. Must keep the metadata
   * of its key and version. Handlers are not called for changes of dropped fields, e.g. heartbeats.
   */
  readonly transform?: (object: T) => T;
  readonly indexers?: Indexers<T>;
  /** Handlers are called again for every object at this interval; default 1 hour. */
  readonly resyncMs?: number;
  readonly pageSize?: number;
  /** Delay between attempts. */
  readonly backoff?: BackoffOptions;
}

export interface InformerDeps {
  readonly client: Pick<KubeClient, 'list' | 'watch'>;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly observer?: InformerObserver;
  readonly random?: () => number;
}

/** `ended` by the server; `expired` leads to a new list; `failed` is everything else. */
export type WatchEnd = 'ended' | 'expired' | 'failed';

/** Observes an informer, for metrics. */
export interface InformerObserver {
  watchEnded(resource: string, why: WatchEnd): void;
  listed(resource: string, objects: number): void;
}

/** `current` alone: added, or a resync; `previous` alone: deleted. */
export interface Change<T> {
  readonly key: string;
  readonly previous?: T | undefined;
  readonly current?: T | undefined;
}

/**
 * Enqueues keys only. It may be called without a change, and is not called for an object that was
 * added and deleted between two lists.
 */
type ChangeHandler<T> = (change: Change<T>) => void;

const DEFAULT_BACKOFF: BackoffOptions = { baseMs: 500, maxMs: 30_000, jitter: 0.5 };

/** Watches end after 5 to 10 minutes, so that they spread over restarted API servers again. */
const WATCH_MIN_MS = 5 * 60_000;

/** Watches without an event before a new list: the version itself may break them. */
const EMPTY_WATCHES = 5;

/** A watch that lasted this long counts as healthy, even without events. */
const LONG_WATCH_MS = 5_000;

const DEFAULT_RESYNC_MS = 3_600_000;

/**
 * A local copy of a kind that follows the API server. It may lag, converges after every broken or
 * expired watch, and keeps its objects during an outage.
 */
export class Informer<T extends KubeObject> {
  readonly #options: InformerOptions<T>;
  readonly #deps: InformerDeps;
  readonly #clock: Clock;
  readonly #store: ObjectStore<T>;
  readonly #handlers = new Set<ChangeHandler<T>>();
  readonly #synced = Promise.withResolvers<undefined>();
  /** Keys of own writes (`remember`) that neither a list nor a watch has returned yet. */
  readonly #unconfirmed = new Set<string>();
  #version: string | undefined;
  #emptyWatches = 0;
  /** The current watch had an event or lasted `LONG_WATCH_MS`. */
  #isHealthy = false;
  #contactMs: number | undefined;
  #hasSynced = false;

  constructor(options: InformerOptions<T>, deps: InformerDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#store = new ObjectStore(options.indexers);
  }

  get store(): ReadonlyStore<T> {
    return this.#store;
  }

  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** Time since the last response of the server; undefined before the first list. */
  get lastContactAgeMs(): number | undefined {
    return this.#contactMs === undefined ? undefined : this.#clock.monotonicMs() - this.#contactMs;
  }

  /** Resolves when the first list is in the store and the handlers have been called. */
  async synced({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await raceSignal(this.#synced.promise, signal);
  }

  /** Calls `handler` for every stored object now and for every change until disposed. */
  subscribe(handler: ChangeHandler<T>): Disposable {
    this.#handlers.add(handler);
    for (const current of this.#store.values()) handler({ key: keyOf(current), current });
    return { [Symbol.dispose]: () => this.#handlers.delete(handler) };
  }

  /**
   * Stores the response to an own write or read before its watch event arrives. Ignores versions
   * that the watch has passed: an object absent from the store was deleted since, and no event
   * would remove it again.
   */
  remember(object: T): void {
    const kept = this.#transform(object);
    const key = keyOf(kept);
    const version = versionOf(kept);
    if (!isNewerVersion(version, versionOf(this.#store.get(key) ?? {}) ?? '0')) return;
    if (this.#version !== undefined && !isNewerVersion(version, this.#version)) return;
    this.#unconfirmed.add(key);
    this.#put(kept);
  }

  /** Lists and watches until the signal aborts. Rejects only if a handler throws. */
  async run(signal: AbortSignal): Promise<void> {
    using _resync = this.#scheduleResyncs();
    for (let attempt = 0; !signal.aborted; ) {
      this.#isHealthy = false;
      let failure: Fault | undefined;
      try {
        if (this.#version === undefined) await this.#list(signal);
        await this.#watch(signal);
        this.#observeEnd('ended');
        // A watch that ends at once without events must not become a busy loop.
        if (this.#isHealthy) {
          attempt = 0;
          continue;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!isFault(error) || error.kind === 'bug') throw error;
        failure = error;
      }
      attempt = this.#isHealthy ? 1 : attempt + 1;
      if (failure !== undefined) this.#recover(failure, attempt);
      await this.#pause(attempt, retryAfterMs(failure), signal);
    }
  }

  /** Stores each page, then removes objects that no page had. */
  async #list(signal: AbortSignal): Promise<void> {
    const { resource, pageSize, namespace, labelSelector, fieldSelector } = this.#options;
    const limit = pageSize === undefined ? {} : { limit: pageSize };
    const seen = new Set<string>();
    let version = '';
    const options = { namespace, labelSelector, fieldSelector, signal, ...limit };
    for await (const page of listPages(this.#deps.client, resource, options)) {
      version = page.resourceVersion;
      this.#contactMs = this.#clock.monotonicMs();
      for (const object of page.items) {
        seen.add(keyOf(object));
        this.#observeObject(object);
      }
    }
    for (const key of [...this.#store.keys()]) {
      if (!seen.has(key) && !this.#awaitsNewer(key, version)) this.#remove(key);
    }
    this.#version = version;
    this.#emptyWatches = 0;
    this.#deps.observer?.listed(resource.plural, this.#store.size);
    this.#hasSynced = true;
    this.#synced.resolve(undefined);
  }

  /** Follows one watch to its end, and records whether it was healthy. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { resource, namespace, labelSelector, fieldSelector } = this.#options;
    const startedMs = this.#clock.monotonicMs();
    const stream = this.#deps.client.watch(resource, {
      namespace,
      labelSelector,
      fieldSelector,
      resourceVersion: this.#version ?? '',
      timeoutMs: WATCH_MIN_MS * (1 + this.#random()),
      signal,
    });
    try {
      for await (const event of stream) {
        this.#contactMs = this.#clock.monotonicMs();
        if (event.type === 'OPENED') {
          this.#emptyWatches += 1;
          continue;
        }
        this.#emptyWatches = 0;
        this.#isHealthy = true;
        this.#handle(event);
      }
    } finally {
      if (this.#clock.monotonicMs() - startedMs >= LONG_WATCH_MS) this.#isHealthy = true;
    }
  }

  #handle(event: Exclude<WatchEvent<T>, { readonly type: 'OPENED' }>): void {
    if (event.type === 'BOOKMARK') {
      this.#version = event.resourceVersion;
      return;
    }
    if (event.type === 'DELETED') {
      const key = keyOf(event.object);
      if (!this.#awaitsNewer(key, versionOf(event.object))) this.#remove(key);
    } else {
      this.#observeObject(event.object);
    }
    this.#version = versionOf(event.object) ?? this.#version;
  }

  #recover(error: Fault, attempt: number): void {
    const { plural } = this.#options.resource;
    const expired = isExpired(error);
    this.#observeEnd(expired ? 'expired' : 'failed');
    if (expired || this.#emptyWatches >= EMPTY_WATCHES) this.#version = undefined;
    const fields = { resource: plural, attempt, err: error };
    if (expired) this.#deps.logger.debug(fields, 'watch expired; listing again');
    else this.#deps.logger.warn(fields, 'watch failed; retrying');
  }

  /** Whether the store has an own write that is newer than `version`. */
  #awaitsNewer(key: string, version: string | undefined): boolean {
    return this.#unconfirmed.has(key) && isNewerVersion(versionOf(this.#store.get(key) ?? {}), version);
  }

  #observeObject(object: T): void {
    const key = keyOf(object);
    if (this.#awaitsNewer(key, versionOf(object))) return;
    this.#unconfirmed.delete(key);
    const known = this.#store.get(key);
    const same = known !== undefined && versionOf(known) === versionOf(object);
    if (!same || known.metadata?.uid !== object.metadata?.uid) this.#put(this.#transform(object));
  }

  #transform(object: T): T {
    return (this.#options.transform ?? withoutManagedFields)(object);
  }

  #put(current: T): void {
    const previous = this.#store.set(current);
    const isVisible = this.#options.transform === undefined || !differsInVersionAlone(previous, current);
    if (isVisible) this.#notify({ key: keyOf(current), previous, current });
  }

  #remove(key: string): void {
    this.#unconfirmed.delete(key);
    const previous = this.#store.delete(key);
    if (previous !== undefined) this.#notify({ key, previous });
  }

  #notify(change: Change<T>): void {
    for (const handler of this.#handlers) handler(change);
  }

  async #pause(attempt: number, retryAfter: number | undefined, signal: AbortSignal): Promise<void> {
    const { backoff = DEFAULT_BACKOFF } = this.#options;
    const delayMs = Math.max(
      backoffMs(attempt, backoff, () => this.#random()),
      retryAfter ?? 0,
    );
    await sleep(delayMs, { signal, clock: this.#clock }).catch(() => undefined);
  }

  #scheduleResyncs(): Disposable {
    const everyMs = this.#options.resyncMs ?? DEFAULT_RESYNC_MS;
    const schedule = (): Disposable =>
      this.#clock.schedule(everyMs * (0.9 + 0.2 * this.#random()), () => {
        timer = schedule();
        for (const key of [...this.#store.keys()]) this.#notify({ key, current: this.#store.get(key) });
      });
    let timer = schedule();
    return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
  }

  #observeEnd(why: WatchEnd): void {
    this.#deps.observer?.watchEnded(this.#options.resource.plural, why);
  }

  #random(): number {
    return (this.#deps.random ?? Math.random)();
  }
}

function differsInVersionAlone(previous: KubeObject | undefined, current: KubeObject): boolean {
  return previous !== undefined && isDeepStrictEqual(withoutVersion(previous), withoutVersion(current));
}

function withoutVersion({ metadata, ...rest }: KubeObject): object {
  const { resourceVersion: _dropped, ...kept } = metadata ?? {};
  return { ...rest, metadata: kept };
}

/** Drops `managedFields`: half of many objects' memory, and used by the server only. */
export function withoutManagedFields<T extends KubeObject>(object: T): T {
  if (object.metadata?.managedFields === undefined) return object;
  const { managedFields: _dropped, ...metadata } = object.metadata;
  return { ...object, metadata };
}
