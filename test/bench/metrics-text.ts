import { Fault } from '../../src/core/fault.ts';

export type MetricLabels = Readonly<Record<string, string>>;

export interface MetricSample {
  readonly name: string;
  readonly labels: MetricLabels;
  readonly value: number;
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** The samples in a Prometheus text exposition. */
export function parseMetrics(text: string): readonly MetricSample[] {
  return text.split('\n').flatMap((line) => {
    const match = LINE.exec(line);
    if (match === null || line.startsWith('#')) return [];
    const [, name = '', labels = '', value = ''] = match;
    const pairs = [...labels.matchAll(LABEL)].map(([, key = '', text = '']) => [key, text] as const);
    return [{ name, labels: Object.fromEntries(pairs), value: Number(value) }];
  });
}

/**
 * Requests by `VERB resource`, of `keelson_kube_requests_total` or, from an API server,
 * `apiserver_request_total`.
 */
export type RequestCounts = ReadonlyMap<string, number>;

const STREAMS = new Set(['watch', 'WATCH', 'CONNECT']);

/** What a process of ours has asked of the API server, without its watches. */
export function countOwnRequests(samples: readonly MetricSample[]): RequestCounts {
  return countBy(samples, 'keelson_kube_requests_total', ({ verb = '', resource = '' }) =>
    STREAMS.has(verb) ? undefined : `${verb} ${resource}`,
  );
}

/** What an API server was asked by everybody, without watches. */
export function countServerRequests(samples: readonly MetricSample[]): RequestCounts {
  return countBy(samples, 'apiserver_request_total', ({ verb = '', resource = '' }) =>
    STREAMS.has(verb) ? undefined : `${verb} ${resource}`,
  );
}

/** What came between two counts; nothing where nothing came. */
export function requestsSince(before: RequestCounts, after: RequestCounts): RequestCounts {
  return new Map(
    [...after].flatMap(([key, count]) => {
      const grown = count - (before.get(key) ?? 0);
      return grown > 0 ? [[key, grown] as const] : [];
    }),
  );
}

/** The sum, of all or of those that `select` takes by verb and resource. */
export function sumRequests(
  counts: RequestCounts,
  select: (verb: string, resource: string) => boolean = () => true,
): number {
  let sum = 0;
  for (const [key, count] of counts) {
    const [verb = '', resource = ''] = key.split(' ');
    if (select(verb, resource)) sum += count;
  }
  return sum;
}

/** Whether a verb changes something. */
export function isWrite(verb: string): boolean {
  return !['get', 'list', 'head'].includes(verb.toLowerCase());
}

/** Text of `http://ADDRESS/metrics` as `countOwnRequests` wants it. */
export async function fetchMetrics(url: string): Promise<readonly MetricSample[]> {
  const response = await fetch(url);
  if (!response.ok) throw new Fault('unavailable', `GET ${url} answered ${response.status}`);
  return parseMetrics(await response.text());
}

function countBy(
  samples: readonly MetricSample[],
  metric: string,
  keyOf: (labels: MetricLabels) => string | undefined,
): RequestCounts {
  const counts = new Map<string, number>();
  for (const { name, labels, value } of samples) {
    const key = name === metric ? keyOf(labels) : undefined;
    if (key !== undefined) counts.set(key, (counts.get(key) ?? 0) + value);
  }
  return counts;
}
