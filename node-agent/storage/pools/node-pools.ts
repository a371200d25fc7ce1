import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Fault } from '../../../src/core/fault.ts';
import { differenceOf, type PoolSpec } from '../../../src/core/pools/pool.ts';
import { BoundedRunner } from '../../../src/runtime/bounded-runner.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import { findPool, type Pool, type PoolOrigin, type PoolSet, type PoolState } from '../contract/pool.ts';
import type { OpenPool } from './open-pool.ts';
import { readPoolSpecs, writePoolSpecs } from './pool-records.ts';

export interface NodePoolsOptions {
  readonly stateDir: string;
  /** Pools of the configuration file; they take precedence over pools of the API by name. */
  readonly configured: readonly PoolSpec[];
}

export interface NodePoolsDeps {
  readonly open: (spec: PoolSpec) => Promise<OpenPool>;
  /** Returns the number of volumes and snapshots recorded in a pool, in any phase. */
  readonly countRecords: (pool: string) => number;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** Callbacks of the service that uses the pools. */
export interface PoolHooks {
  /** Repairs what a crash left in a pool that was just opened. */
  readonly recover: (pool: string) => Promise<void>;
  /** Resolves when every operation that is in flight at the time of the call has ended. */
  readonly settled: () => Promise<void>;
}

/** Opens and closes the pools of a node on request. */
export interface PoolRequests {
  /** Replaces the pools that the API requests. The request is recorded, and survives restarts. */
  request(specs: readonly PoolSpec[]): Promise<void>;
  /** Calls `listener` after a pool was opened, closed or changed. */
  onChange(listener: () => void): void;
  /**
   * Unmounts all pools, for uninstallation: an agent that merely stops leaves them mounted. Throws
   * `busy` while volumes are mounted.
   */
  unmount(): Promise<void>;
}

/** One pool and its state. */
interface Entry {
  spec: PoolSpec;
  readonly origin: PoolOrigin;
  pool: OpenPool | undefined;
  problem: string | undefined;
  isRecovered: boolean;
  isRequested: boolean;
}

/** Interval after which opening a pool is retried. */
const RETRY_MS = 10_000;

/**
 * Opens the requested pools independently: one that fails is retried and does not affect the
 * others. A pool that is not requested any more accepts no new volumes, and is closed once it is
 * empty; its data stays on disk.
 */
export class NodePools implements PoolSet, PoolRequests {
  readonly #options: NodePoolsOptions;
  readonly #deps: NodePoolsDeps;
  readonly #entries = new Map<string, Entry>();
  readonly #runner: BoundedRunner;
  readonly #listeners = new Set<() => void>();
  #requested: readonly PoolSpec[] = [];
  #hooks: PoolHooks | undefined;

  constructor(options: NodePoolsOptions, deps: NodePoolsDeps) {
    this.#options = options;
    this.#deps = deps;
    const intervals = { minIntervalMs: 100, maxIntervalMs: RETRY_MS, retryMs: RETRY_MS };
    this.#runner = new BoundedRunner({ name: 'pools', ...intervals }, () => this.#reconcile(), deps);
  }

  /**
   * Tries to open every pool once: those of the configuration, and those of the recorded request.
   */
  async start(hooks: PoolHooks): Promise<void> {
    this.#hooks = hooks;
    this.#requested = await readPoolSpecs(this.#file);
    await this.#reconcile();
  }

  async request(specs: readonly PoolSpec[]): Promise<void> {
    if (isDeepStrictEqual(specs, this.#requested)) return;
    await writePoolSpecs(this.#file, specs);
    this.#requested = specs;
    this.#runner.poke();
  }

  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Opens, grows and closes pools until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#runner.run(signal);
  }

  get(name: string): Pool {
    return findPool(this.states(), name);
  }

  states(): readonly PoolState[] {
    return [...this.#entries.values()].map(({ spec, origin, pool, problem, isRecovered, isRequested }) => ({
      name: spec.name,
      backend: spec.backend,
      origin,
      labels: spec.labels,
      pool,
      problem: isRequested ? (problem ?? pool?.unfit) : this.#describeDraining(spec.name),
      isAccepting: pool !== undefined && isRecovered && isRequested && pool.unfit === undefined,
    }));
  }

  async unmount(): Promise<void> {
    for (const { pool } of this.#entries.values()) await pool?.unmount();
  }

  /** Closes all pools; they stay mounted for the pods that use them. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { pool } of this.#entries.values()) await pool?.[Symbol.asyncDispose]();
  }

  async #reconcile(): Promise<void> {
    const { configured } = this.#options;
    const taken = new Set(configured.map(({ name }) => name));
    const added = this.#requested.filter(({ name }) => !taken.has(name));
    const desired = new Map<string, { readonly spec: PoolSpec; readonly origin: PoolOrigin }>();
    for (const spec of configured) desired.set(spec.name, { spec, origin: 'config' });
    for (const spec of added) desired.set(spec.name, { spec, origin: 'api' });
    for (const [name, { spec, origin }] of desired) {
      const entry = this.#entries.get(name);
      if (entry !== undefined) entry.isRequested = true;
      else this.#entries.set(name, newEntry(spec, origin));
    }
    for (const [name, entry] of [...this.#entries]) {
      const found = desired.get(name);
      if (found === undefined) await this.#drain(entry);
      else await this.#ensure(entry, found.spec);
    }
  }

  async #ensure(entry: Entry, spec: PoolSpec): Promise<void> {
    const { logger } = this.#deps;
    const before = entry.problem;
    try {
      if (entry.pool === undefined) {
        entry.spec = spec;
        entry.pool = await this.#deps.open(spec);
      } else {
        await this.#update(entry, entry.pool, spec);
      }
      if (!entry.isRecovered) {
        await this.#hooks?.recover(spec.name);
        entry.isRecovered = true;
        this.#changed();
      }
      entry.problem = undefined;
    } catch (error) {
      const fault = Fault.from(error);
      entry.problem = fault.message;
      if (fault.message !== before) logger.error({ pool: spec.name, err: fault }, 'cannot open pool');
    }
    if (entry.problem !== before) this.#changed();
  }

  async #update(entry: Entry, pool: OpenPool, spec: PoolSpec): Promise<void> {
    if (isDeepStrictEqual(entry.spec, spec)) return;
    const difference = differenceOf(entry.spec, spec);
    if (difference !== undefined) {
      throw new Fault(
        'conflict',
        `pool ${spec.name} cannot be changed: ${difference}; create a pool with another name`,
      );
    }
    await pool.update(spec);
    entry.spec = spec;
    this.#changed();
  }

  /**
   * Closes a pool that is not requested any more once it is empty. Crash window: closed, not
   * unmounted. The next start does not open it, and it stays mounted until a reboot, without harm.
   */
  async #drain(entry: Entry): Promise<void> {
    const { name } = entry.spec;
    const { countRecords, logger } = this.#deps;
    if (entry.isRequested) logger.info({ pool: name }, 'pool is not requested any more');
    entry.isRequested = false;
    if (countRecords(name) > 0) return;
    const { pool } = entry;
    if (pool !== undefined) {
      // An operation that chose the pool earlier may be about to save its record.
      await this.#hooks?.settled();
      if (countRecords(name) > 0) return;
      // No new operation finds the pool; those that did must end before its descriptor is closed.
      this.#entries.delete(name);
      await this.#hooks?.settled();
      try {
        await pool.unmount();
      } catch (error) {
        logger.warn({ pool: name, err: error }, 'cannot unmount an empty pool; it stays mounted');
      }
      logger.info({ pool: name }, 'pool closed; its data stays on disk');
    }
    this.#entries.delete(name);
    this.#changed();
  }

  #describeDraining(name: string): string {
    return `the pool was removed and does not accept new volumes; it closes when its ${this.#deps.countRecords(name)} volumes and snapshots are deleted`;
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  get #file(): string {
    return join(this.#options.stateDir, 'api-pools.json');
  }
}

function newEntry(spec: PoolSpec, origin: PoolOrigin): Entry {
  return { spec, origin, pool: undefined, problem: undefined, isRecovered: false, isRequested: true };
}
