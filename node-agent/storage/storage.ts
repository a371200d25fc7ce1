import { offersCopies } from '../../src/core/volumes/backend-features.ts';
import { isFault } from '../../src/core/fault.ts';
import { type SnapshotGroup, unfinishedGroups } from '../../src/core/snapshots/snapshot-group.ts';
import type { ControllerPublication, Snapshot, Volume } from '../../src/core/volumes/volume.ts';
import type { PoolSpec } from '../../src/core/pools/pool.ts';
import type { VolumeAttributes } from '../../src/core/volumes/volume-attributes.ts';
import type { SizeRange } from '../../src/core/volumes/volume-size.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import type { MetricsRegistry } from '../../src/runtime/metrics.ts';
import type { StorageProblem, VolumeProblem } from '../../src/core/volumes/volume-health.ts';
import { findIoCgroups, type IoCgroups } from '../linux/process/io-cgroups.ts';
import type { Kernel } from '../linux/kernel/kernel.ts';
import { type HostSelinux, hostSelinux } from '../linux/files/selinux.ts';
import { Attachments, type Publish, type Stage, type VolumeStats } from './staging/staging.ts';
import { type Pool, fixedPools, type PoolSet } from './contract/pool.ts';
import type { RecordStore, QuarantinedRecord } from './contract/records.ts';
import { openRecordStore } from './records/record-store.ts';
import { ControllerPublications } from './staging/controller-publications.ts';
import { type OperationDeps, OperationLocks } from './operations/volume-snapshot-operations.ts';
import { type SickVolume, VolumeHealth } from './health/volume-health.ts';
import { Ephemerals, type PublishEphemeral } from './staging/ephemeral-volumes.ts';
import { IoLimiter } from './limits/io-limiter.ts';
import { Ledger } from './records/ledger.ts';
import { type LimitedDevices, openLimitedDevices } from './limits/limited-devices.ts';
import { findListed, isListed, type WantedVolume } from './volumes/listed-volumes.ts';
import { createStorageMetrics, type StorageMetrics } from './health/pool-metrics.ts';
import { recover } from './operations/recovery.ts';
import {
  type ExportedStream,
  type ExportRequest,
  type ImportRequest,
  Moves,
} from './transfers/volume-transfers.ts';
import { NodePools, type PoolHooks } from './pools/node-pools.ts';
import { openPool } from './pools/open-pool.ts';
import { Operations } from './operations/operation-runner.ts';
import { allPools, findUnrecorded, type PoolReport, recordsOf, reportPool } from './health/pool-report.ts';
import { type BlocksWanted, SnapshotBlockReader, type SnapshotBlocks } from './transfers/snapshot-blocks.ts';
import { SnapshotGroups } from './snapshots/snapshot-groups.ts';
import { Snapshots } from './snapshots/snapshots.ts';
import { createTrashCollector } from './removal/trash-collector.ts';
import { findDataInUse, UnrecordedData } from './removal/unrecorded-data.ts';
import { type CreateVolume, type PoolChoice, Volumes } from './volumes/volumes.ts';

export interface StorageOptions {
  readonly stateDir: string;
  readonly pools: readonly PoolSpec[];
  /** How much of deleted volumes a pool frees each second, at most; default 1 GiB. */
  readonly trashBytesPerSecond?: bigint | undefined;
}

export interface StorageDeps {
  readonly kernel: Kernel;
  readonly logger: Logger;
  readonly metrics?: MetricsRegistry | undefined;
  readonly clock?: Clock | undefined;
  /** Default: the machine's, below /sys/fs/cgroup. */
  readonly cgroups?: IoCgroups | undefined;
  /** Default: this machine's. */
  readonly selinux?: HostSelinux | undefined;
}

/** Everything that the storage service can tell of itself; only finished volumes and snapshots, in the order of their ids. */
export interface StorageReport {
  readonly pools: readonly PoolReport[];
  readonly volumes: readonly Volume[];
  readonly snapshots: readonly Snapshot[];
  readonly quarantined: readonly QuarantinedRecord[];
  /** Data in a pool that no record knows, by pool. */
  readonly orphans: readonly { readonly pool: string; readonly id: string }[];
}

const CGROUP_ROOT = '/sys/fs/cgroup';
const WITHOUT_IO = {
  cgroups: undefined,
  devices: { read: async () => new Map<string, string>(), write: async () => undefined },
};

/** The volumes of one node. All methods can be repeated; a second one on the same volume meanwhile throws `busy`. */
export interface Storage extends AsyncDisposable {
  createVolume(request: CreateVolume): Promise<Volume>;
  deleteVolume(id: string): Promise<void>;
  expandVolume(id: string, range: SizeRange): Promise<Volume>;
  /** Sets all attributes of the volume anew, also while it is in use. */
  modifyVolume(id: string, attributes: VolumeAttributes): Promise<Volume>;
  /** Throws `not-found`. */
  getVolume(id: string): Volume;
  /** Without those that go with a pod: nobody asked for them by themselves. */
  listVolumes(): readonly Volume[];
  /** One of those that are listed. */
  findVolume(wanted: WantedVolume): Volume | undefined;
  createSnapshot(name: string, volumeId: string): Promise<Snapshot>;
  deleteSnapshot(id: string): Promise<void>;
  /** With the members of groups. */
  listSnapshots(): readonly Snapshot[];
  createGroup(name: string, volumeIds: readonly string[]): Promise<SnapshotGroup>;
  /** `snapshotIds` is what the caller takes for its members; empty where he does not know. */
  deleteGroup(id: string, snapshotIds: readonly string[]): Promise<void>;
  /** Throws `not-found`. */
  getGroup(id: string, snapshotIds: readonly string[]): SnapshotGroup;
  listGroups(): readonly SnapshotGroup[];
  /** Whether this node can be asked for snapshots and clones: by the pools that are wished for, open or not. */
  offersCopies(): boolean;
  /** Where a Block snapshot holds data, or may differ from an older one. Dispose it. */
  openBlocks(wanted: BlocksWanted): Promise<SnapshotBlocks>;
  /** A stream with the content of a volume or snapshot. Dispose it. */
  exportVolume(request: ExportRequest): Promise<ExportedStream>;
  /** Makes a whole volume of such a stream, or nothing. */
  importVolume(request: ImportRequest): Promise<Volume>;
  /** The largest volume that could be made now where the choice allows; 0 where it allows no pool. Throws `invalid` for an unknown pool. */
  availableBytes(from: PoolChoice): Promise<bigint>;
  /** Promises the volume to an orchestrator that asks before it uses it here; to at most so many. */
  controllerPublish(id: string, wanted: ControllerPublication, most: number): Promise<void>;
  controllerUnpublish(id: string): Promise<void>;
  /** Takes what the volume needs of the secrets; they are kept nowhere. */
  stage(volumeId: string, path: string, how?: Stage): Promise<void>;
  unstage(volumeId: string, path: string): Promise<void>;
  publish(request: Publish): Promise<void>;
  unpublish(volumeId: string, target: string): Promise<void>;
  /** Ensures a volume that lives as long as a pod, and that it is mounted. */
  publishEphemeral(request: PublishEphemeral): Promise<void>;
  /** Ensures that such a volume is gone, with all that it held; an unknown one is fine. */
  unpublishEphemeral(handle: string, target: string): Promise<void>;
  /**
   * Removes data in a pool that no record knows; absent data is fine. Throws `precondition` when there is a record after all, also one that cannot
   * be read, or when something shows the data.
   */
  removeUnrecorded(pool: string, id: string): Promise<void>;
  /** Undefined when there is no such volume. */
  findEphemeral(handle: string): Volume | undefined;
  /** Removes the volumes of pods that have no directory in `podsDir` any more. */
  collectEphemerals(podsDir: string): Promise<void>;
  stats(volumeId: string, path: string): Promise<VolumeStats>;
  /** What is wrong with a volume; with a path also whether it is there, if it should be. Throws `not-found`. */
  checkVolume(id: string, path?: string): Promise<readonly VolumeProblem[]>;
  /** All volumes that are not well. */
  listSickVolumes(): Promise<readonly SickVolume[]>;
  checkPools(): Promise<readonly StorageProblem[]>;
  /** What is worth knowing of a volume although it is as it was wished for; undefined for nothing. */
  remarkOn(id: string): string | undefined;
  report(): Promise<StorageReport>;
  /** Opens and closes pools, and collects what was deleted, until the signal aborts. Run it once, in the process's task group. */
  run(signal: AbortSignal): Promise<void>;
  /** Replaces the pools that the API wishes for, besides those of the configuration. It is remembered over restarts. */
  wantPools(specs: readonly PoolSpec[]): Promise<void>;
  /** Called after a pool was opened, closed or changed. */
  onPoolsChange(tell: () => void): void;
  /** Unmounts the pools, for good: an ordinary end leaves them to the pods. Throws `busy` while volumes are mounted. */
  unmountPools(): Promise<void>;
}

/**
 * Tries to open every pool once, and puts right what a crash or a reboot left. A pool that fails does not keep the others from service: it is
 * tried again by `run`, and the report says why.
 */
export async function openStorage(
  { stateDir, pools, trashBytesPerSecond }: StorageOptions,
  deps: StorageDeps,
): Promise<Storage> {
  await using cleanup = new AsyncDisposableStack();
  const inventory = await openRecordStore({ stateDir }, deps);
  const nodePools = cleanup.use(
    new NodePools(
      { stateDir, configured: pools },
      {
        open: (spec) => openPool({ ...spec, stateDir }, deps),
        countCopies: (pool) => recordsOf(inventory).filter((record) => record.pool === pool).length,
        logger: deps.logger,
        clock: deps.clock ?? systemClock,
      },
    ),
  );
  const io = {
    cgroups: deps.cgroups ?? (await findIoCgroups(CGROUP_ROOT)),
    devices: await openLimitedDevices({ stateDir }, deps),
  };
  const service = await createStorage(nodePools, inventory, {
    ...deps,
    io,
    findUse: findDataInUse,
    trashBytesPerRun: trashBytesPerSecond,
  });
  const changes = new Set<() => void>();
  await nodePools.start({
    recover: (pool) => service.recoverPool(pool),
    settled: () => service.settled(),
    onChange: () => {
      for (const tell of changes) tell();
    },
  });
  const owned = cleanup.move();
  return {
    ...service,
    run: async (signal) => {
      await Promise.all([service.run(signal), nodePools.run(signal)]);
    },
    wantPools: (specs) => nodePools.want(specs),
    onPoolsChange: (tell) => void changes.add(tell),
    unmountPools: () => nodePools.unmount(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** The storage service without the coming and going of pools. */
export type VolumeService = Omit<
  Storage,
  'unmountPools' | 'wantPools' | 'onPoolsChange' | typeof Symbol.asyncDispose
> &
  Pick<PoolHooks, 'settled'> & { recoverPool(pool: string): Promise<void> };

export interface VolumeServiceDeps extends Omit<StorageDeps, 'kernel' | 'cgroups'> {
  /** How much of deleted volumes a run frees in each pool; runs are a second apart at least. Default 1 GiB. */
  readonly trashBytesPerRun?: bigint | undefined;
  /** Absent: the I/O of volumes cannot be limited. */
  readonly io?: { readonly cgroups: IoCgroups | undefined; readonly devices: LimitedDevices };
  /** Where the machine shows the data of that id, by a mount or a device; undefined for nowhere. Absent: it is not asked. */
  readonly findUse?: (id: string) => Promise<string | undefined>;
}

/** The service on given pools and records; what is open is recovered. */
export async function createStorage(
  given: PoolSet | readonly Pool[],
  inventory: RecordStore,
  {
    logger,
    metrics: registry,
    clock = systemClock,
    selinux = hostSelinux,
    io = WITHOUT_IO,
    trashBytesPerRun,
    findUse = async () => undefined,
  }: VolumeServiceDeps,
): Promise<VolumeService> {
  const pools: PoolSet = 'states' in given ? given : fixedPools(given);
  const ledger = new Ledger({ pools, inventory, clock });
  const limiter = new IoLimiter({ inventory, pools, ...io, logger, clock });
  const operations = new Operations();
  const collector = createTrashCollector(
    { bytesPerRun: trashBytesPerRun },
    { pools, operations, logger, clock },
  );
  const deps: OperationDeps = {
    inventory,
    ledger,
    limiter,
    clock,
    logger,
    locks: new OperationLocks(),
    selinux,
    onDiscarded: () => collector.poke(),
  };
  const recoverPool = (pool: string): Promise<void> => recover(pool, deps);
  for (const { name, pool } of pools.states()) if (pool !== undefined) await recoverPool(name);
  const volumes = new Volumes({ ...deps, pools });
  const snapshots = new Snapshots(deps);
  const groups = new SnapshotGroups(deps);
  const blocks = new SnapshotBlockReader(deps);
  const moves = new Moves({ ...deps, volumes, snapshots });
  const attachments = new Attachments(deps);
  const publications = new ControllerPublications(deps);
  const ephemerals = new Ephemerals({ ...deps, volumes, attachments });
  const unrecorded = new UnrecordedData({ ...deps, pools, findUse });
  const health = new VolumeHealth({ inventory, pools });

  const ready = <T extends Volume | Snapshot>(records: ReadonlyMap<string, T>): T[] =>
    [...records.values()].filter(({ phase }) => phase === 'ready').sort((a, b) => (a.id < b.id ? -1 : 1));
  const readySnapshots = (): Snapshot[] => {
    const unfinished = unfinishedGroups(inventory.snapshots.values());
    return ready(inventory.snapshots).filter(({ group }) => group === undefined || !unfinished.has(group.id));
  };
  const reportPools = (): Promise<PoolReport[]> =>
    operations.run(() => Promise.all(allPools(pools, inventory).map((state) => reportPool(state, deps))));
  const metrics: StorageMetrics =
    registry === undefined
      ? { observe: (_, work) => work() }
      : createStorageMetrics(registry, {
          readQuarantined: () => inventory.quarantined.length,
          readPools: async () =>
            (await reportPools()).map(({ name, problem, capacity }) => ({
              capacity,
              pool: name,
              healthy: problem === undefined,
              volumes: ready(inventory.volumes).filter(({ pool }) => pool === name).length,
              snapshots: ready(inventory.snapshots).filter(({ pool }) => pool === name).length,
            })),
        });
  const observe = <T>(name: string, work: () => Promise<T>): Promise<T> =>
    operations.run(() => metrics.observe(name, work));

  return {
    createVolume: (request) => observe('create_volume', () => volumes.create(request)),
    deleteVolume: (id) => observe('delete_volume', () => volumes.delete(id)),
    expandVolume: (id, range) => observe('expand_volume', () => volumes.expand(id, range)),
    modifyVolume: (id, attributes) => observe('modify_volume', () => volumes.modify(id, attributes)),
    getVolume: (id) => volumes.get(id),
    listVolumes: () => ready(inventory.volumes).filter(isListed),
    findVolume: (wanted) => findListed(inventory.volumes, wanted),
    createSnapshot: (name, id) => observe('create_snapshot', () => snapshots.create(name, id)),
    deleteSnapshot: (id) => observe('delete_snapshot', () => snapshots.delete(id)),
    listSnapshots: readySnapshots,
    createGroup: (name, ids) => observe('create_group_snapshot', () => groups.create(name, ids)),
    deleteGroup: (id, ids) => observe('delete_group_snapshot', () => groups.delete(id, ids)),
    getGroup: (id, ids) => groups.get(id, ids),
    listGroups: () => groups.list(),
    offersCopies: () => offersCopies(allPools(pools, inventory).map(({ backend }) => backend)),
    openBlocks: (wanted) => operations.run(() => blocks.open(wanted)),
    exportVolume: (request) => observe('export_volume', () => moves.export(request)),
    importVolume: (request) => observe('import_volume', () => moves.import(request)),
    availableBytes: async (from) => {
      try {
        return (await operations.run(() => volumes.roomiest(from))).availableBytes;
      } catch (error) {
        if (isFault(error, 'exhausted')) return 0n;
        throw error;
      }
    },
    controllerPublish: (id, wanted, most) =>
      observe('controller_publish', () => publications.publish(id, wanted, most)),
    controllerUnpublish: (id) => observe('controller_unpublish', () => publications.unpublish(id)),
    stage: (id, path, how) => observe('stage', () => attachments.stage(id, path, how)),
    unstage: (id, path) => observe('unstage', () => attachments.unstage(id, path)),
    publish: (request) => observe('publish', () => attachments.publish(request)),
    unpublish: (id, target) => observe('unpublish', () => attachments.unpublish(id, target)),
    publishEphemeral: (request) => observe('publish_ephemeral', () => ephemerals.publish(request)),
    unpublishEphemeral: (handle, target) =>
      observe('unpublish_ephemeral', () => ephemerals.unpublish(handle, target)),
    removeUnrecorded: (pool, id) => observe('remove_unrecorded', () => unrecorded.remove(pool, id)),
    findEphemeral: (handle) => ephemerals.find(handle),
    collectEphemerals: (podsDir) => operations.run(() => ephemerals.collect(podsDir)),
    stats: (id, path) => observe('stats', () => attachments.stats(id, path)),
    checkVolume: (id, path) => operations.run(() => health.check(id, path)),
    listSickVolumes: () => operations.run(() => health.list()),
    checkPools: () => operations.run(() => health.checkPools()),
    remarkOn: (id) => health.remarkOn(id),
    async report() {
      const orphans = await operations.run(() => findUnrecorded(pools, inventory));
      return {
        pools: await reportPools(),
        volumes: ready(inventory.volumes),
        snapshots: readySnapshots(),
        quarantined: inventory.quarantined,
        orphans,
      };
    },
    run: async (signal) => {
      await Promise.all([collector.run(signal), limiter.run(signal)]);
    },
    recoverPool,
    settled: () => operations.settled(),
  };
}
