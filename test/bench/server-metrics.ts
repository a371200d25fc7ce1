import type { ClusterAccess } from '../../src/kube/transport.ts';
import { readBody, Transport } from '../../src/kube/transport.ts';
import { Fault } from '../../src/core/fault.ts';
import { type MetricSample, parseMetrics } from './metrics-text.ts';

/** The API server's own figures; the user must be allowed to read them. */
export async function fetchServerMetrics(access: ClusterAccess): Promise<readonly MetricSample[]> {
  using transport = new Transport({ access, userAgent: 'keelson-bench' });
  const signal = AbortSignal.timeout(30_000);
  const response = await transport.send({ method: 'GET', target: '/metrics', signal });
  const text = await readBody(response, signal);
  if (response.status !== 200) throw new Fault('denied', `GET /metrics answered ${response.status}`);
  return parseMetrics(text);
}
