import type { EventFacts } from '../../core/why/facts.ts';
import { EVENTS, type KubeEvent } from '../../kube/built-in.ts';
import type { ClusterReader } from './cluster-reader.ts';

/** Returns the events about one object, newest first. */
export async function eventsOf(
  reader: ClusterReader,
  {
    kind,
    namespace,
    name,
    uid,
  }: { readonly kind: string; readonly namespace: string; readonly name: string; readonly uid: string },
  nowMs: number,
): Promise<readonly EventFacts[]> {
  const fieldSelector = `regarding.kind=${kind},regarding.name=${name}`;
  const events = await reader.list(EVENTS, { namespace, fieldSelector });
  return events
    .filter(({ regarding }) => regarding?.uid === undefined || regarding.uid === uid)
    .map((event) => ({ event, atMs: lastSeenMs(event) }))
    .sort((a, b) => b.atMs - a.atMs)
    .map(({ event, atMs }) => ({
      isWarning: event.type === 'Warning',
      reason: event.reason ?? '',
      note: event.note ?? '',
      reporter: event.reportingController ?? event.deprecatedSource?.component ?? 'unknown',
      ageSeconds: Math.max(0, Math.floor((nowMs - atMs) / 1_000)),
      count: event.series?.count ?? event.deprecatedCount ?? 1,
    }));
}

/** Three API generations store it in three fields. */
function lastSeenMs({ series, deprecatedLastTimestamp, eventTime, metadata }: KubeEvent): number {
  const texts = [series?.lastObservedTime, deprecatedLastTimestamp, eventTime, metadata?.creationTimestamp];
  return Math.max(...texts.map((text) => Date.parse(text ?? '')).filter(Number.isFinite), 0);
}
