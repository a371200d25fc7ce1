import { isFault } from '../../../src/core/fault.ts';
import {
  type PoolCapacity,
  type PoolUsage,
  poolCapacity,
  type VolumeUsage,
} from '../../../src/core/pools/pool-capacity.ts';
import type { Pins, Volume } from '../../../src/core/volumes/volume.ts';
import { pinnedBytes, planLimit } from '../../../src/core/volumes/volume-quota.ts';
import { type Clock, systemClock } from '../../../src/runtime/clock.ts';
import { KeyedLock } from '../../../src/runtime/keyed-lock.ts';
import type { Pool, PoolSet } from '../contract/pool.ts';
import type { RecordStore } from '../contract/records.ts';

/** A pool's usage; `capacity` counts the volumes that are recorded when it is called. */
export interface Measured {
  readonly usage: PoolUsage;
  readonly capacity: () => PoolCapacity;
}

export interface LedgerDeps {
  readonly pools: Pick<PoolSet, 'get'>;
  readonly records: RecordStore;
  readonly clock?: Clock | undefined;
}

/** How long a measured usage is valid for empty new volumes. */
const RECENT_MS = 200;

/**
 * Computes the capacity of pools from the records, and sets the limits that the kernel enforces.
 */
export class Ledger {
  readonly #pools: Pick<PoolSet, 'get'>;
  readonly #records: RecordStore;
  readonly #limits = new KeyedLock();
  /** Limits that must not be lowered while a copy is being created, by volume id. */
  readonly #raised = new Map<string, bigint>();

  readonly #clock: Clock;
  /** The last usage of each pool, and when it was requested, by the monotonic clock. */
  readonly #last = new Map<string, { readonly usage: PoolUsage; readonly measuredMs: number }>();

  constructor({ pools, records, clock = systemClock }: LedgerDeps) {
    this.#pools = pools;
    this.#records = records;
    this.#clock = clock;
  }

  /**
   * Returns an open pool. Throws `invalid` for an unknown pool, `unavailable` for one that is not
   * open.
   */
  pool(name: string): Pool {
    return this.#pools.get(name);
  }

  /**
   * Measures a pool. Call `capacity`, check it, and save the record that uses the space without an
   * await in between: then two requests cannot be promised the same space.
   */
  async measure(name: string): Promise<Measured> {
    const measuredMs = this.#clock.monotonicMs();
    const usage = await this.pool(name).backend.usage();
    this.#last.set(name, { usage, measuredMs });
    return this.#measured(name, usage);
  }

  /**
   * Measures a pool for an empty new volume. A recent measurement is reused if it has space: writes
   * until the volume exists are unknown anyway, and otherwise each of many new volumes would read
   * the usage of all others.
   */
  async measureFor(name: string, requiredBytes: bigint): Promise<Measured> {
    const last = this.#last.get(name);
    if (last === undefined || last.measuredMs + RECENT_MS <= this.#clock.monotonicMs()) {
      return await this.measure(name);
    }
    const measured = this.#measured(name, last.usage);
    return requiredBytes <= measured.capacity().availableBytes ? measured : await this.measure(name);
  }

  #measured(name: string, usage: PoolUsage): Measured {
    const pool = this.pool(name);
    return {
      usage,
      capacity: () => {
        const pinned = this.#pinned();
        const volumes = new Map<string, VolumeUsage>();
        for (const volume of this.#records.volumes.values()) {
          if (volume.pool !== name) continue;
          const limitBytes = planLimit(
            pool.backend.features.enforcement,
            volume.sizeBytes,
            pinned.get(volume.id) ?? 0n,
          );
          volumes.set(volume.id, { usedBytes: usage.volumes.get(volume.id)?.usedBytes ?? 0n, limitBytes });
        }
        // Data with a quarantined record is promised to no volume, but it uses space.
        let { otherBytes } = usage;
        for (const [id, { usedBytes }] of usage.volumes) if (!volumes.has(id)) otherBytes += usedBytes;
        return poolCapacity({ ...usage, volumes, otherBytes }, pool.policy);
      },
    };
  }

  /** Returns by how much the volume's limit rises when a copy pins `chargedBytes` of its data. */
  extraForPin(volume: Volume, chargedBytes: bigint): bigint {
    if (this.pool(volume.pool).backend.features.enforcement !== 'simple') return 0n;
    const pinned = this.#pinned().get(volume.id) ?? 0n;
    return chargedBytes > pinned ? chargedBytes - pinned : 0n;
  }

  /**
   * Raises the limit of a volume until the result is disposed, for a copy that is about to be
   * created: all data charged at that moment may be pinned by the copy.
   */
  async raise(volume: Volume): Promise<AsyncDisposable> {
    const { backend } = this.pool(volume.pool);
    this.#raised.set(
      volume.id,
      planLimit(backend.features.enforcement, volume.sizeBytes, this.limitOf(volume)),
    );
    await this.enforce(volume);
    return {
      [Symbol.asyncDispose]: async () => {
        this.#raised.delete(volume.id);
        await this.enforce(volume);
      },
    };
  }

  /** Returns the volume's limit by the current records. */
  limitOf({ id, pool, sizeBytes }: Volume): bigint {
    const { enforcement } = this.pool(pool).backend.features;
    const planned = planLimit(enforcement, sizeBytes, this.#pinned().get(id) ?? 0n);
    const raised = this.#raised.get(id) ?? 0n;
    return raised > planned ? raised : planned;
  }

  /** Makes the kernel enforce the recorded limit of a volume. */
  async enforce({ id }: { readonly id: string }): Promise<void> {
    await this.#limits.run(id, async () => {
      const volume = this.#records.volumes.get(id);
      if (volume === undefined || volume.phase === 'deleting') return;
      await this.pool(volume.pool).backend.setLimit(volume, this.limitOf(volume));
    });
  }

  /** Lowers the limits of the volumes whose extents a deleted copy pinned. */
  async enforcePinned(pins: Pins): Promise<void> {
    for (const id of Object.keys(pins)) {
      try {
        await this.enforce({ id });
      } catch (error) {
        // A volume whose data is lost has no limit to lower.
        if (!isFault(error, 'not-found')) throw error;
      }
    }
  }

  #pinned(): Map<string, bigint> {
    return pinnedBytes([...this.#records.snapshots.values(), ...this.#records.volumes.values()]);
  }
}
