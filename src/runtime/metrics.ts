import { collectDefaultMetrics, Registry } from 'prom-client';

/** The registry of one process: passed to each component, which makes its own metrics at construction. */
export type MetricsRegistry = Registry;

/**
 * The library's histogram of event loop delays needs a timer that wakes the process a hundred times a second, which was nearly all that an
 * idle agent did. It cannot be left out, so it wakes once in so long, and what it measures is not shown. `nodejs_eventloop_lag_seconds`, which is
 * measured when somebody asks, stays.
 */
const EVENT_LOOP_WAKE_MS = 60_000;
const UNMEASURED = ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99'];

/** A registry that already holds the process's own figures: memory, CPU, event loop delay, garbage collection. */
export function createMetrics(labels: Readonly<Record<string, string>>): MetricsRegistry {
  const registry = new Registry();
  registry.setDefaultLabels(labels);
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: EVENT_LOOP_WAKE_MS });
  for (const figure of UNMEASURED) registry.removeSingleMetric(`nodejs_eventloop_lag_${figure}_seconds`);
  return registry;
}
