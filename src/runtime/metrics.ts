import { collectDefaultMetrics, Registry } from 'prom-client';

/**
 * The registry of one process: passed to each component, which creates its own metrics at
 * construction.
 */
export type MetricsRegistry = Registry;

/**
 * The library's histogram of event loop delays needs a timer that wakes the process a hundred times
 * a second, most of what an idle agent did. It cannot be disabled, so it wakes at this interval,
 * and its result is not exposed. `nodejs_eventloop_lag_seconds`, measured on scrape, stays.
 */
const EVENT_LOOP_WAKE_MS = 60_000;
const UNMEASURED = ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99'];

/**
 * Creates a registry with the metrics of the process: memory, CPU, event loop delay, garbage
 * collection.
 */
export function createMetrics(labels: Readonly<Record<string, string>>): MetricsRegistry {
  const registry = new Registry();
  registry.setDefaultLabels(labels);
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: EVENT_LOOP_WAKE_MS });
  for (const figure of UNMEASURED) registry.removeSingleMetric(`nodejs_eventloop_lag_${figure}_seconds`);
  return registry;
}
