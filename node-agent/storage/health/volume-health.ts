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
import type { VolumeMounts } from '../contract/volume-mounts.ts';
import { type RecordStore, type QuarantinedRecord, quarantinedId } from '../contract/records.ts';
import type { PoolSet, PoolState } from '../contract/pool.ts';

export interface VolumeHealthDeps {
  readonly inventory: RecordStore;
  readonly pools: PoolSet;
  readonly readMounts?: () => Promise<readonly MountEntry[]>;
}

/** A volume that is not well. */
export interface SickVolume {
  readonly id: string;
  readonly problems: readonly VolumeProblem[];
}

/** What a pool tells of its volumes, read once for all of them. */
interface PoolSight {
  readonly closed: string | undefined;
  readonly miscounted: string | undefined;
  readonly present: ReadonlySet<string>;
  readonly mounts: VolumeMounts | undefined;
}

/** Finds out how volumes and pools are. It changes no volume; a pool that finds its accounting broken starts to repair it. */
export class VolumeHealth {
  readonly #inventory: RecordStore;
  readonly #pools: PoolSet;
  readonly #readMounts: () => Promise<readonly MountEntry[]>;

  constructor({ inventory, pools, readMounts = readMountTable }: VolumeHealthDeps) {
    this.#inventory = inventory;
    this.#pools = pools;
    this.#readMounts = readMounts;
  }

  /** What is wrong with one volume; with a path also whether it is there, if it should be. Throws `not-found` for an unknown one. */
  async check(id: string, path?: string): Promise<readonly VolumeProblem[]> {
    const known = this.#find(id);
    if (known !== undefined) {
      const sight = await this.#lookAt(known.pool);
      const mounts = await this.#readMounts();
      // One that was deleted meanwhile is not missed.
      const volume = this.#find(id);
      if (volume !== undefined) return await this.#judge(volume, sight, mounts, path);
    }
    const unreadable = this.#quarantined().get(id);
    if (unreadable !== undefined) return [describeUnreadable(unreadable)];
    throw new Fault('not-found', `volume ${id.slice(0, 128)} does not exist on this node`);
  }

  /** All volumes that are not well, without those that go with a pod. */
  async list(): Promise<readonly SickVolume[]> {
    const volumes = [...this.#inventory.volumes.values()].filter(
      ({ phase, ephemeral }) => phase === 'ready' && ephemeral !== true,
    );
    const sights = new Map<string, PoolSight>();
    for (const { pool } of volumes) if (!sights.has(pool)) sights.set(pool, await this.#lookAt(pool));
    const mounts = await this.#readMounts();
    const found: SickVolume[] = [];
    for (const volume of volumes) {
      const sight = sights.get(volume.pool);
      if (sight === undefined || this.#find(volume.id) === undefined) continue;
      const problems = await this.#judge(volume, sight, mounts, undefined);
      if (problems.length > 0) found.push({ id: volume.id, problems });
    }
    for (const [id, record] of this.#quarantined())
      found.push({ id, problems: [describeUnreadable(record)] });
    return found;
  }

  /** What is worth knowing of a volume although it is as it was wished for; undefined for nothing. */
  remarkOn(id: string): string | undefined {
    const volume = this.#find(id);
    const state = this.#pools.states().find(({ name }) => name === volume?.pool);
    if (state?.pool?.backend.features.enforcement !== 'none') return undefined;
    return `its size is not enforced: pool ${state.name} has no quota`;
  }

  /** What is wrong with the pools of this node. */
  async checkPools(): Promise<readonly StorageProblem[]> {
    const states = this.#pools.states();
    const named = new Set(states.map(({ name }) => name));
    const forgotten = [...this.#inventory.volumes.values()].filter(({ pool }) => !named.has(pool));
    const sick = await Promise.all(
      [...new Set([...named, ...forgotten.map(({ pool }) => pool)])].map(async (name) => {
        const { closed, miscounted } = await this.#lookAt(name);
        const problem = closed ?? miscounted ?? problemOf(states.find((state) => state.name === name));
        return problem === undefined ? [] : [{ name, isOpen: closed === undefined, problem }];
      }),
    );
    return judgePools(sick.flat());
  }

  #find(id: string): Volume | undefined {
    const volume = this.#inventory.volumes.get(id);
    return volume?.phase === 'ready' ? volume : undefined;
  }

  async #lookAt(name: string): Promise<PoolSight> {
    const state = this.#pools.states().find((candidate) => candidate.name === name);
    const away = (closed: string): PoolSight => ({
      closed,
      miscounted: undefined,
      present: new Set(),
      mounts: undefined,
    });
    if (state === undefined) return away('it is not configured any more; configure it again');
    const { pool, problem } = state;
    if (pool === undefined) return away(problem ?? 'it is being opened');
    try {
      // By what is there, and not by what is counted: where quotas are off, nothing is counted and nothing is lost.
      const { volumes } = await pool.backend.list();
      const miscounted = await pool.checkHealth();
      return { closed: undefined, miscounted, present: new Set(volumes), mounts: pool.mounts };
    } catch (error) {
      return away(Fault.from(error).message);
    }
  }

  async #judge(
    volume: Volume,
    { closed, miscounted, present, mounts }: PoolSight,
    table: readonly MountEntry[],
    path: string | undefined,
  ): Promise<readonly VolumeProblem[]> {
    const expected = volume.published.some(({ target }) => target === path) ? path : undefined;
    const isThere = expected === undefined || (await mounts?.isMounted(volume, expected)) !== false;
    const facts: VolumeFacts = {
      pool: volume.pool,
      poolClosed: closed,
      miscounted,
      isPresent: present.has(volume.id),
      notMountedAt: isThere ? undefined : expected,
      readOnlyAt: volume.volumeMode === 'Block' ? undefined : readOnlyPlace(volume, table),
    };
    return judgeVolume(facts);
  }

  #quarantined(): Map<string, QuarantinedRecord> {
    const found = this.#inventory.quarantined.map((record) => [quarantinedId(record), record] as const);
    return new Map(found.filter(([id]) => isId(id) && id.startsWith('vol-')));
  }
}

/** Whoever asks for a read-only volume gets a read-only mount of a file system that is writable: this is another thing. */
function readOnlyPlace({ published }: Volume, table: readonly MountEntry[]): string | undefined {
  return published.find(({ target }) =>
    table.findLast(({ mountPoint }) => mountPoint === target)?.filesystemOptions.includes('ro'),
  )?.target;
}

/** What is wrong with a pool that is open. One that is only going away is not sick. */
function problemOf(state: PoolState | undefined): string | undefined {
  return state?.isAccepting === true ? state.problem : undefined;
}

function describeUnreadable({ file, reason }: QuarantinedRecord): VolumeProblem {
  return {
    status: 'inaccessible',
    reason: 'RecordUnreadable',
    message: `its record ${file} cannot be read: ${reason}; its data is untouched, put the record right and start the agent again`,
  };
}
