import { Fault } from '../../../src/core/fault.ts';
import type { Volume } from '../../../src/core/volumes/volume.ts';
import {
  judgePools,
  judgeVolume,
  type StorageProblem,
  type VolumeFacts,
  type VolumeProblem,
} from '../../../src/core/volumes/volume-health.ts';
import { isId } from '../../../src/core/volumes/volume-name.ts';
import type { MountEntry } from '../../../src/core/volumes/mount-table.ts';
import { readMountTable } from '../../linux/files/mount-table.ts';
import type { PoolSet, PoolState } from '../contract/pool.ts';
import { type QuarantinedRecord, quarantinedId, type RecordStore } from '../contract/records.ts';
import type { VolumeMounts } from '../contract/volume-mounts.ts';

export interface VolumeHealthDeps {
  readonly records: RecordStore;
  readonly pools: PoolSet;
  readonly readMounts?: () => Promise<readonly MountEntry[]>;
}

/** A volume with its problems. */
export interface UnhealthyVolume {
  readonly id: string;
  readonly problems: readonly VolumeProblem[];
}

/** The findings in one pool, read once for all of its volumes. */
interface PoolFindings {
  /** Why the pool cannot be used; undefined for an open pool. */
  readonly closed: string | undefined;
  readonly miscounted: string | undefined;
  readonly present: ReadonlySet<string>;
  readonly mounts: VolumeMounts | undefined;
}

/** Checks volumes and pools. It changes no volume; a pool's own check may start a quota rescan. */
export class VolumeHealth {
  readonly #records: RecordStore;
  readonly #pools: PoolSet;
  readonly #readMounts: () => Promise<readonly MountEntry[]>;

  constructor({ records, pools, readMounts = readMountTable }: VolumeHealthDeps) {
    this.#records = records;
    this.#pools = pools;
    this.#readMounts = readMounts;
  }

  /** See `HealthService.checkVolume`. */
  async check(id: string, path?: string): Promise<readonly VolumeProblem[]> {
    const known = this.#find(id);
    if (known !== undefined) {
      const findings = await this.#readPool(known.pool);
      const mounts = await this.#readMounts();
      // Read again: the volume may have been deleted in between, which is not a problem.
      const volume = this.#find(id);
      if (volume !== undefined) return await this.#judge(volume, findings, mounts, path);
    }
    const unreadable = this.#quarantined().get(id);
    if (unreadable !== undefined) return [describeUnreadable(unreadable)];
    throw new Fault('not-found', `volume ${id.slice(0, 128)} does not exist on this node`);
  }

  /** See `HealthService.listUnhealthy`. */
  async list(): Promise<readonly UnhealthyVolume[]> {
    const volumes = [...this.#records.volumes.values()].filter(
      ({ phase, ephemeral }) => phase === 'ready' && ephemeral !== true,
    );
    const findings = new Map<string, PoolFindings>();
    for (const { pool } of volumes) {
      if (!findings.has(pool)) findings.set(pool, await this.#readPool(pool));
    }
    const mounts = await this.#readMounts();
    const found: UnhealthyVolume[] = [];
    for (const volume of volumes) {
      const ofPool = findings.get(volume.pool);
      if (ofPool === undefined || this.#find(volume.id) === undefined) continue;
      const problems = await this.#judge(volume, ofPool, mounts, undefined);
      if (problems.length > 0) found.push({ id: volume.id, problems });
    }
    for (const [id, record] of this.#quarantined())
      found.push({ id, problems: [describeUnreadable(record)] });
    return found;
  }

  /** See `HealthService.conditionMessage`. */
  conditionMessage(id: string): string | undefined {
    const volume = this.#find(id);
    const state = this.#pools.states().find(({ name }) => name === volume?.pool);
    if (state?.pool?.backend.features.enforcement !== 'none') return undefined;
    return `volume size is not enforced: pool ${state.name} has no quota`;
  }

  /** See `HealthService.checkPools`. */
  async checkPools(): Promise<readonly StorageProblem[]> {
    const states = this.#pools.states();
    const configured = new Set(states.map(({ name }) => name));
    const recorded = [...this.#records.volumes.values()].map(({ pool }) => pool);
    const problems = await Promise.all(
      [...new Set([...configured, ...recorded])].map(async (name) => {
        const { closed, miscounted } = await this.#readPool(name);
        const problem = closed ?? miscounted ?? problemOf(states.find((state) => state.name === name));
        return problem === undefined ? [] : [{ name, isOpen: closed === undefined, problem }];
      }),
    );
    return judgePools(problems.flat());
  }

  #find(id: string): Volume | undefined {
    const volume = this.#records.volumes.get(id);
    return volume?.phase === 'ready' ? volume : undefined;
  }

  async #readPool(name: string): Promise<PoolFindings> {
    const state = this.#pools.states().find((candidate) => candidate.name === name);
    const away = (closed: string): PoolFindings => ({
      closed,
      miscounted: undefined,
      present: new Set(),
      mounts: undefined,
    });
    if (state === undefined) return away('it is not configured any more; configure it again');
    const { pool, problem } = state;
    if (pool === undefined) return away(problem ?? 'it is being opened');
    try {
      // By the data on disk, not by its usage: with quotas off, no volume has a usage.
      const { volumes } = await pool.backend.list();
      const miscounted = await pool.checkHealth();
      return { closed: undefined, miscounted, present: new Set(volumes), mounts: pool.mounts };
    } catch (error) {
      return away(Fault.from(error).message);
    }
  }

  async #judge(
    volume: Volume,
    { closed, miscounted, present, mounts }: PoolFindings,
    table: readonly MountEntry[],
    path: string | undefined,
  ): Promise<readonly VolumeProblem[]> {
    const expected = volume.published.some(({ target }) => target === path) ? path : undefined;
    const isMounted = expected === undefined || (await mounts?.isMounted(volume, expected)) !== false;
    const facts: VolumeFacts = {
      pool: volume.pool,
      poolClosed: closed,
      miscounted,
      isPresent: present.has(volume.id),
      notMountedAt: isMounted ? undefined : expected,
      readOnlyAt: volume.volumeMode === 'Block' ? undefined : readOnlyTarget(volume, table),
    };
    return judgeVolume(facts);
  }

  #quarantined(): Map<string, QuarantinedRecord> {
    const found = this.#records.quarantined.map((record) => [quarantinedId(record), record] as const);
    return new Map(found.filter(([id]) => isId(id) && id.startsWith('vol-')));
  }
}

/**
 * A read-only publication is a read-only mount of a writable file system; this finds the opposite.
 */
function readOnlyTarget({ published }: Volume, table: readonly MountEntry[]): string | undefined {
  return published.find(({ target }) =>
    table.findLast(({ mountPoint }) => mountPoint === target)?.filesystemOptions.includes('ro'),
  )?.target;
}

/** Returns the problem of an open pool; a pool that is being removed is not a problem. */
function problemOf(state: PoolState | undefined): string | undefined {
  return state?.isAccepting === true ? state.problem : undefined;
}

function describeUnreadable({ file, reason }: QuarantinedRecord): VolumeProblem {
  return {
    status: 'inaccessible',
    reason: 'RecordUnreadable',
    message: `its record ${file} cannot be read: ${reason}; its data is untouched: repair the record and restart the agent`,
  };
}
