import { type CapacityPolicy, PLAIN_POLICY, type PoolUsage } from '../../src/core/pools/pool-capacity.ts';
import type { ContentSource, Snapshot, Volume, VolumeShape } from '../../src/core/volumes/volume.ts';
import { IO_ATTRIBUTES } from '../../src/core/volumes/volume-attributes.ts';
import type { MountPlan } from '../../src/core/volumes/volume-access.ts';
import type { Enforcement } from '../../src/core/volumes/volume-quota.ts';
import { Fault } from '../../src/core/fault.ts';
import type { VolumeBackend } from '../../node-agent/storage/contract/volume-backend.ts';
import { findPool, type Pool, type PoolSet, type PoolState } from '../../node-agent/storage/contract/pool.ts';
import type { PoolRequests } from '../../node-agent/storage/pools/node-pools.ts';
import { createServices, type ServiceDeps, type StorageServices } from '../../node-agent/storage/services.ts';
import type { PoolSpec } from '../../src/core/pools/pool.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import type { VolumeMounts } from '../../node-agent/storage/contract/volume-mounts.ts';
import type { RecordStore } from '../../node-agent/storage/contract/records.ts';

interface Copy {
  readonly content: readonly string[];
  limitBytes: bigint | undefined;
}

/** A pool in memory with comparable content. It survives a simulated crash, as a disk does. */
export class FakePool implements Pool {
  readonly name: string;
  readonly totalBytes: bigint;
  readonly volumes = new Map<string, Copy>();
  readonly snapshots = new Map<string, Copy>();
  readonly trash: string[] = [];
  /** Limits how many of those one run removes. */
  removedPerRun = Number.POSITIVE_INFINITY;
  /** Mounted volumes by target. */
  readonly mounted = new Map<string, { readonly volumeId: string; readonly plan: MountPlan }>();
  /** Attached volumes, and those with frozen writers. */
  readonly attached = new Set<string>();
  readonly frozen = new Set<string>();
  /** SELinux contexts of volumes that were attached with one. */
  readonly contexts = new Map<string, string>();
  /** The last group of each volume's files. */
  readonly groups = new Map<string, number>();
  /** Called while snapshots of a group are created. */
  onCut: () => unknown = () => undefined;
  /** Device numbers by volume, set by tests. */
  readonly devices = new Map<string, string>();
  /** Charged bytes by volume, set by tests. */
  readonly charged = new Map<string, bigint>();
  readonly backend: VolumeBackend;
  readonly mounts: VolumeMounts;
  readonly policy: CapacityPolicy = PLAIN_POLICY;

  constructor({
    name = 'default',
    totalBytes = 100n << 30n,
    quotaMode = 'simple',
  }: { readonly name?: string; readonly totalBytes?: bigint; readonly quotaMode?: Enforcement } = {}) {
    this.name = name;
    this.totalBytes = totalBytes;
    this.backend = this.#createBackend(quotaMode);
    this.mounts = this.#createMounts();
  }

  async checkHealth(): Promise<undefined> {
    return undefined;
  }

  /** Replaces the content of a volume. */
  write(id: string, content: readonly string[]): void {
    this.volumes.set(id, { content, limitBytes: this.volumes.get(id)?.limitBytes });
  }

  #createBackend(enforcement: Enforcement): VolumeBackend {
    const copiesOf = (kind: ContentSource['kind']): Map<string, Copy> =>
      kind === 'volume' ? this.volumes : this.snapshots;
    const contentOf = ({ kind, id }: ContentSource): readonly string[] => {
      const found = copiesOf(kind).get(id);
      if (found === undefined) throw new Fault('not-found', `${kind} ${id} is not there`);
      return found.content;
    };
    return {
      features: {
        backend: enforcement === 'file' ? 'image' : 'btrfs',
        enforcement,
        volumeModes: ['Filesystem', 'Block'],
        fsTypes: enforcement === 'file' ? ['ext4', 'xfs'] : ['btrfs'],
        copies: 'constant',
        attributes: { Filesystem: enforcement === 'file' ? IO_ATTRIBUTES : [], Block: IO_ATTRIBUTES },
      },
      ensureVolume: async ({ id }, source) => {
        if (this.volumes.has(id)) return;
        this.volumes.set(id, {
          content: source === undefined ? [] : contentOf(source),
          limitBytes: undefined,
        });
      },
      ensureSnapshot: async (id, volume) => {
        if (this.snapshots.has(id)) return;
        this.snapshots.set(id, {
          content: contentOf({ kind: 'volume', id: volume.id }),
          limitBytes: undefined,
        });
      },
      prepareSnapshots: async (requests) => {
        const taken = new Map<string, readonly string[]>();
        return {
          take: async (signal) => {
            for (const { id, volume } of requests) {
              signal.throwIfAborted();
              taken.set(id, contentOf({ kind: 'volume', id: volume.id }));
              await this.onCut();
            }
          },
          finish: async () => {
            for (const [id, content] of taken) this.snapshots.set(id, { content, limitBytes: undefined });
          },
          async [Symbol.asyncDispose]() {},
        };
      },
      setLimit: async ({ id }, limitBytes) => {
        const volume = this.volumes.get(id);
        if (volume === undefined) throw new Fault('not-found', `volume ${id} is not there`);
        volume.limitBytes = limitBytes;
      },
      discard: async (kind, id) => {
        if (copiesOf(kind).delete(id)) this.trash.push(id);
      },
      collect: async (budget) => {
        const removed = this.trash.splice(0, budget === undefined ? this.trash.length : this.removedPerRun);
        if (this.trash.length > 0) budget?.postpone();
        return removed.length;
      },
      usage: async (): Promise<PoolUsage> => ({
        totalBytes: this.totalBytes,
        freeBytes: this.totalBytes,
        otherBytes: 0n,
        volumes: new Map(
          [...this.volumes].map(([id, { limitBytes }]) => [
            id,
            { usedBytes: this.charged.get(id) ?? 0n, limitBytes },
          ]),
        ),
      }),
      list: async () => ({ volumes: [...this.volumes.keys()], snapshots: [...this.snapshots.keys()] }),
    };
  }

  #createMounts(): VolumeMounts {
    const requireThere = ({ id }: VolumeShape): void => {
      if (!this.volumes.has(id)) throw new Fault('not-found', `volume ${id} is not there`);
    };
    return {
      attach: async (volume) => {
        requireThere(volume);
        // An attached volume keeps its context.
        if (!this.attached.has(volume.id) && volume.selinuxContext !== undefined) {
          this.contexts.set(volume.id, volume.selinuxContext);
        }
        this.attached.add(volume.id);
        this.frozen.delete(volume.id);
      },
      detach: async ({ id }) => {
        this.attached.delete(id);
        this.contexts.delete(id);
      },
      grow: async () => undefined,
      flush: async () => undefined,
      freeze: async ({ id }) => {
        if (this.attached.has(id)) this.frozen.add(id);
        return { [Symbol.asyncDispose]: async () => void this.frozen.delete(id) };
      },
      deviceOf: async ({ id }) => (this.attached.has(id) ? this.devices.get(id) : undefined),
      ensureGroup: async (volume, group) => {
        requireThere(volume);
        this.groups.set(volume.id, group);
      },
      stats: async () => undefined,
      mount: async (volume, target, plan) => {
        requireThere(volume);
        const there = this.mounted.get(target);
        if (there !== undefined && there.volumeId !== volume.id) {
          throw new Fault('precondition', `another file system is mounted at ${target}`);
        }
        this.mounted.set(target, { volumeId: volume.id, plan });
      },
      unmount: async ({ id }, target) => {
        if (this.mounted.get(target)?.volumeId === id) this.mounted.delete(target);
      },
      isMounted: async ({ id }, target) => this.mounted.get(target)?.volumeId === id,
    };
  }
}

/** Returns a set of open pools without labels; it records the pools that are requested. */
export function fixedPools(
  pools: readonly Pool[],
): PoolSet & PoolRequests & { readonly requested: () => readonly PoolSpec[] } {
  const states = pools.map(
    (pool): PoolState => ({
      name: pool.name,
      backend: pool.backend.features.backend,
      origin: 'config',
      labels: {},
      pool,
      problem: undefined,
      isAccepting: true,
    }),
  );
  let requested: readonly PoolSpec[] = [];
  return {
    get: (name) => findPool(states, name),
    states: () => states,
    requested: () => requested,
    async request(specs) {
      requested = specs;
    },
    onChange: () => undefined,
    unmount: async () => undefined,
  };
}

/** Starts the storage services on the given pools and records, and recovers every open pool. */
export async function startStorage(
  given: PoolSet | readonly Pool[],
  records: RecordStore,
  deps: Omit<ServiceDeps, 'pools' | 'records' | 'logger'> = {},
): Promise<StorageServices> {
  const pools = { ...fixedPools([]), ...('states' in given ? given : fixedPools(given)) };
  const {
    recover,
    settled: _,
    ...services
  } = createServices({
    ...deps,
    ...{ pools, records, logger: silentLogger },
  });
  for (const { name, pool } of pools.states()) if (pool !== undefined) await recover(name);
  return services;
}

/** The durable state of records. */
export interface FakeDisk {
  readonly volumes: Map<string, Volume>;
  readonly snapshots: Map<string, Snapshot>;
}

export function createFakeDisk(): FakeDisk {
  return { volumes: new Map(), snapshots: new Map() };
}

/** Opens records on `disk`; opening them again simulates a restart. */
export function openFakeRecords(disk: FakeDisk): RecordStore {
  const volumes = new Map(disk.volumes);
  const snapshots = new Map(disk.snapshots);
  return {
    volumes,
    snapshots,
    quarantined: [],
    saveVolume: async (volume) => {
      volumes.set(volume.id, volume);
      disk.volumes.set(volume.id, volume);
    },
    saveSnapshot: async (snapshot) => {
      snapshots.set(snapshot.id, snapshot);
      disk.snapshots.set(snapshot.id, snapshot);
    },
    remove: async (id) => {
      for (const records of [volumes, snapshots, disk.volumes, disk.snapshots]) records.delete(id);
    },
  };
}

/** Simulates a kill at one effect: all later effects fail. */
export class CrashPoint {
  #left: number;
  readonly #after: boolean;
  fired = false;

  /** Kills at the `step`th effect (from 1), before or right after it. */
  constructor({ step, after }: { readonly step: number; readonly after: boolean }) {
    this.#left = step;
    this.#after = after;
  }

  /** Returns `target` with all methods of `effects` under this crash point. */
  guard<T extends object>(target: T, effects: readonly (keyof T)[]): T {
    return new Proxy(target, {
      get: (object, key) => {
        const value: unknown = Reflect.get(object, key);
        if (typeof value !== 'function' || !effects.includes(key as keyof T)) return value;
        return async (...args: unknown[]): Promise<unknown> => {
          this.#left -= 1;
          if (this.#left < 0 || (this.#left === 0 && !this.#after)) return this.#die();
          const result: unknown = await Reflect.apply(value, object, args);
          return this.#left === 0 ? this.#die() : result;
        };
      },
    });
  }

  #die(): never {
    this.fired = true;
    throw new Error('crashed here');
  }
}
