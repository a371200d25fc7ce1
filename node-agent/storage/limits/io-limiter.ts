import { Fault } from '../../../src/core/fault.ts';
import type { Volume } from '../../../src/core/volumes/volume.ts';
import { limitsIo, type VolumeAttributes } from '../../../src/core/volumes/volume-attributes.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import { every } from '../../../src/runtime/interval.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import type { IoCgroups } from '../../linux/process/io-cgroups.ts';
import type { RecordStore } from '../contract/records.ts';
import type { PoolSet } from '../contract/pool.ts';
import type { LimitedDevices } from './limited-devices.ts';

export interface IoLimiterDeps {
  readonly records: RecordStore;
  readonly pools: Pick<PoolSet, 'states'>;
  /** Undefined if the host has no cgroups that limit I/O. */
  readonly cgroups: IoCgroups | undefined;
  readonly devices: LimitedDevices;
  readonly logger: Logger;
  readonly clock: Clock;
}

const NEW_CGROUPS_MS = 1_000;
const REPAIR_MS = 60_000;

/** Sets the recorded I/O limits of all volumes in all cgroups; each pass reads everything again. */
export class IoLimiter {
  readonly #deps: IoLimiterDeps;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  /** Cgroups in which the last pass set all limits. */
  #reached = new Set<string>();

  constructor(deps: IoLimiterDeps) {
    this.#deps = deps;
  }

  get isAvailable(): boolean {
    return this.#deps.cgroups !== undefined;
  }

  /** Throws `invalid` for I/O limits on a host that does not support them. */
  require(attributes: VolumeAttributes): void {
    if (this.isAvailable || !limitsIo(attributes)) return;
    throw new Fault(
      'invalid',
      'this node does not support I/O limits: no cgroup has io.max (io controller of cgroup v2) or blkio.throttle; enable one, or use a VolumeAttributesClass without I/O limits',
    );
  }

  /**
   * Resolves when the limits recorded at the time of the call are set; concurrent calls share a
   * pass.
   */
  async refresh(): Promise<void> {
    this.#next ??= this.#after(this.#running);
    await this.#next;
  }

  /**
   * Removes the limits of a volume without a device. `run` repairs a failure: the device is unused.
   */
  async lift({ id, attributes = {} }: Volume): Promise<void> {
    if (!limitsIo(attributes)) return;
    await this.refresh().catch((err: unknown) => {
      this.#deps.logger.warn(
        { volumeId: id, err },
        'cannot remove the I/O limits of a device; retrying later',
      );
    });
  }

  /** Sets limits in new cgroups, and restores changed limits, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { cgroups, logger, clock } = this.#deps;
    if (cgroups === undefined) return;
    const repairing = every({ name: 'io-limits', everyMs: REPAIR_MS, signal }, () => this.refresh(), {
      logger,
      clock,
    });
    const reaching = cgroups.isFlat
      ? every({ name: 'io-limits-new-cgroups', everyMs: NEW_CGROUPS_MS, signal }, () => this.#reachNew(), {
          logger,
          clock,
        })
      : undefined;
    await Promise.all([repairing, reaching]);
  }

  async #after(running: Promise<void> | undefined): Promise<void> {
    await running?.catch(() => undefined);
    const pass = this.#pass();
    this.#running = pass;
    this.#next = undefined;
    await pass;
  }

  async #pass(): Promise<void> {
    const { cgroups, devices } = this.#deps;
    if (cgroups === undefined) return;
    const known = await devices.read();
    const { limits, untouched } = await this.#plan(known);
    const limited = new Map([...limits].map(([device, { id }]) => [device, id]));
    const all = new Map([...known, ...limited]);
    if (all.size === 0) return;
    // Crash window: devices recorded, limits not set. The next pass sets or removes their limits.
    if (!sameEntries(known, all)) await devices.write(all);
    const groups = await cgroups.list();
    for (const group of groups) {
      for (const device of all.keys()) {
        if (limits.has(device) || !untouched.has(device))
          await cgroups.limit(group, device, limits.get(device)?.attributes ?? {});
      }
    }
    this.#reached = new Set(groups);
    const kept = new Map([...all].filter(([device]) => limits.has(device) || untouched.has(device)));
    if (!sameEntries(all, kept)) await devices.write(kept);
  }

  /** Returns the limits by device; `untouched` are devices of volumes whose pool is not open. */
  async #plan(known: ReadonlyMap<string, string>): Promise<{
    readonly limits: ReadonlyMap<string, { readonly id: string; readonly attributes: VolumeAttributes }>;
    readonly untouched: ReadonlySet<string>;
  }> {
    const { records, pools } = this.#deps;
    const open = new Map(pools.states().map(({ name, pool }) => [name, pool]));
    const limits = new Map<string, { readonly id: string; readonly attributes: VolumeAttributes }>();
    const untouched = new Set<string>();
    for (const volume of records.volumes.values()) {
      if (!isLimited(volume)) continue;
      const { id, attributes = {} } = volume;
      const pool = open.get(volume.pool);
      if (pool === undefined) {
        for (const [device, volumeId] of known) if (volumeId === id) untouched.add(device);
        continue;
      }
      const device = await pool.mounts.deviceOf(volume);
      if (device !== undefined) limits.set(device, { id, attributes });
    }
    return { limits, untouched };
  }

  async #reachNew(): Promise<void> {
    const { cgroups, records } = this.#deps;
    if (cgroups === undefined || ![...records.volumes.values()].some(isLimited)) return;
    if ((await cgroups.list()).some((group) => !this.#reached.has(group))) await this.refresh();
  }
}

function isLimited({ phase, staged, attributes = {} }: Volume): boolean {
  return phase === 'ready' && staged.length > 0 && limitsIo(attributes);
}

function sameEntries(left: ReadonlyMap<string, string>, right: ReadonlyMap<string, string>): boolean {
  return left.size === right.size && [...left].every(([key, value]) => right.get(key) === value);
}
