import { isFault } from '../../src/core/fault.ts';
import { offersCopies } from '../../src/core/volumes/backend-features.ts';
import type { PoolChoice } from '../../src/core/volumes/volume-request.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import type { MetricsRegistry } from '../../src/runtime/metrics.ts';
import { type HostSelinux, hostSelinux } from '../linux/files/selinux.ts';
import type { IoCgroups } from '../linux/process/io-cgroups.ts';
import type { PoolSet } from './contract/pool.ts';
import type { RecordStore } from './contract/records.ts';
import { createHealthService, type HealthService, readPoolFigures } from './health/health-service.ts';
import { registerPoolMetrics } from './health/pool-metrics.ts';
import { allPools } from './health/pool-report.ts';
import { IoLimiter } from './limits/io-limiter.ts';
import type { LimitedDevices } from './limits/limited-devices.ts';
import { OperationLocks } from './operations/operation-locks.ts';
import { OperationRunner } from './operations/operation-runner.ts';
import { recover } from './operations/recovery.ts';
import type { OperationDeps } from './operations/volume-snapshot-operations.ts';
import type { PoolHooks, PoolRequests } from './pools/node-pools.ts';
import { Ledger } from './records/ledger.ts';
import { createTrashCollector } from './removal/trash-collector.ts';
import { UnrecordedData } from './removal/unrecorded-data.ts';
import {
  createSnapshotGroupService,
  type SnapshotGroupService,
  SnapshotGroups,
} from './snapshots/snapshot-groups.ts';
import { createSnapshotService, type SnapshotService, Snapshots } from './snapshots/snapshots.ts';
import { ControllerPublications } from './staging/controller-publications.ts';
import {
  createEphemeralVolumeService,
  type EphemeralVolumeService,
  EphemeralVolumes,
} from './staging/ephemeral-volumes.ts';
import { createStagingService, Staging, type StagingService } from './staging/staging.ts';
import { SnapshotBlockReader } from './transfers/snapshot-blocks.ts';
import {
  createTransferService,
  type TransferService,
  VolumeTransfers,
} from './transfers/volume-transfers.ts';
import { createVolumeService, type VolumeService, Volumes } from './volumes/volumes.ts';

/** The pools of one node, as their users see them. */
export interface PoolService extends PoolRequests {
  /**
   * Returns the size of the largest volume that could be created now; 0 without an eligible pool.
   * Throws `invalid` for an unknown pool.
   */
  availableBytes(choice: PoolChoice): Promise<bigint>;
  /** Whether the node offers snapshots and clones: by the backends of its pools, open or not. */
  offersCopies(): boolean;
  /**
   * Ensures that a pool has no unrecorded data of that id. Throws `precondition` for an id with a
   * record, readable or not, and for data that is mounted or attached.
   */
  removeUnrecorded(pool: string, id: string): Promise<void>;
}

/** The storage services of one node, and their background work. */
export interface StorageServices {
  readonly volumes: VolumeService;
  readonly snapshots: SnapshotService;
  readonly groups: SnapshotGroupService;
  readonly staging: StagingService;
  readonly ephemerals: EphemeralVolumeService;
  readonly transfers: TransferService;
  readonly pools: PoolService;
  readonly health: HealthService;
  /** Collects discarded data and maintains I/O limits until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

/** Dependencies of `createServices`. */
export interface ServiceDeps {
  readonly pools: PoolSet & PoolRequests;
  readonly records: RecordStore;
  readonly logger: Logger;
  readonly metrics?: MetricsRegistry | undefined;
  readonly clock?: Clock | undefined;
  /** Default: the host's. */
  readonly selinux?: HostSelinux | undefined;
  /** Limits how many bytes each collection frees in a pool; default 1 GiB, at most one a second. */
  readonly trashBytesPerRun?: bigint | undefined;
  /** Absent: I/O limits are not supported. */
  readonly io?: { readonly cgroups: IoCgroups | undefined; readonly devices: LimitedDevices };
  /**
   * Returns where the host mounts or attaches data of an id; undefined for nowhere. Absent:
   * unchecked.
   */
  readonly findUse?: (id: string) => Promise<string | undefined>;
  /** Called after every operation that may have changed a pool's usage. */
  readonly onUsageChange?: (() => void) | undefined;
}

const WITHOUT_IO_LIMITS = {
  cgroups: undefined,
  devices: { read: async () => new Map<string, string>(), write: async () => undefined },
};

/** Composes the services on the given pools and records. The caller recovers each pool it opens. */
export function createServices(deps: ServiceDeps): StorageServices & PoolHooks {
  const { pools, records, logger, clock = systemClock, trashBytesPerRun } = deps;
  const runner = new OperationRunner(deps);
  const collector = createTrashCollector({ bytesPerRun: trashBytesPerRun }, { pools, runner, logger, clock });
  const operations = createOperationDeps(deps, () => collector.poke());
  const { ledger, limiter } = operations;
  const volumes = new Volumes({ ...operations, pools });
  const snapshots = new Snapshots(operations);
  const staging = new Staging(operations);
  const health = { records, pools, ledger, limiter, runner };
  if (deps.metrics !== undefined) {
    registerPoolMetrics(deps.metrics, {
      readPools: () => readPoolFigures(health),
      countQuarantined: () => records.quarantined.length,
    });
  }
  return {
    volumes: createVolumeService(volumes, { records, runner }),
    snapshots: createSnapshotService(snapshots, { records, runner }),
    groups: createSnapshotGroupService(new SnapshotGroups(operations), { runner }),
    staging: createStagingService(staging, { publications: new ControllerPublications(operations), runner }),
    ephemerals: createEphemeralVolumeService(new EphemeralVolumes({ ...operations, volumes, staging }), {
      runner,
    }),
    transfers: createTransferService(new VolumeTransfers({ ...operations, volumes, snapshots }), {
      blocks: new SnapshotBlockReader(operations),
      runner,
    }),
    pools: createPoolService(deps, { volumes, runner, operations }),
    health: createHealthService(health),
    run: async (signal) => {
      await Promise.all([collector.run(signal), limiter.run(signal)]);
    },
    recover: (pool) => recover(pool, operations),
    settled: () => runner.settled(),
  };
}

function createOperationDeps(
  { pools, records, logger, clock = systemClock, selinux = hostSelinux, io }: ServiceDeps,
  onDiscarded: () => void,
): OperationDeps {
  return {
    records,
    ledger: new Ledger({ pools, records, clock }),
    limiter: new IoLimiter({ records, pools, ...(io ?? WITHOUT_IO_LIMITS), logger, clock }),
    locks: new OperationLocks(),
    selinux,
    clock,
    logger,
    onDiscarded,
  };
}

function createPoolService(
  { pools, records, findUse = async () => undefined }: ServiceDeps,
  {
    volumes,
    runner,
    operations,
  }: { readonly volumes: Volumes; readonly runner: OperationRunner; readonly operations: OperationDeps },
): PoolService {
  const unrecorded = new UnrecordedData({ ...operations, pools, findUse });
  return {
    request: (specs) => pools.request(specs),
    onChange: (listener) => pools.onChange(listener),
    unmount: () => pools.unmount(),
    async availableBytes(choice) {
      try {
        return (await runner.track(() => volumes.roomiest(choice))).availableBytes;
      } catch (error) {
        if (isFault(error, 'exhausted')) return 0n;
        throw error;
      }
    },
    offersCopies: () => offersCopies(allPools(pools, records).map(({ backend }) => backend)),
    removeUnrecorded: (pool, id) => runner.run('remove_unrecorded', () => unrecorded.remove(pool, id)),
  };
}
