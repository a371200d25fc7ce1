import { Gauge } from 'prom-client';
import type { PoolCapacity } from '../../../src/core/pools/pool-capacity.ts';
import type { MetricsRegistry } from '../../../src/runtime/metrics.ts';

/** The figures of one pool at a scrape. */
export interface PoolFigures {
  readonly pool: string;
  /** Undefined while the pool is not open. */
  readonly capacity: PoolCapacity | undefined;
  readonly volumes: number;
  readonly snapshots: number;
  readonly healthy: boolean;
}

export interface PoolMetricsDeps {
  /** Called once at each scrape. */
  readonly readPools: () => Promise<readonly PoolFigures[]>;
  /** Returns the number of records that cannot be read. */
  readonly countQuarantined: () => number;
}

/** Registers the gauges of the pools; each scrape reads the pools once for all gauges. */
export function registerPoolMetrics(
  registry: MetricsRegistry,
  { readPools, countQuarantined }: PoolMetricsDeps,
): void {
  const registers = [registry];
  const read = shared(readPools);
  registerCapacity(registers, read);
  const objects = new Gauge({
    name: 'keelson_pool_objects',
    help: 'Number of volumes and snapshots in a pool.',
    labelNames: ['pool', 'kind'],
    registers,
    async collect() {
      for (const { pool, volumes, snapshots } of await read()) {
        objects.set({ pool, kind: 'volume' }, volumes);
        objects.set({ pool, kind: 'snapshot' }, snapshots);
      }
    },
  });
  const healthy = new Gauge({
    name: 'keelson_pool_healthy',
    help: '1 if the pool is open, and accounts for and enforces volume sizes; 0 otherwise.',
    labelNames: ['pool'],
    registers,
    async collect() {
      healthy.reset();
      for (const pool of await read()) healthy.set({ pool: pool.pool }, pool.healthy ? 1 : 0);
    },
  });
  const quarantined = new Gauge({
    name: 'keelson_storage_quarantined_records',
    help: 'Number of records that cannot be read; their data is left untouched.',
    registers,
    collect() {
      quarantined.set(countQuarantined());
    },
  });
}

function registerCapacity(registers: MetricsRegistry[], read: () => Promise<readonly PoolFigures[]>): void {
  const bytes = new Gauge({
    name: 'keelson_pool_bytes',
    help: 'Bytes of a pool by state: total, allocated (promised or used), available to a new volume.',
    labelNames: ['pool', 'state'],
    registers,
    async collect() {
      bytes.reset();
      for (const { pool, capacity } of await read()) {
        if (capacity === undefined) continue;
        const { totalBytes, allocatedBytes, availableBytes } = capacity;
        bytes.set({ pool, state: 'total' }, Number(totalBytes));
        bytes.set({ pool, state: 'allocated' }, Number(allocatedBytes));
        bytes.set({ pool, state: 'available' }, Number(availableBytes));
      }
    },
  });
}

/** Shares one read among the gauges of a scrape, which are collected at the same time. */
function shared<T>(read: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  return () => {
    running ??= read().finally(() => {
      running = undefined;
    });
    return running;
  };
}
