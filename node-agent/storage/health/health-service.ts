import type { StorageProblem, VolumeProblem } from '../../../src/core/volumes/volume-health.ts';
import type { Snapshot, Volume } from '../../../src/core/volumes/volume.ts';
import type { PoolSet } from '../contract/pool.ts';
import type { QuarantinedRecord, RecordStore } from '../contract/records.ts';
import type { OperationRunner } from '../operations/operation-runner.ts';
import type { OperationDeps } from '../operations/volume-snapshot-operations.ts';
import { listSnapshots } from '../snapshots/snapshots.ts';
import { listReady } from '../volumes/listed-volumes.ts';
import type { PoolFigures } from './pool-metrics.ts';
import { allPools, findUnrecorded, type PoolReport, reportPool } from './pool-report.ts';
import { type UnhealthyVolume, VolumeHealth } from './volume-health.ts';

/** All pools, records and unrecorded data of a node; finished volumes and snapshots only, by id. */
export interface StorageReport {
  readonly pools: readonly PoolReport[];
  readonly volumes: readonly Volume[];
  readonly snapshots: readonly Snapshot[];
  readonly quarantined: readonly QuarantinedRecord[];
  /** Data in a pool without a record. */
  readonly orphans: readonly { readonly pool: string; readonly id: string }[];
}

/** Checks the volumes and pools of one node, and reports on them. */
export interface HealthService {
  /**
   * Checks a volume; with a path also whether it is mounted there, if it was published there.
   * Throws `not-found`.
   */
  checkVolume(id: string, path?: string): Promise<readonly VolumeProblem[]>;
  /** Lists all volumes with problems, without ephemeral ones. */
  listUnhealthy(): Promise<readonly UnhealthyVolume[]>;
  checkPools(): Promise<readonly StorageProblem[]>;
  /** Returns the condition message of a volume without problems; undefined for no message. */
  conditionMessage(id: string): string | undefined;
  report(): Promise<StorageReport>;
}

/** Dependencies of `createHealthService`. */
export interface HealthServiceDeps extends Pick<OperationDeps, 'ledger' | 'limiter'> {
  readonly records: RecordStore;
  readonly pools: PoolSet;
  readonly runner: OperationRunner;
}

/** Returns the health service on the given pools and records. */
export function createHealthService(deps: HealthServiceDeps): HealthService {
  const { records, pools, runner } = deps;
  const health = new VolumeHealth({ records, pools });
  return {
    checkVolume: (id, path) => runner.track(() => health.check(id, path)),
    listUnhealthy: () => runner.track(() => health.list()),
    checkPools: () => runner.track(() => health.checkPools()),
    conditionMessage: (id) => health.conditionMessage(id),
    async report() {
      const orphans = await runner.track(() => findUnrecorded(pools, records));
      return {
        pools: await reportPools(deps),
        volumes: listReady(records.volumes),
        snapshots: listSnapshots(records),
        quarantined: records.quarantined,
        orphans,
      };
    },
  };
}

/** Reads the figures of all pools for a scrape of the metrics. */
export async function readPoolFigures(deps: HealthServiceDeps): Promise<readonly PoolFigures[]> {
  const { volumes, snapshots } = deps.records;
  return (await reportPools(deps)).map(({ name, problem, capacity }) => ({
    capacity,
    pool: name,
    healthy: problem === undefined,
    volumes: listReady(volumes).filter(({ pool }) => pool === name).length,
    snapshots: listReady(snapshots).filter(({ pool }) => pool === name).length,
  }));
}

async function reportPools(deps: HealthServiceDeps): Promise<readonly PoolReport[]> {
  const { pools, records, runner } = deps;
  return await runner.track(() =>
    Promise.all(allPools(pools, records).map((state) => reportPool(state, deps))),
  );
}
