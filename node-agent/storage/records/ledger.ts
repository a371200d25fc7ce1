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

/**
 * A pool's capacity with everything counted that is on record at the moment of the call of
 * `capacity`.
 */
export interface Measured {
  readonly usage: PoolUsage;
  readonly capacity: () => PoolCapacity;
}

export interface LedgerDeps {
  readonly pools: Pick<PoolSet, 'get'>;
  readonly records: RecordStore;
  readonly clock?: Clock | undefined;
}

/** For so long a pool's usage does for new volumes. */
const RECENT_MS = 200;

/**
 * What is promised to whom: the pools' capacity by our records, and the limits that the kernel
 * enforces for them.
 */
export class Ledger {
  readonly #pools: Pick<PoolSet, 'get'>;
  readonly #records: RecordStore;
  readonly #limits = new KeyedLock();
  /** Limits that must not be lowered while a copy is being taken. */
  readonly #raised = new Map<string, bigint>();

  readonly #clock: Clock;
  /** What pools said last, and when they were asked, by the monotonic clock. */
  readonly #last = new Map<string, { readonly usage: PoolUsage; readonly askedMs: number }>();

  constructor({ pools, records, clock = systemClock }: LedgerDeps) {
    this.#pools = pools;
    this.#records = records;
    this.#clock = clock;
  }

  /**
   * Throws `invalid` for a pool that this node does not have, `unavailable` for one that is not
   * open.
   */
  pool(name: string): Pool {
    return this.#pools.get(name);
  }

  /**
   * What a pool has. Ask, check, and save the record that takes the room without an await in
   * between: then two requests cannot take the same room.
   */
  async measure(name: string): Promise<Measured> {
    const askedMs = this.#clock.monotonicMs();
    const usage = await this.pool(name).backend.usage();
    this.#last.set(name, { usage, askedMs });
    return this.#measured(name, usage);
  }

  /**
   * As `measure`, for a new volume: what the pool said a moment ago does where there is room by
   * that, for what others write until the volume is made is not known either. Else each of many new
   * volumes would have all that there are read again.
   */
  async measureFor(name: string, wantedBytes: bigint): Promise<Measured> {
    const last = this.#last.get(name);
    if (last === undefined || last.askedMs + RECENT_MS <= this.#clock.monotonicMs()) {
      return await this.measure(name);
    }
    const measured = this.#measured(name, last.usage);
    return wantedBytes <= measured.capacity().availableBytes ? measured : await this.measure(name);
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
        // Data without a record (in quarantine) is nobody's promise, but it is there.
        let { otherBytes } = usage;
        for (const [id, { usedBytes }] of usage.volumes) if (!volumes.has(id)) otherBytes += usedBytes;
        return poolCapacity({ ...usage, volumes, otherBytes }, pool.policy);
      },
    };
  }

  /** How much more may be charged to the volume once `chargedBytes` of it are pinned by a copy. */
  extraForPin(volume: Volume, chargedBytes: bigint): bigint {
    if (this.pool(volume.pool).backend.features.enforcement !== 'simple') return 0n;
    const pinned = this.#pinned().get(volume.id) ?? 0n;
    return chargedBytes > pinned ? chargedBytes - pinned : 0n;
  }

  /**
   * Lets a volume be written without regard to a copy that is about to be taken, until the result
   * is disposed: whatever is charged at that moment may be pinned the next.
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

  /** What the kernel should allow the volume, by the records of now. */
  limitOf({ id, pool, sizeBytes }: Volume): bigint {
    const { enforcement } = this.pool(pool).backend.features;
    const planned = planLimit(enforcement, sizeBytes, this.#pinned().get(id) ?? 0n);
    const raised = this.#raised.get(id) ?? 0n;
    return raised > planned ? raised : planned;
  }

  /** Makes the kernel enforce what the records say of this volume. */
  async enforce({ id }: { readonly id: string }): Promise<void> {
    await this.#limits.run(id, async () => {
      const volume = this.#records.volumes.get(id);
      if (volume === undefined || volume.phase === 'deleting') return;
      await this.pool(volume.pool).backend.setLimit(volume, this.limitOf(volume));
    });
  }

  /** After a copy is gone: lowers the limits of those whose extents it held. */
  async enforcePinned(pins: Pins): Promise<void> {
    for (const id of Object.keys(pins)) {
      try {
        await this.enforce({ id });
      } catch (error) {
        // A volume whose data went away by itself has no limit to lower.
        if (!isFault(error, 'not-found')) throw error;
      }
    }
  }

  #pinned(): Map<string, bigint> {
    return pinnedBytes([...this.#records.snapshots.values(), ...this.#records.volumes.values()]);
  }
}
