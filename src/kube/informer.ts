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
   * What is kept of an object; default: all but `managedFields`. Must leave the metadata that makes its key and version. A change of what it
   * leaves out is no news for handlers: a Node's heartbeat is of no interest to most who follow Nodes.
   */
  readonly transform?: (object: T) => T;
  readonly indexers?: Indexers<T>;
  /** Every key is handed to the handlers again after this, against whatever was missed; default 1 hour. */
  readonly resyncMs?: number;
  readonly pageSize?: number;
  /** Between attempts while the server cannot be reached. */
  readonly backoff?: BackoffOptions;
}

export interface InformerDeps {
  readonly client: Pick<KubeClient, 'list' | 'watch'>;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly observer?: InformerObserver;
  readonly random?: () => number;
}

/** `ended` is in order; after `expired` follows a new list; `failed` is everything else. */
export type WatchEnd = 'ended' | 'expired' | 'failed';

/** Told of what an informer goes through, for metrics. */
export interface InformerObserver {
  watchEnded(resource: string, why: WatchEnd): void;
  listed(resource: string, objects: number): void;
}

/** `current` alone: new, or handed out again by a resync; `previous` alone: gone. */
export interface Change<T> {
  readonly key: string;
  readonly previous?: T | undefined;
  readonly current?: T | undefined;
}

/** Enqueues keys and does no more: it may be called for what did not change, and never for what came and went in between. */
export type ChangeHandler<T> = (change: Change<T>) => void;

const DEFAULT_BACKOFF: BackoffOptions = { baseMs: 500, maxMs: 30_000, jitter: 0.5 };

/** The server ends a watch after 5 to 10 minutes, so that load spreads again after a restart of one of several. */
const WATCH_MIN_MS = 5 * 60_000;

/** After so many watches in a row that break without an event, the list is read again: the version may be one that no watch survives. */
const BARREN_WATCHES = 5;

/** A watch that lived for this long was a good one, even if nothing happened. */
const LONG_WATCH_MS = 5_000;

const DEFAULT_RESYNC_MS = 3_600_000;

/**
 * A local copy of a kind that follows the API server through everything that ends a watch. It is late at times, but never wrong for good,
 * and an outage leaves it as it was.
 */
export class Informer<T extends KubeObject> {
  readonly #options: InformerOptions<T>;
  readonly #deps: InformerDeps;
  readonly #clock: Clock;
  readonly #store: ObjectStore<T>;
  readonly #handlers = new Set<ChangeHandler<T>>();
  readonly #synced = Promise.withResolvers<undefined>();
  /** Writes of our own, told by `remember`, that neither a list nor a watch has confirmed. */
  readonly #unconfirmed = new Set<string>();
  #version: string | undefined;
  #barren = 0;
  /** The present watch brought an event, or lived for long. */
  #lively = false;
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

  /** Since when the server was not heard of; undefined before the first list. Health checks compare it with a limit. */
  get silentForMs(): number | undefined {
    return this.#contactMs === undefined ? undefined : this.#clock.monotonicMs() - this.#contactMs;
  }

  /** Resolves when the first list is in the store and the handlers know of it. */
  async synced({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await raceSignal(this.#synced.promise, signal);
  }

  /** Calls `handler` for every change from now on, and now for what is there. Disposing ends that. */
  subscribe(handler: ChangeHandler<T>): Disposable {
    this.#handlers.add(handler);
    for (const current of this.#store.values()) handler({ key: keyOf(current), current });
    return { [Symbol.dispose]: () => this.#handlers.delete(handler) };
  }

  /**
   * Puts the answer to a write or a read of our own into the store, so that the next look sees it before its event comes. One that the
   * stream has passed already says nothing new: where the store does not have it, it has been deleted since, and nobody would take it out again.
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

  /** Follows the server until the signal aborts. Rejects only with a bug, such as a handler that throws. */
  async run(signal: AbortSignal): Promise<void> {
    using _resync = this.#scheduleResyncs();
    for (let attempt = 0; !signal.aborted; ) {
      this.#lively = false;
      let failure: Fault | undefined;
      try {
        if (this.#version === undefined) await this.#list(signal);
        await this.#watch(signal);
        this.#observeEnd('ended');
        // Ending is what watches do; one that ends at once and brings nothing must not become a busy loop.
        if (this.#lively) {
          attempt = 0;
          continue;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!isFault(error) || error.kind === 'bug') throw error;
        failure = error;
      }
      attempt = this.#lively ? 1 : attempt + 1;
      if (failure !== undefined) this.#recover(failure, attempt);
      await this.#pause(attempt, retryAfterMs(failure), signal);
    }
  }

  /** Page by page into the store: objects are up to date before those that are gone go. */
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
    this.#barren = 0;
    this.#deps.observer?.listed(resource.plural, this.#store.size);
    this.#hasSynced = true;
    this.#synced.resolve(undefined);
  }

  /** Follows one stream to its end, and notes whether it brought an event or lived for long. */
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
          this.#barren += 1;
          continue;
        }
        this.#barren = 0;
        this.#lively = true;
        this.#handle(event);
      }
    } finally {
      if (this.#clock.monotonicMs() - startedMs >= LONG_WATCH_MS) this.#lively = true;
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
    if (expired || this.#barren >= BARREN_WATCHES) this.#version = undefined;
    const fields = { resource: plural, attempt, err: error };
    if (expired) this.#deps.logger.debug(fields, 'watch expired, will list again');
    else this.#deps.logger.warn(fields, 'watch failed, will try again');
  }

  /** A stored object that was remembered and that `version` does not know of yet. */
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
    const isNews = this.#options.transform === undefined || !differsInVersionAlone(previous, current);
    if (isNews) this.#tell({ key: keyOf(current), previous, current });
  }

  #remove(key: string): void {
    this.#unconfirmed.delete(key);
    const previous = this.#store.delete(key);
    if (previous !== undefined) this.#tell({ key, previous });
  }

  #tell(change: Change<T>): void {
    for (const handler of this.#handlers) handler(change);
  }

  async #pause(attempt: number, askedMs: number | undefined, signal: AbortSignal): Promise<void> {
    const { backoff = DEFAULT_BACKOFF } = this.#options;
    const delayMs = Math.max(
      backoffMs(attempt, backoff, () => this.#random()),
      askedMs ?? 0,
    );
    await sleep(delayMs, { signal, clock: this.#clock }).catch(() => undefined);
  }

  #scheduleResyncs(): Disposable {
    const everyMs = this.#options.resyncMs ?? DEFAULT_RESYNC_MS;
    const schedule = (): Disposable =>
      this.#clock.schedule(everyMs * (0.9 + 0.2 * this.#random()), () => {
        timer = schedule();
        for (const key of [...this.#store.keys()]) this.#tell({ key, current: this.#store.get(key) });
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

/** Half of the memory of many objects, and of use to the server alone. */
export function withoutManagedFields<T extends KubeObject>(object: T): T {
  if (object.metadata?.managedFields === undefined) return object;
  const { managedFields: _dropped, ...metadata } = object.metadata;
  return { ...object, metadata };
}
