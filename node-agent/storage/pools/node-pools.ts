import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Fault } from '../../../src/core/fault.ts';
import { differenceOf, type PoolSpec } from '../../../src/core/pools/pool.ts';
import { BoundedRunner } from '../../../src/runtime/bounded-runner.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import { type Pool, findPool, type PoolOrigin, type PoolSet, type PoolState } from '../contract/pool.ts';
import type { OpenPool } from './open-pool.ts';
import { readPoolSpecs, writePoolSpecs } from './pool-records.ts';

export interface NodePoolsOptions {
  readonly stateDir: string;
  /** Pools of the configuration file: they win over others of their name. */
  readonly configured: readonly PoolSpec[];
}

export interface NodePoolsDeps {
  readonly open: (spec: PoolSpec) => Promise<OpenPool>;
  /** How many volumes and snapshots are on record in a pool, in any phase. */
  readonly countCopies: (pool: string) => number;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** What the service on these pools has to do with their coming and going. */
export interface PoolHooks {
  /** Puts right what a crash left in a pool that was just opened. */
  readonly recover: (pool: string) => Promise<void>;
  /** Resolves when every operation that runs now has ended. */
  readonly settled: () => Promise<void>;
  readonly onChange: () => void;
}

/** One pool and how far it is. */
interface Entry {
  spec: PoolSpec;
  readonly origin: PoolOrigin;
  pool: OpenPool | undefined;
  problem: string | undefined;
  isRecovered: boolean;
  isWanted: boolean;
}

/** A pool that cannot be opened is tried again after this. */
const RETRY_MS = 10_000;

/**
 * Opens the pools that are wished for, each on its own: one that fails is tried again and keeps no other from service. A pool that is no longer
 * wished for takes no new volumes, and is closed once it is empty; its data on the disk stays.
 */
export class NodePools implements PoolSet {
  readonly #options: NodePoolsOptions;
  readonly #deps: NodePoolsDeps;
  readonly #entries = new Map<string, Entry>();
  readonly #runner: BoundedRunner;
  #wanted: readonly PoolSpec[] = [];
  #hooks: PoolHooks | undefined;

  constructor(options: NodePoolsOptions, deps: NodePoolsDeps) {
    this.#options = options;
    this.#deps = deps;
    const intervals = { minIntervalMs: 100, maxIntervalMs: RETRY_MS, retryMs: RETRY_MS };
    this.#runner = new BoundedRunner({ name: 'pools', ...intervals }, () => this.#reconcile(), deps);
  }

  /** Tries every pool once: those of the configuration, and those that the API wished for when it was last heard. */
  async start(hooks: PoolHooks): Promise<void> {
    this.#hooks = hooks;
    this.#wanted = await readPoolSpecs(this.#file);
    await this.#reconcile();
  }

  /** Replaces what the API wishes for. It is remembered for starts without an API server; `run` acts on it. */
  async want(specs: readonly PoolSpec[]): Promise<void> {
    if (isDeepStrictEqual(specs, this.#wanted)) return;
    await writePoolSpecs(this.#file, specs);
    this.#wanted = specs;
    this.#runner.poke();
  }

  /** Opens, grows and closes until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#runner.run(signal);
  }

  get(name: string): Pool {
    return findPool(this.states(), name);
  }

  states(): readonly PoolState[] {
    return [...this.#entries.values()].map(({ spec, origin, pool, problem, isRecovered, isWanted }) => ({
      name: spec.name,
      backend: spec.backend,
      origin,
      labels: spec.labels,
      pool,
      problem: isWanted ? (problem ?? pool?.unfit) : this.#describeDraining(spec.name),
      isAccepting: pool !== undefined && isRecovered && isWanted && pool.unfit === undefined,
    }));
  }

  /** Unmounts all that were mounted by us. Throws `busy` while volumes are mounted. */
  async unmount(): Promise<void> {
    for (const { pool } of this.#entries.values()) await pool?.unmount();
  }

  /** Lets go of all pools; they stay mounted, for the pods. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { pool } of this.#entries.values()) await pool?.[Symbol.asyncDispose]();
  }

  async #reconcile(): Promise<void> {
    const { configured } = this.#options;
    const taken = new Set(configured.map(({ name }) => name));
    const added = this.#wanted.filter(({ name }) => !taken.has(name));
    const wanted = new Map<string, { readonly spec: PoolSpec; readonly origin: PoolOrigin }>();
    for (const spec of configured) wanted.set(spec.name, { spec, origin: 'config' });
    for (const spec of added) wanted.set(spec.name, { spec, origin: 'api' });
    for (const [name, { spec, origin }] of wanted) {
      const entry = this.#entries.get(name);
      if (entry !== undefined) entry.isWanted = true;
      else this.#entries.set(name, newEntry(spec, origin));
    }
    for (const [name, entry] of [...this.#entries]) {
      const wish = wanted.get(name);
      if (wish === undefined) await this.#drain(entry);
      else await this.#ensure(entry, wish.spec);
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
        this.#hooks?.onChange();
      }
      entry.problem = undefined;
    } catch (error) {
      const fault = Fault.from(error);
      entry.problem = fault.message;
      if (fault.message !== before) logger.error({ pool: spec.name, err: fault }, 'pool cannot be served');
    }
    if (entry.problem !== before) this.#hooks?.onChange();
  }

  async #update(entry: Entry, pool: OpenPool, spec: PoolSpec): Promise<void> {
    if (isDeepStrictEqual(entry.spec, spec)) return;
    const difference = differenceOf(entry.spec, spec);
    if (difference !== undefined) {
      throw new Fault(
        'conflict',
        `pool ${spec.name} stays as it is: ${difference}; name a new pool for that`,
      );
    }
    await pool.update(spec);
    entry.spec = spec;
    this.#hooks?.onChange();
  }

  /** Crash window: closed, not unmounted. Nothing wishes for it at the next start, and it stays mounted until a reboot; that does no harm. */
  async #drain(entry: Entry): Promise<void> {
    const { name } = entry.spec;
    if (entry.isWanted) this.#deps.logger.info({ pool: name }, 'pool is no longer wished for');
    entry.isWanted = false;
    if (this.#deps.countCopies(name) > 0) return;
    const { pool } = entry;
    if (pool !== undefined) {
      // Whoever has chosen the pool a moment ago may be about to write its record.
      await this.#hooks?.settled();
      if (this.#deps.countCopies(name) > 0) return;
      // From here on nobody finds it; those who did have to end before its descriptor is closed.
      this.#entries.delete(name);
      await this.#hooks?.settled();
      try {
        await pool.unmount();
      } catch (error) {
        this.#deps.logger.warn({ pool: name, err: error }, 'an empty pool stays mounted');
      }
      this.#deps.logger.info({ pool: name }, 'pool closed; its data stays where it is');
    }
    this.#entries.delete(name);
    this.#hooks?.onChange();
  }

  #describeDraining(name: string): string {
    return `the pool was removed and takes no new volumes; it is closed when its ${this.#deps.countCopies(name)} volumes and snapshots are gone`;
  }

  get #file(): string {
    return join(this.#options.stateDir, 'api-pools.json');
  }
}

function newEntry(spec: PoolSpec, origin: PoolOrigin): Entry {
  return { spec, origin, pool: undefined, problem: undefined, isRecovered: false, isWanted: true };
}
