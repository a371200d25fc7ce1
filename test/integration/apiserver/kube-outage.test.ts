import { afterAll, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import { CONFIG_MAPS, EVENTS, LEASES, NODES, type Node } from '../../../src/kube/built-in.ts';
import { type KubeClient, listAll } from '../../../src/kube/client.ts';
import { EventRecorder } from '../../../src/kube/event-recorder.ts';
import { Informer } from '../../../src/kube/informer.ts';
import { leadWhile } from '../../../src/kube/leader-election.ts';
import { createKubeMetrics } from '../../../src/kube/metrics.ts';
import { HttpKubeClient } from '../../../src/kube/http-client.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { createMetrics } from '../../../src/runtime/metrics.ts';
import { type ApiServer, startApiServer } from './kube-api-server.ts';
import { eventually } from '../kube/kube-contract.ts';

const LEASE = { namespace: 'default', name: 'controller' };
/** A third of the real times: 15, 10 and 5 s. */
const TIMES = { leaseMs: 5_000, renewDeadlineMs: 3_300, retryMs: 1_000 };

describe('on a real kube-apiserver', () => {
  let server: ApiServer | undefined;
  let client: KubeClient;
  let prepared: Promise<void> | undefined;
  const real = (): ApiServer => {
    if (server === undefined) throw new Error('not started');
    return server;
  };

  const prepare = async (context: Pick<TestContext, 'skip'>): Promise<void> => {
    server = await startApiServer(context);
    client = server.client('admin');
  };
  beforeEach(async ({ skip }) => {
    await (prepared ??= prepare({ skip }));
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });

  it('an informer and a leader survive a crash of the server', async () => {
    const registry = createMetrics({ component: 'test' });
    const metrics = createKubeMetrics(registry);
    using observed = new HttpKubeClient(
      { access: real().access('admin'), userAgent: 'keelson-test' },
      { observer: metrics.requests },
    );
    await client.create(NODES, { metadata: { name: 'before' } });
    const stop = new AbortController();
    const nodes = new Informer<Node>(
      { resource: NODES, backoff: { baseMs: 100, maxMs: 500 } },
      { client: observed, logger: silentLogger, observer: metrics.informers },
    );
    const watching = nodes.run(stop.signal);
    await nodes.synced();
    const log: string[] = [];
    const leading = leadWhile(
      { ...LEASE, ...TIMES, renewDeadlineMs: 120_000, leaseMs: 130_000, identity: 'a' },
      async (signal) => {
        log.push('start');
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
        log.push('end');
      },
      { client: observed, logger: silentLogger },
      stop.signal,
    );
    await eventually(() => log.length === 1);
    await real().kill();
    await eventually(() => (nodes.lastContactAgeMs ?? 0) > 500);
    expect([...nodes.store.keys()]).toContain('before');
    await real().start();
    await client.create(NODES, { metadata: { name: 'after' } });
    await eventually(() => nodes.store.get('after') !== undefined);
    await client.delete(NODES, { name: 'before' });
    await eventually(() => nodes.store.get('before') === undefined);
    expect(log).toEqual(['start']);
    stop.abort();
    await Promise.all([watching, leading]);
    expect(log).toEqual(['start', 'end']);
    expect((await client.get(LEASES, LEASE)).spec?.holderIdentity ?? '').toBe('');
    const text = await registry.metrics();
    expect(text).toMatch(/keelson_kube_requests_total\{verb="list",resource="nodes",status="200".*\} [1-9]/);
    expect(text).toMatch(/keelson_kube_watch_ends_total\{resource="nodes",why="(failed|ended)".*\} [1-9]/);
  });

  it('two candidates never lead at the same time, even if the server is down for longer than the lease', async () => {
    const stop = new AbortController();
    let leaders = 0;
    let most = 0;
    const terms: string[] = [];
    const errors: unknown[] = [];
    const candidate = async (identity: string): Promise<void> => {
      using own = real().client('admin');
      // Like a process that is restarted each time.
      for (let life = 0; !stop.signal.aborted; life += 1) {
        await leadWhile(
          { ...LEASE, ...TIMES, name: 'contended', identity: `${identity}-${life}` },
          async (signal) => {
            terms.push(identity);
            leaders += 1;
            most = Math.max(most, leaders);
            await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
            leaders -= 1;
          },
          { client: own, logger: silentLogger },
          stop.signal,
        ).catch((error: unknown) => errors.push(error));
      }
    };
    const both = [candidate('a'), candidate('b')];
    await eventually(() => leaders === 1);
    await real().kill();
    await eventually(() => leaders === 0);
    await real().start();
    await eventually(() => leaders === 1);
    stop.abort();
    await Promise.all(both);
    expect([most, leaders]).toEqual([1, 0]);
    // One before and one after; a server that is too slow for these short times ends a term too.
    expect(terms.length).toBeGreaterThanOrEqual(2);
    expect(errors.length).toBe(terms.length - 1);
    for (const error of errors) expect(error).toMatchObject({ kind: 'unavailable' });
  });

  it('repeated events are one object with a count, in the namespace of their object', async () => {
    const map = await client.create(CONFIG_MAPS, { metadata: { name: 'subject', namespace: 'default' } });
    const stop = new AbortController();
    const recorder = new EventRecorder(
      { controller: 'keelson.dev/controller', instance: 'controller-0' },
      { client, logger: silentLogger },
    );
    const note = {
      type: 'Warning',
      reason: 'ProvisioningFailed',
      action: 'Provision',
      note: 'no room',
    } as const;
    recorder.record(CONFIG_MAPS, map, note);
    recorder.record(CONFIG_MAPS, map, note);
    const running = recorder.run(stop.signal);
    const find = async () =>
      (await listAll(client, EVENTS, { namespace: 'default', fieldSelector: `reason=${note.reason}` })).map(
        ({ regarding, series, type, reportingController }) => [
          regarding?.uid,
          series?.count,
          type,
          reportingController,
        ],
      );
    await eventually(async () => (await find()).length > 0);
    stop.abort();
    await running;
    expect(await find()).toEqual([[map.metadata?.uid, 2, 'Warning', 'keelson.dev/controller']]);
  });
});
