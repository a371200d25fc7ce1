import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isFault } from '../../../src/core/fault.ts';
import { type ConfigMap, CONFIG_MAPS, NODES } from '../../../src/kube/built-in.ts';
import { bearerIdentity, renewable } from '../../../src/kube/credentials.ts';
import type { HttpKubeClient } from '../../../src/kube/http-client.ts';
import { HttpKubeClient as Client, type RequestObserver } from '../../../src/kube/http-client.ts';
import { Informer } from '../../../src/kube/informer.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { FakeApiServer } from '../../fakes/fake-api-server.ts';
import { eventually } from './kube-contract.ts';

const ANY = (): boolean => true;
const BACKOFF = { baseMs: 10, maxMs: 50 };

describe('the client, when the API server misbehaves', () => {
  let server: FakeApiServer;
  let client: HttpKubeClient;

  beforeEach(async () => {
    server = new FakeApiServer([CONFIG_MAPS, NODES]);
    await server.start();
    client = server.client({ timeoutMs: 30_000 });
    server.store.create(NODES, { metadata: { name: 'a' } });
  });
  afterEach(async () => {
    client[Symbol.dispose]();
    await server[Symbol.asyncDispose]();
  });

  it('retries after Retry-After, also writes, and observes it', async () => {
    const answers: number[] = [];
    const throttled: number[] = [];
    const observer: RequestObserver = {
      completed: (_verb, _resource, status) => answers.push(status),
      throttled: (waitMs) => throttled.push(waitMs),
    };
    using observed = new Client({ access: server.access(), userAgent: 'keelson-test/1' }, { observer });
    server.inject({ status: 429, retryAfterSeconds: 0.01 }, ANY, 2);
    await observed.create(NODES, { metadata: { name: 'b' } });
    expect([answers, throttled]).toEqual([
      [429, 429, 201],
      [10, 10],
    ]);
    expect(server.requests.at(-1)?.userAgent).toBe('keelson-test/1');
  });

  it('rejects with unavailable after too many retries, or for a long Retry-After', async () => {
    server.inject({ status: 429, retryAfterSeconds: 0.01 }, ANY, 100);
    await expect(client.get(NODES, { name: 'a' })).rejects.toMatchObject({ kind: 'unavailable' });
    expect(server.requests).toHaveLength(5);
    await using other = new FakeApiServer([NODES]);
    await other.start();
    other.inject({ status: 503, retryAfterSeconds: 3_600 }, ANY);
    using patient = other.client();
    await expect(patient.get(NODES, { name: 'a' })).rejects.toMatchObject({
      fields: { retryAfterMs: 3_600_000 },
    });
  });

  it('does not retry a write with an unknown result', async () => {
    server.inject('cut', ANY);
    await expect(client.create(NODES, { metadata: { name: 'b' } })).rejects.toMatchObject({
      kind: 'unavailable',
    });
    server.inject({ status: 500 }, ANY);
    await expect(client.create(NODES, { metadata: { name: 'b' } })).rejects.toMatchObject({
      kind: 'unavailable',
    });
    expect(server.requests).toHaveLength(2);
  });

  it('rejects with timeout without a response, and with the reason of its signal before', async () => {
    using hasty = server.client({ timeoutMs: 1_000 });
    server.inject('hang', ANY, 2);
    await expect(hasty.get(NODES, { name: 'a' })).rejects.toMatchObject({ kind: 'timeout' });
    const reason = new Error('enough');
    const stop = new AbortController();
    const asking = client.get(NODES, { name: 'a' }, { signal: stop.signal });
    await eventually(() => server.requests.length === 2);
    stop.abort(reason);
    await expect(asking).rejects.toBe(reason);
  });

  it('rejects with unavailable while the server is down, and recovers', async () => {
    await server.stop();
    await expect(client.get(NODES, { name: 'a' })).rejects.toMatchObject({
      kind: 'unavailable',
      fields: { errno: 'ECONNREFUSED' },
    });
    await server.start();
    expect((await client.get(NODES, { name: 'a' })).metadata?.name).toBe('a');
  });

  it('rejects with unavailable for invalid JSON in a response', async () => {
    server.inject({ status: 200, body: '<html>captive portal</html>' }, ANY);
    await expect(client.get(NODES, { name: 'a' })).rejects.toMatchObject({ kind: 'unavailable' });
  });

  it('renews rejected credentials once', async () => {
    let fetches = 0;
    const credentials = renewable(async () => {
      fetches += 1;
      return { value: bearerIdentity(`token-${fetches}`), untilMs: Number.POSITIVE_INFINITY };
    });
    using renewing = new Client({ access: server.access(credentials), userAgent: 'test' });
    server.validToken = 'token-2';
    await renewing.get(NODES, { name: 'a' });
    expect(server.requests.map(({ authorization }) => authorization)).toEqual([
      'Bearer token-1',
      'Bearer token-2',
    ]);
    server.validToken = 'another';
    await expect(renewing.get(NODES, { name: 'a' })).rejects.toMatchObject({ kind: 'denied' });
    expect(server.requests).toHaveLength(4);
  });

  it('limits its request rate', async () => {
    using limited = server.client({ qps: 50, burst: 1 });
    const startedMs = performance.now();
    for (let n = 0; n < 6; n += 1) await limited.get(NODES, { name: 'a' });
    expect(performance.now() - startedMs).toBeGreaterThan(90);
  });

  it('ends an idle watch, and fails one without a response', async () => {
    using impatient = server.client({ watchIdleMs: 100 });
    const options = {
      resourceVersion: server.store.version,
      timeoutMs: 60_000,
      signal: new AbortController().signal,
    };
    const follow = async (): Promise<void> => {
      const events = impatient.watch(NODES, options)[Symbol.asyncIterator]();
      while (!(await events.next()).done);
    };
    await follow();
    server.inject('hang', ANY);
    await expect(follow()).rejects.toSatisfy((error) => isFault(error));
  });

  it('closes the connection of an abandoned watch', async () => {
    const options = {
      resourceVersion: server.store.version,
      timeoutMs: 60_000,
      signal: new AbortController().signal,
    };
    for await (const event of client.watch(NODES, options)) if (event.type === 'OPENED') break;
    await eventually(() => server.watches === 0);
  });

  describe('an informer', () => {
    let informer: Informer<ConfigMap>;
    let running: Promise<void>;
    let stop: AbortController;

    const create = (name: string): void => {
      server.store.create(CONFIG_MAPS, { metadata: { name, namespace: 'a' } });
    };
    const has = (name: string) => (): boolean => informer.store.get(`a/${name}`) !== undefined;
    const lists = (): number => server.requests.filter(({ watch }) => !watch).length;

    beforeEach(async () => {
      stop = new AbortController();
      informer = new Informer(
        { resource: CONFIG_MAPS, pageSize: 2, backoff: BACKOFF },
        { client, logger: silentLogger },
      );
      for (const name of ['x', 'y', 'z']) create(name);
      running = informer.run(stop.signal);
      await informer.synced();
      await eventually(() => server.watches === 1);
    });
    afterEach(async () => {
      stop.abort();
      await running;
    });

    const mishaps: readonly (readonly [string, () => void])[] = [
      ['the connection breaks', () => server.endWatches('break')],
      ['the server ends the watch', () => server.endWatches('end')],
      [
        'the connection breaks in the middle of an object',
        () => {
          server.writeToWatches('{"type":"ADDED","object":{"metadata":{"name":"ha');
          server.endWatches('break');
        },
      ],
      ['a line is garbage', () => server.writeToWatches('<html>\n')],
      ['an event is of no known type', () => server.writeToWatches('{"type":"SURPRISE","object":{}}\n')],
      [
        'the server reports an internal error in the stream',
        () =>
          server.writeToWatches('{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd"}}\n'),
      ],
      [
        'new watches are refused with 429 for a while',
        () => {
          server.inject({ status: 429, retryAfterSeconds: 0.02 }, ({ watch }) => watch, 7);
          server.endWatches();
        },
      ],
      [
        'new watches are refused with 500 for a while',
        () => {
          server.inject({ status: 500 }, ({ watch }) => watch, 3);
          server.endWatches();
        },
      ],
      [
        'new connections are cut for a while',
        () => {
          server.inject('cut', ({ watch }) => watch, 3);
          server.endWatches('break');
        },
      ],
    ];
    for (const [what, mishap] of mishaps) {
      it(`misses no change and does not list again when ${what}`, async () => {
        const before = lists();
        mishap();
        create('after');
        await eventually(has('after'));
        expect([informer.store.size, lists()]).toEqual([4, before]);
      });
    }

    const expirations: readonly (readonly [string, () => void])[] = [
      [
        'the version is compacted while it is away',
        () => {
          server.inject('cut', ({ watch }) => watch, 2);
          server.endWatches('break');
          server.store.delete(CONFIG_MAPS, { namespace: 'a', name: 'x' });
          server.store.compact();
        },
      ],
      [
        'the stream says that the version is too old',
        () => {
          server.store.delete(CONFIG_MAPS, { namespace: 'a', name: 'x' });
          server.writeToWatches(
            '{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n',
          );
        },
      ],
    ];
    for (const [what, expire] of expirations) {
      it(`lists again and removes deleted objects when ${what}`, async () => {
        const before = lists();
        expire();
        create('after');
        await eventually(has('after'));
        await eventually(() => !has('x')());
        expect(lists()).toBeGreaterThan(before);
        expect(informer.store.size).toBe(3);
      });
    }

    it('restarts a list whose pages expire', async () => {
      server.inject({ status: 410, reason: 'Expired' }, ({ url }) => url.includes('continue='));
      server.writeToWatches('{"type":"ERROR","object":{"kind":"Status","code":410}}\n');
      create('after');
      await eventually(has('after'));
      expect(informer.store.size).toBe(4);
    });

    it('resumes from a bookmark after older versions were compacted', async () => {
      const before = lists();
      server.store.create(NODES, { metadata: { name: 'other' } });
      server.store.compact();
      server.bookmark();
      server.endWatches();
      create('after');
      await eventually(has('after'));
      expect(lists()).toBe(before);
    });

    it('catches up after an outage in which all objects changed', async () => {
      await server.stop();
      expect(informer.store.size).toBe(3);
      server.store.delete(CONFIG_MAPS, { namespace: 'a', name: 'y' });
      create('after');
      server.store.compact();
      await server.start();
      await eventually(has('after'));
      await eventually(() => !has('y')());
    });
  });
});
