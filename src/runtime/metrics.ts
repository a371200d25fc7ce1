import { collectDefaultMetrics, Registry } from 'prom-client';

/** The registry of one process: passed to each component, which makes its own metrics at construction. */
export type MetricsRegistry = Registry;

/** A registry that already holds the process's own figures: memory, CPU, event loop delay, garbage collection. */
export function createMetrics(labels: Readonly<Record<string, string>>): MetricsRegistry {
  const registry = new Registry();
  registry.setDefaultLabels(labels);
  collectDefaultMetrics({ register: registry });
  return registry;
}
