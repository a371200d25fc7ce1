import { Histogram } from 'prom-client';
import type { CallObserver } from '../../src/rpc/server.ts';
import type { MetricsRegistry } from '../../src/runtime/metrics.ts';

/** Counts and times the calls of a gRPC server, by method and status code. */
export function createRpcMetrics(registry: MetricsRegistry): CallObserver {
  const durations = new Histogram({
    name: 'keelson_rpc_seconds',
    help: 'Duration of gRPC calls served by the agent.',
    labelNames: ['method', 'code'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  });
  return ({ method, code, durationMs }) => durations.observe({ method, code }, durationMs / 1_000);
}
