import {
  ageOrphans,
  describeOrphan,
  type Findings,
  findOrphans,
  NO_REFERENCES,
  type Orphan,
  type OrphanAges,
  overdueOrphans,
  type VolumeReferences,
} from '../../../src/core/volumes/orphans.ts';
import { BoundedRunner } from '../../../src/runtime/bounded-runner.ts';
import { type Clock, systemClock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import type { AgeStore } from './orphan-ages.ts';
import { type OrphanStorage, removeOrphan } from './remove-unreferenced.ts';

/** Reads the API's references to this node's volumes. */
export interface VolumeReferenceSource {
  /** Returns the references in the informer's cache; undefined while it is not synced. */
  known(): VolumeReferences | undefined;
  /** Reads all references from the API server. Rejects when one kind of them cannot be read. */
  confirm(signal: AbortSignal): Promise<VolumeReferences>;
}

export interface OrphanCollectorDeps {
  readonly storage: OrphanStorage;
  /** Undefined on a node without a cluster, where only unrecorded data is an orphan. */
  readonly references: VolumeReferenceSource | undefined;
  readonly ages: AgeStore;
  readonly logger: Logger;
  readonly clock?: Clock;
}

/** The collector looks ten times per grace period, within these bounds. */
const MIN_INTERVAL_MS = 1_000;
const MAX_INTERVAL_MS = 600_000;
const RETRY_MS = 60_000;

/**
 * Removes orphans after a grace period. It reads all references from the API server right before it
 * removes anything, so nothing is removed while the API server does not respond or while in use.
 */
export class OrphanCollector {
  readonly #graceMs: number;
  readonly #intervalMs: number;
  readonly #deps: OrphanCollectorDeps;
  readonly #clock: Clock;
  #ages: OrphanAges | undefined;
  #observedAtMs: number | undefined;

  constructor({ graceMs }: { readonly graceMs: number }, deps: OrphanCollectorDeps) {
    this.#graceMs = graceMs;
    this.#intervalMs = Math.min(MAX_INTERVAL_MS, Math.max(MIN_INTERVAL_MS, graceMs / 10));
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
  }

  /** Works until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { logger } = this.#deps;
    const maxIntervalMs = this.#intervalMs;
    const runner = new BoundedRunner(
      { name: 'orphans', minIntervalMs: 0, maxIntervalMs, retryMs: Math.min(RETRY_MS, maxIntervalMs) },
      (running) => this.#observe(running),
      { logger, clock: this.#clock },
    );
    await runner.run(signal);
  }

  async #observe(signal: AbortSignal): Promise<void> {
    const { storage, references, ages: store, logger } = this.#deps;
    const known = references?.known();
    // Time without a synced cache counts for no orphan.
    if (references !== undefined && known === undefined) {
      this.#observedAtMs = undefined;
      return;
    }
    const orphans = this.#select(await storage.health.report(), known);
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
          'removed an orphan after its grace period',
        );
      } catch (error) {
        logger.warn(
          { orphan: describeOrphan(orphan), err: error },
          'cannot remove an orphan; retrying later',
        );
      }
    }
  }

  #select(findings: Findings, references: VolumeReferences | undefined): readonly Orphan[] {
    if (references !== undefined) return findOrphans(findings, references);
    return findOrphans({ ...findings, volumes: [], snapshots: [] }, NO_REFERENCES);
  }

  /**
   * Counts 0 for the first observation, and at most two intervals for a gap (a suspended machine).
   */
  #elapsedMs(): number {
    const nowMs = this.#clock.monotonicMs();
    const sinceMs = this.#observedAtMs === undefined ? 0 : nowMs - this.#observedAtMs;
    this.#observedAtMs = nowMs;
    return Math.min(sinceMs, 2 * this.#intervalMs);
  }

  /** Returns the orphans that are still orphans by the disk and by the API server now. */
  async #confirm(overdue: readonly Orphan[], signal: AbortSignal): Promise<readonly Orphan[]> {
    const { storage, references } = this.#deps;
    const confirmed = await references?.confirm(signal);
    const current = new Map(
      this.#select(await storage.health.report(), confirmed).map((orphan) => [orphan.id, orphan]),
    );
    const left = overdue.filter(({ id }) => current.get(id)?.isInUse === false);
    const ids = new Set(left.map(({ id }) => id));
    const incomplete = new Set(
      overdue.filter(({ id }) => !ids.has(id)).flatMap(({ groupId }) => groupId ?? []),
    );
    return left.filter(({ groupId }) => groupId === undefined || !incomplete.has(groupId));
  }
}
