import { BoundedRunner } from '../../../src/runtime/bounded-runner.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/logger.ts';
import { RemovalBudget } from '../../linux/files/removal-budget.ts';
import type { PoolSet } from '../contract/pool.ts';
import type { OperationRunner } from '../operations/operation-runner.ts';

export interface TrashCollectorOptions {
  /** Limits how many bytes a run frees in each pool; default 1 GiB. Runs are at least 1 s apart. */
  readonly bytesPerRun?: bigint | undefined;
}

export interface TrashCollectorDeps {
  readonly pools: Pick<PoolSet, 'states'>;
  readonly runner: OperationRunner;
  readonly logger: Logger;
  readonly clock: Clock;
}

/**
 * Creates the runner that frees discarded data in open pools: after each poke, until none is left.
 */
export function createTrashCollector(
  { bytesPerRun = 1n << 30n }: TrashCollectorOptions,
  { pools, runner, logger, clock }: TrashCollectorDeps,
): BoundedRunner {
  const collector = new BoundedRunner(
    // btrfs frees removed extents within its commit interval of 30 s; a later run finds the quota
    // groups empty.
    { name: 'storage-collector', minIntervalMs: 1_000, maxIntervalMs: 60_000, retryMs: 10_000 },
    async (signal) => {
      let hasMore = false;
      for (const { pool } of pools.states()) {
        signal.throwIfAborted();
        const budget = new RemovalBudget(bytesPerRun);
        if (pool !== undefined) await runner.track(() => pool.backend.collect(budget));
        hasMore ||= budget.hasPostponed;
      }
      if (hasMore) collector.poke();
    },
    { logger, clock },
  );
  return collector;
}
