import { isFault } from '../core/fault.ts';
import type { EventReason } from '../core/reasons/event-reasons.ts';
import { type Clock, systemClock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/logger.ts';
import { WorkQueue, type WorkResult } from '../runtime/work-queue.ts';
import { EVENTS, type KubeEvent } from './built-in.ts';
import type { KubeClient } from './client.ts';
import { microTime } from './lease.ts';
import { apiVersionOf, type KubeObject, type Resource } from './resource.ts';

/** Content of one event. */
export interface EventNote {
  readonly type: 'Normal' | 'Warning';
  /** CamelCase, e.g. `ProvisioningFailed`. */
  readonly reason: EventReason;
  /** The attempted action, e.g. `Provision`. */
  readonly action: string;
  /** Human-readable; truncated to `MAX_NOTE_LENGTH`. */
  readonly note: string;
}

interface EventRecorderOptions {
  /** E.g. `keelson.dev/controller`. */
  readonly controller: string;
  /** Name of the pod or the node. */
  readonly instance: string;
}

interface EventRecorderDeps {
  readonly client: Pick<KubeClient, 'create' | 'patch'>;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly random?: () => number;
}

interface Series {
  readonly event: KubeEvent;
  count: number;
  lastMs: number;
  /** `metadata.name` on the server; undefined until the first write. */
  storedName: string | undefined;
  writtenCount: number;
}

interface Budget {
  tokens: number;
  updatedMs: number;
}

/** An equal event within this time extends the series. */
const SERIES_MS = 6 * 60_000;
/** Minimum time between two writes of a series. */
const SERIES_WRITE_MS = 30_000;
const MAX_SERIES = 2_000;
/** Token bucket of one object: a reconcile loop must not flood the cluster. */
const BURST_PER_OBJECT = 25;
const REFILL_MS = 300_000;
const MAX_NOTE_LENGTH = 1_000;

/** Records events about objects in the background; repeated events become a series with a count. */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #deps: EventRecorderDeps;
  readonly #clock: Clock;
  readonly #series = new Map<string, Series>();
  readonly #budgets = new Map<string, Budget>();
  readonly #queue: WorkQueue<string>;

  constructor(options: EventRecorderOptions, deps: EventRecorderDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#queue = new WorkQueue({ name: 'events', workers: 1 }, (key, signal) => this.#write(key, signal), {
      logger: deps.logger,
      clock: this.#clock,
    });
  }

  /** Queues an event; never throws. Drops one that cannot be written: it is in the log. */
  record<T extends KubeObject>(resource: Resource<T>, object: T, note: EventNote): void {
    const event = this.#eventOf(resource, object, note);
    this.#deps.logger.debug({ object: event.regarding?.name, ...note }, 'event');
    // Without the version, which changes with every write: no event would ever extend a series.
    const { resourceVersion: _version, ...regarding } = event.regarding ?? {};
    const key = JSON.stringify([regarding, note]);
    const nowMs = this.#clock.nowMs();
    const known = this.#series.get(key);
    if (known !== undefined && nowMs - known.lastMs < SERIES_MS) {
      known.count += 1;
      known.lastMs = nowMs;
      // Delays from the first unwritten repetition, so that frequent events are written too.
      if (known.count === known.writtenCount + 1) this.#queue.addAfter(key, SERIES_WRITE_MS);
      return;
    }
    if (!this.#spend(event.regarding?.uid ?? event.regarding?.name ?? '', nowMs)) return;
    this.#forgetOld(nowMs);
    this.#series.set(key, { event, count: 1, lastMs: nowMs, storedName: undefined, writtenCount: 0 });
    this.#queue.add(key);
  }

  /** Writes queued events until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#queue.run(signal);
  }

  async #write(key: string, signal: AbortSignal): Promise<WorkResult> {
    const series = this.#series.get(key);
    if (series === undefined || series.count === series.writtenCount) return undefined;
    const { count, lastMs, event } = series;
    try {
      if (series.storedName === undefined) await this.#create(series, signal);
      else await this.#update(series, series.storedName, count, lastMs, signal);
      series.writtenCount = count;
      // Recorded again during the write.
      if (series.count > count) return { afterMs: SERIES_WRITE_MS };
    } catch (error) {
      // Permanent: a terminating namespace, an invalid object. The queue retries other errors.
      const final = isFault(error) && FINAL_KINDS.has(error.kind);
      if (!final) throw error;
      this.#series.delete(key);
      this.#deps.logger.debug({ event: event.metadata?.name, err: error }, 'event refused, dropped');
    }
    return undefined;
  }

  async #create(series: Series, signal: AbortSignal): Promise<void> {
    const { count, lastMs } = series;
    const repeated = count > 1 ? { series: { count, lastObservedTime: microTime(lastMs) } } : {};
    const event = { ...series.event, ...repeated };
    const created = await this.#deps.client.create(EVENTS, event, { signal });
    series.storedName = created.metadata?.name;
  }

  async #update(
    series: Series,
    name: string,
    count: number,
    lastMs: number,
    signal: AbortSignal,
  ): Promise<void> {
    const merge = { series: { count, lastObservedTime: microTime(lastMs) } };
    const namespace = series.event.metadata?.namespace;
    try {
      await this.#deps.client.patch(EVENTS, { namespace, name }, { merge }, { signal });
    } catch (error) {
      // The API server deletes events after an hour.
      if (!isFault(error, 'not-found')) throw error;
      await this.#create(series, signal);
    }
  }

  #eventOf<T extends KubeObject>(resource: Resource<T>, object: T, note: EventNote): KubeEvent {
    const { name = '', namespace, uid, resourceVersion } = object.metadata ?? {};
    const nowMs = this.#clock.nowMs();
    const suffix = Math.floor((this.#deps.random ?? Math.random)() * 0xffff_ffff).toString(16);
    return {
      apiVersion: apiVersionOf(EVENTS),
      kind: EVENTS.kind,
      metadata: {
        // Events about cluster-scoped objects belong to this namespace.
        namespace: namespace ?? 'default',
        name: `${name.slice(0, 220)}.${nowMs.toString(16)}${suffix}`,
      },
      eventTime: microTime(nowMs),
      reportingController: this.#options.controller,
      reportingInstance: this.#options.instance.slice(0, 128),
      action: note.action,
      reason: note.reason,
      type: note.type,
      note: note.note.slice(0, MAX_NOTE_LENGTH),
      regarding: {
        apiVersion: apiVersionOf(resource),
        kind: resource.kind,
        name,
        ...(namespace === undefined ? {} : { namespace }),
        ...(uid === undefined ? {} : { uid }),
        ...(resourceVersion === undefined ? {} : { resourceVersion }),
      },
    };
  }

  #spend(object: string, nowMs: number): boolean {
    const { tokens, updatedMs } = this.#budgets.get(object) ?? { tokens: BURST_PER_OBJECT, updatedMs: nowMs };
    const filled = Math.min(BURST_PER_OBJECT, tokens + (nowMs - updatedMs) / REFILL_MS);
    const allowed = filled >= 1;
    this.#budgets.delete(object);
    this.#budgets.set(object, { tokens: allowed ? filled - 1 : filled, updatedMs: nowMs });
    return allowed;
  }

  /** Both maps are roughly in the order of last use. */
  #forgetOld(nowMs: number): void {
    for (const [key, { lastMs }] of this.#series) {
      if (nowMs - lastMs < SERIES_MS && this.#series.size < MAX_SERIES) break;
      this.#series.delete(key);
    }
    for (const [object] of this.#budgets) {
      if (this.#budgets.size < MAX_SERIES) break;
      this.#budgets.delete(object);
    }
  }
}

const FINAL_KINDS: ReadonlySet<string> = new Set([
  'invalid',
  'denied',
  'conflict',
  'not-found',
  'precondition',
  'unsupported',
]);
