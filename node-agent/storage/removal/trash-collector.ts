import { BoundedRunner } from '../../../src/runtime/bounded-runner.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import type { Operations } from '../operations/operation-runner.ts';
import type { PoolSet } from '../contract/pool.ts';
import { RemovalBudget } from '../../linux/files/removal-budget.ts';

export interface TrashCollectorOptions {
  /** How much of deleted volumes a run frees in each pool; runs are a second apart at least. Default 1 GiB. */
  readonly bytesPerRun?: bigint | undefined;
}

export interface TrashCollectorDeps {
  readonly pools: Pick<PoolSet, 'states'>;
  readonly operations: Operations;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** Frees what was discarded in the pools that are open: after each poke, and until nothing is left. */
export function createTrashCollector(
  { bytesPerRun = 1n << 30n }: TrashCollectorOptions,
  { pools, operations, logger, clock }: TrashCollectorDeps,
): BoundedRunner {
  const collector = new BoundedRunner(
    // Extents of what was removed are freed within the filesystem's commit interval of 30 s: a later run finds the groups empty.
    { name: 'storage-collector', minIntervalMs: 1_000, maxIntervalMs: 60_000, retryMs: 10_000 },
    async (signal) => {
      let hasMore = false;
      for (const { pool } of pools.states()) {
        signal.throwIfAborted();
        const budget = new RemovalBudget(bytesPerRun);
        if (pool !== undefined) await operations.run(() => pool.backend.collect(budget));
        hasMore ||= budget.hasPostponed;
      }
      if (hasMore) collector.poke();
    },
    { logger, clock },
  );
  return collector;
}
