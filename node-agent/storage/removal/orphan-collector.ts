import {
  ageOrphans,
  type AskedFor,
  describeOrphan,
  findOrphans,
  NOTHING_ASKED_FOR,
  type Orphan,
  type OrphanAges,
  overdueOrphans,
} from '../../../src/core/volumes/orphans.ts';
import { BoundedRunner } from '../../../src/runtime/bounded-runner.ts';
import { type Clock, systemClock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import type { AgeStore } from './orphan-ages.ts';
import { type OrphanStorage, removeOrphan } from './remove-unreferenced.ts';

/** Who knows which volumes of this node are asked for. */
export interface Askers {
  /** As it is known here; undefined while it is not. */
  known(): AskedFor | undefined;
  /** As it is now, from its source, with everybody who could ask. Rejects where that cannot be told for sure. */
  confirm(signal: AbortSignal): Promise<AskedFor>;
}

export interface OrphanCollectorDeps {
  readonly storage: OrphanStorage;
  /** Absent on a node without a cluster: there, only data without a record is an orphan. */
  readonly askers: Askers | undefined;
  readonly ages: AgeStore;
  readonly logger: Logger;
  readonly clock?: Clock;
}

/** Orphans are looked for ten times in their time of grace, but not more often or seldom than this. */
const LEAST_INTERVAL_MS = 1_000;
const MOST_INTERVAL_MS = 600_000;
const RETRY_MS = 60_000;

/**
 * Removes what nobody has asked for during a time of grace. It is asked for again, at the source, right before; what is in use stays, and so
 * does everything while the API server does not answer.
 */
export class OrphanCollector {
  readonly #graceMs: number;
  readonly #intervalMs: number;
  readonly #deps: OrphanCollectorDeps;
  readonly #clock: Clock;
  #ages: OrphanAges | undefined;
  #lookedAtMs: number | undefined;

  constructor({ graceMs }: { readonly graceMs: number }, deps: OrphanCollectorDeps) {
    this.#graceMs = graceMs;
    this.#intervalMs = Math.min(MOST_INTERVAL_MS, Math.max(LEAST_INTERVAL_MS, graceMs / 10));
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
  }

  /** Works until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { logger } = this.#deps;
    const maxIntervalMs = this.#intervalMs;
    const runner = new BoundedRunner(
      { name: 'orphans', minIntervalMs: 0, maxIntervalMs, retryMs: Math.min(RETRY_MS, maxIntervalMs) },
      (running) => this.#look(running),
      { logger, clock: this.#clock },
    );
    await runner.run(signal);
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { storage, askers, ages: store, logger } = this.#deps;
    const asked = askers?.known();
    // Nothing is known of this while, so it counts for no orphan.
    if (askers !== undefined && asked === undefined) {
      this.#lookedAtMs = undefined;
      return;
    }
    const orphans = this.#select(await storage.report(), asked);
    const before = this.#ages ?? (await store.read());
    const ages = ageOrphans(orphans, before, this.#elapsedMs());
    if (Object.keys(ages).length > 0 || Object.keys(before).length > 0) await store.write(ages);
    this.#ages = ages;
    const overdue = overdueOrphans(orphans, ages, this.#graceMs);
    if (overdue.length === 0) return;
    for (const orphan of await this.#confirm(overdue, signal)) {
      signal.throwIfAborted();
      try {
        await removeOrphan(orphan, storage);
        logger.warn(
          { orphan: describeOrphan(orphan), pool: orphan.pool, graceMs: this.#graceMs },
          'an orphan is removed: nobody asked for it during its time of grace',
        );
      } catch (error) {
        logger.warn({ orphan: describeOrphan(orphan), err: error }, 'an orphan cannot be removed yet');
      }
    }
  }

  #select(findings: Parameters<typeof findOrphans>[0], asked: AskedFor | undefined): readonly Orphan[] {
    if (asked !== undefined) return findOrphans(findings, asked);
    return findOrphans({ ...findings, volumes: [], snapshots: [] }, NOTHING_ASKED_FOR);
  }

  /** The first look tells of no time, and a gap (the machine slept, or this process stood still) of no more than two intervals. */
  #elapsedMs(): number {
    const nowMs = this.#clock.monotonicMs();
    const sinceMs = this.#lookedAtMs === undefined ? 0 : nowMs - this.#lookedAtMs;
    this.#lookedAtMs = nowMs;
    return Math.min(sinceMs, 2 * this.#intervalMs);
  }

  /** Those that are orphans still, by what is on the disk and in the API now. */
  async #confirm(overdue: readonly Orphan[], signal: AbortSignal): Promise<readonly Orphan[]> {
    const { storage, askers } = this.#deps;
    const asked = await askers?.confirm(signal);
    const still = new Map(this.#select(await storage.report(), asked).map((orphan) => [orphan.id, orphan]));
    const left = overdue.filter(({ id }) => still.get(id)?.isInUse === false);
    const ids = new Set(left.map(({ id }) => id));
    const torn = new Set(overdue.filter(({ id }) => !ids.has(id)).flatMap(({ groupId }) => groupId ?? []));
    return left.filter(({ groupId }) => groupId === undefined || !torn.has(groupId));
  }
}
