import { Counter, Gauge, Histogram } from 'prom-client';
import { Fault } from '../../../src/core/fault.ts';
import type { PoolCapacity } from '../../../src/core/pools/pool-capacity.ts';
import type { MetricsRegistry } from '../../../src/runtime/metrics.ts';

/** What a scrape asks about a pool. */
export interface PoolFigures {
  readonly pool: string;
  /** Undefined while the pool is not open. */
  readonly capacity: PoolCapacity | undefined;
  readonly volumes: number;
  readonly snapshots: number;
  readonly healthy: boolean;
}

/** Counts and times storage operations. */
export interface StorageMetrics {
  observe<T>(operation: string, work: () => Promise<T>): Promise<T>;
}

/** `readPools` is called at each scrape; `readQuarantined` gives the number of records that cannot be read. */
export function createStorageMetrics(
  registry: MetricsRegistry,
  {
    readPools,
    readQuarantined,
  }: {
    readonly readPools: () => Promise<readonly PoolFigures[]>;
    readonly readQuarantined: () => number;
  },
): StorageMetrics {
  const registers = [registry];
  const operations = new Counter({
    name: 'keelson_storage_operations_total',
    help: 'Storage operations by outcome: ok, or the kind of fault.',
    labelNames: ['operation', 'outcome'],
    registers,
  });
  const durations = new Histogram({
    name: 'keelson_storage_operation_seconds',
    help: 'How long storage operations take.',
    labelNames: ['operation'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  // The gauges of one scrape are collected at the same time, and share one look at the pools.
  let looking: Promise<readonly PoolFigures[]> | undefined;
  const look = (): Promise<readonly PoolFigures[]> => {
    looking ??= readPools().finally(() => {
      looking = undefined;
    });
    return looking;
  };
  const bytes = new Gauge({
    name: 'keelson_pool_bytes',
    help: 'Bytes of a pool: total, allocated (promised or taken), available to a new volume.',
    labelNames: ['pool', 'state'],
    registers,
    async collect() {
      bytes.reset();
      for (const { pool, capacity } of await look()) {
        if (capacity === undefined) continue;
        const { totalBytes, allocatedBytes, availableBytes } = capacity;
        bytes.set({ pool, state: 'total' }, Number(totalBytes));
        bytes.set({ pool, state: 'allocated' }, Number(allocatedBytes));
        bytes.set({ pool, state: 'available' }, Number(availableBytes));
      }
    },
  });
  const objects = new Gauge({
    name: 'keelson_pool_objects',
    help: 'Volumes and snapshots in a pool.',
    labelNames: ['pool', 'kind'],
    registers,
    async collect() {
      for (const { pool, volumes, snapshots } of await look()) {
        objects.set({ pool, kind: 'volume' }, volumes);
        objects.set({ pool, kind: 'snapshot' }, snapshots);
      }
    },
  });
  const healthy = new Gauge({
    name: 'keelson_pool_healthy',
    help: '1 while the pool counts and enforces sizes.',
    labelNames: ['pool'],
    registers,
    async collect() {
      healthy.reset();
      for (const pool of await look()) healthy.set({ pool: pool.pool }, pool.healthy ? 1 : 0);
    },
  });
  const quarantined = new Gauge({
    name: 'keelson_storage_quarantined_records',
    help: 'Records that cannot be read; their data is left alone.',
    registers,
    collect() {
      quarantined.set(readQuarantined());
    },
  });
  return {
    async observe(operation, work) {
      const stop = durations.startTimer({ operation });
      try {
        const result = await work();
        operations.inc({ operation, outcome: 'ok' });
        return result;
      } catch (error) {
        operations.inc({ operation, outcome: Fault.from(error).kind });
        throw error;
      } finally {
        stop();
      }
    },
  };
}
