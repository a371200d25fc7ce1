import { Counter, Gauge, Histogram } from 'prom-client';
import type { MetricsRegistry } from '../runtime/metrics.ts';
import type { RequestObserver } from './http-client.ts';
import type { InformerObserver, WatchEnd } from './informer.ts';

/** Metrics of one process about its API server. */
interface KubeMetrics {
  readonly requests: RequestObserver;
  readonly informers: InformerObserver;
}

const WATCH_ENDS: readonly WatchEnd[] = ['ended', 'expired', 'failed'];

/** Registers the metrics; call it once for a registry. */
export function createKubeMetrics(registry: MetricsRegistry): KubeMetrics {
  const registers = [registry];
  const requests = new Counter({
    name: 'keelson_kube_requests_total',
    help: 'Responses of the API server by verb, resource and status; status 0: no response',
    labelNames: ['verb', 'resource', 'status'],
    registers,
  });
  const durations = new Histogram({
    name: 'keelson_kube_request_duration_seconds',
    help: 'Time to the response; for a watch, to its first byte',
    labelNames: ['verb'],
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 30],
    registers,
  });
  const throttled = new Counter({
    name: 'keelson_kube_throttled_seconds_total',
    help: 'Time that requests waited for the client rate limit or for Retry-After',
    registers,
  });
  const watchEnds = new Counter({
    name: 'keelson_kube_watch_ends_total',
    help: 'Ended watches: ended by the server, expired resource version, or failed',
    labelNames: ['resource', 'why'],
    registers,
  });
  const listed = new Gauge({
    name: 'keelson_kube_listed_objects',
    help: 'Objects in the last list of an informer',
    labelNames: ['resource'],
    registers,
  });
  return {
    requests: {
      completed(verb, resource, status, durationMs) {
        requests.inc({ verb, resource, status });
        durations.observe({ verb }, durationMs / 1_000);
      },
      throttled: (waitMs) => throttled.inc(waitMs / 1_000),
    },
    informers: {
      watchEnded: (resource, why) => watchEnds.inc({ resource, why }),
      listed(resource, objects) {
        listed.set({ resource }, objects);
        for (const why of WATCH_ENDS) watchEnds.inc({ resource, why }, 0);
      },
    },
  };
}
