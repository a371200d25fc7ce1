import { Counter, Histogram } from 'prom-client';
import { Fault } from '../../../src/core/fault.ts';
import type { MetricsRegistry } from '../../../src/runtime/metrics.ts';

/** Operations of the storage service, as the label `operation` of its metrics names them. */
export type OperationName =
  | ChangingOperation
  | 'modify_volume'
  | 'export_volume'
  | 'controller_publish'
  | 'controller_unpublish'
  | 'stage'
  | 'unstage'
  | 'publish'
  | 'unpublish'
  | 'stats';

const CHANGING_OPERATIONS = [
  'create_volume',
  'delete_volume',
  'expand_volume',
  'import_volume',
  'create_snapshot',
  'delete_snapshot',
  'create_group_snapshot',
  'delete_group_snapshot',
  'publish_ephemeral',
  'unpublish_ephemeral',
  'remove_unrecorded',
] as const;
type ChangingOperation = (typeof CHANGING_OPERATIONS)[number];

export interface OperationRunnerDeps {
  /** Absent: operations are neither counted nor timed. */
  readonly metrics?: MetricsRegistry | undefined;
  /** Called after every operation that may have changed a pool's usage, failed ones included. */
  readonly onUsageChange?: (() => void) | undefined;
}

/**
 * Runs the operations of the storage service: counts and times them, and tracks those in flight.
 */
export class OperationRunner {
  readonly #running = new Set<Promise<unknown>>();
  readonly #metrics: OperationMetrics | undefined;
  readonly #onUsageChange: () => void;

  constructor({ metrics, onUsageChange = () => undefined }: OperationRunnerDeps = {}) {
    this.#metrics = metrics === undefined ? undefined : new OperationMetrics(metrics);
    this.#onUsageChange = onUsageChange;
  }

  /** Runs `work` as operation `name`, counted by its outcome. */
  async run<T>(name: OperationName, work: () => Promise<T>): Promise<T> {
    try {
      const measured = this.#metrics;
      return await this.track(measured === undefined ? work : () => measured.observe(name, work));
    } finally {
      if (CHANGING_OPERATIONS.some((changing) => changing === name)) this.#onUsageChange();
    }
  }

  /** Runs `work` as an operation in flight that no metric counts. */
  async track<T>(work: () => Promise<T>): Promise<T> {
    const running = work();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Resolves when every operation that is in flight at the time of the call has ended. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#running]);
  }
}

/** Counts and times operations. */
class OperationMetrics {
  readonly #operations: Counter<'operation' | 'outcome'>;
  readonly #durations: Histogram<'operation'>;

  constructor(registry: MetricsRegistry) {
    this.#operations = new Counter({
      name: 'keelson_storage_operations_total',
      help: 'Storage operations by outcome: ok, or the kind of error.',
      labelNames: ['operation', 'outcome'],
      registers: [registry],
    });
    this.#durations = new Histogram({
      name: 'keelson_storage_operation_seconds',
      help: 'Duration of storage operations.',
      labelNames: ['operation'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers: [registry],
    });
  }

  async observe<T>(operation: OperationName, work: () => Promise<T>): Promise<T> {
    const stop = this.#durations.startTimer({ operation });
    try {
      const result = await work();
      this.#operations.inc({ operation, outcome: 'ok' });
      return result;
    } catch (error) {
      this.#operations.inc({ operation, outcome: Fault.from(error).kind });
      throw error;
    } finally {
      stop();
    }
  }
}
