import { type BackendKind, featureWords } from '../../src/core/backend-features.ts';
import { type Fault, isFault } from '../../src/core/fault.ts';
import type { PoolCapacity } from '../../src/core/pool-capacity.ts';
import type { Snapshot, Volume } from '../../src/core/volume.ts';
import type { PoolSpec } from '../../src/core/pool.ts';
import type { Enforcement } from '../../src/core/volume-quota.ts';
import type { SizeRange } from '../../src/core/volume-size.ts';
import { BoundedRunner } from '../../src/runtime/bounded-runner.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import type { MetricsRegistry } from '../../src/runtime/metrics.ts';
import type { Kernel } from '../linux/kernel.ts';
import { Attachments, type Publish, type VolumeStats } from './attachments.ts';
import type { Pool } from './backend.ts';
import { type OperationDeps, OperationLocks } from './copies.ts';
import { type Inventory, openInventory, type Quarantined } from './inventory.ts';
import { Ledger } from './ledger.ts';
import { createStorageMetrics, type StorageMetrics } from './metrics.ts';
import { recover } from './recovery.ts';
import { type OpenPool, openPool } from './open-pool.ts';
import { Snapshots } from './snapshots.ts';
import { type CreateVolume, type PoolChoice, Volumes } from './volumes.ts';

export interface StorageOptions {
  readonly stateDir: string;
  readonly pools: readonly PoolSpec[];
}

export interface StorageDeps {
  readonly kernel: Kernel;
  readonly logger: Logger;
  readonly metrics?: MetricsRegistry | undefined;
  readonly clock?: Clock | undefined;
}

export interface PoolReport extends PoolCapacity {
  readonly name: string;
  readonly backend: BackendKind;
  readonly quota: Enforcement;
  /** Words for an inventory. */
  readonly features: readonly string[];
  /** Undefined when all is well. */
  readonly problem: string | undefined;
}

/** Everything that the storage service can tell of itself; only finished volumes and snapshots, in the order of their ids. */
export interface StorageReport {
  readonly pools: readonly PoolReport[];
  readonly volumes: readonly Volume[];
  readonly snapshots: readonly Snapshot[];
  readonly quarantined: readonly Quarantined[];
  /** Data in a pool that no record knows, by pool. Never removed by us: its record may come back. */
  readonly orphans: readonly { readonly pool: string; readonly id: string }[];
}

/** The volumes of one node. All methods can be repeated; a second one on the same volume meanwhile throws `busy`. */
export interface Storage extends AsyncDisposable {
  createVolume(request: CreateVolume): Promise<Volume>;
  deleteVolume(id: string): Promise<void>;
  expandVolume(id: string, range: SizeRange): Promise<Volume>;
  /** Throws `not-found`. */
  getVolume(id: string): Volume;
  listVolumes(): readonly Volume[];
  createSnapshot(name: string, volumeId: string): Promise<Snapshot>;
  deleteSnapshot(id: string): Promise<void>;
  listSnapshots(): readonly Snapshot[];
  /** The largest volume that could be made now where the choice allows; 0 where it allows no pool. Throws `invalid` for an unknown pool. */
  availableBytes(from: PoolChoice): Promise<bigint>;
  stage(volumeId: string, path: string): Promise<void>;
  unstage(volumeId: string, path: string): Promise<void>;
  publish(request: Publish): Promise<void>;
  unpublish(volumeId: string, target: string): Promise<void>;
  stats(volumeId: string, path: string): Promise<VolumeStats>;
  report(): Promise<StorageReport>;
  /** Collects what was deleted until the signal aborts. Run it once, in the process's task group. */
  run(signal: AbortSignal): Promise<void>;
  /** Unmounts the pools, for good: an ordinary end leaves them to the pods. Throws `busy` while volumes are mounted. */
  unmountPools(): Promise<void>;
}

/** Opens all pools and puts right what a crash or a reboot left. Throws when a pool is missing or is not the one on record. */
export async function openStorage({ stateDir, pools }: StorageOptions, deps: StorageDeps): Promise<Storage> {
  await using cleanup = new AsyncDisposableStack();
  const opened: OpenPool[] = [];
  for (const pool of pools) opened.push(cleanup.use(await openPool({ ...pool, stateDir }, deps)));
  const inventory = await openInventory({ stateDir }, deps);
  const storage = await createStorage(opened, inventory, deps);
  const owned = cleanup.move();
  return {
    ...storage,
    async unmountPools() {
      for (const pool of opened) await pool.unmount();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** The service on given pools and records, recovered. */
export async function createStorage(
  pools: readonly Pool[],
  inventory: Inventory,
  { logger, metrics: registry, clock = systemClock }: Omit<StorageDeps, 'kernel'>,
): Promise<Omit<Storage, 'unmountPools' | typeof Symbol.asyncDispose>> {
  const byName = new Map(pools.map((pool) => [pool.name, pool]));
  const ledger = new Ledger({ pools: byName, inventory });
  const collector = new BoundedRunner(
    // Extents of what was removed are freed within the filesystem's commit interval of 30 s: a later run finds the groups empty.
    { name: 'storage-collector', minIntervalMs: 1_000, maxIntervalMs: 60_000, retryMs: 10_000 },
    async (signal) => {
      for (const { backend } of pools) {
        signal.throwIfAborted();
        await backend.collect();
      }
    },
    { logger, clock },
  );
  const deps: OperationDeps = {
    inventory,
    ledger,
    clock,
    logger,
    locks: new OperationLocks(),
    onDiscarded: () => collector.poke(),
  };
  await recover([...byName.keys()], deps);
  const volumes = new Volumes({ pools: [...byName.keys()] }, deps);
  const snapshots = new Snapshots(deps);
  const attachments = new Attachments(deps);

  const ready = <T extends Volume | Snapshot>(records: ReadonlyMap<string, T>): T[] =>
    [...records.values()].filter(({ phase }) => phase === 'ready').sort((a, b) => (a.id < b.id ? -1 : 1));
  const reportPools = async (): Promise<PoolReport[]> =>
    await Promise.all(
      pools.map(async (pool) => ({
        name: pool.name,
        backend: pool.backend.features.backend,
        quota: pool.backend.features.enforcement,
        features: featureWords(pool.backend.features),
        problem: await pool.checkHealth().catch((error: Fault) => error.message),
        ...(await ledger.measure(pool.name)).capacity(),
      })),
    );
  const metrics: StorageMetrics =
    registry === undefined
      ? { observe: (_, work) => work() }
      : createStorageMetrics(registry, {
          readQuarantined: () => inventory.quarantined.length,
          readPools: async () =>
            (await reportPools()).map(({ name, problem, ...capacity }) => ({
              ...capacity,
              pool: name,
              healthy: problem === undefined,
              volumes: ready(inventory.volumes).filter(({ pool }) => pool === name).length,
              snapshots: ready(inventory.snapshots).filter(({ pool }) => pool === name).length,
            })),
        });
  const observe = metrics.observe.bind(metrics);

  return {
    createVolume: (request) => observe('create_volume', () => volumes.create(request)),
    deleteVolume: (id) => observe('delete_volume', () => volumes.delete(id)),
    expandVolume: (id, range) => observe('expand_volume', () => volumes.expand(id, range)),
    getVolume: (id) => volumes.get(id),
    listVolumes: () => ready(inventory.volumes),
    createSnapshot: (name, id) => observe('create_snapshot', () => snapshots.create(name, id)),
    deleteSnapshot: (id) => observe('delete_snapshot', () => snapshots.delete(id)),
    listSnapshots: () => ready(inventory.snapshots),
    availableBytes: async (from) => {
      try {
        return (await volumes.roomiest(from)).availableBytes;
      } catch (error) {
        if (isFault(error, 'exhausted')) return 0n;
        throw error;
      }
    },
    stage: (id, path) => observe('stage', () => attachments.stage(id, path)),
    unstage: (id, path) => observe('unstage', () => attachments.unstage(id, path)),
    publish: (request) => observe('publish', () => attachments.publish(request)),
    unpublish: (id, target) => observe('unpublish', () => attachments.unpublish(id, target)),
    stats: (id, path) => observe('stats', () => attachments.stats(id, path)),
    async report() {
      const orphans: { pool: string; id: string }[] = [];
      for (const { name, backend } of pools) {
        const present = await backend.list();
        for (const id of [...present.volumes, ...present.snapshots]) {
          if (!inventory.volumes.has(id) && !inventory.snapshots.has(id)) orphans.push({ pool: name, id });
        }
      }
      return {
        pools: await reportPools(),
        volumes: ready(inventory.volumes),
        snapshots: ready(inventory.snapshots),
        quarantined: inventory.quarantined,
        orphans,
      };
    },
    run: (signal) => collector.run(signal),
  };
}
