import { describe, expect, it } from 'vitest';
import { FakeApiClient } from '../../test/fakes/fake-api-client.ts';
import { FakeClock, settle } from '../../test/fakes/fake-clock.ts';
import { Fault } from '../core/fault.ts';
import { silentLogger } from '../runtime/logger.ts';
import { type ConfigMap, CONFIG_MAPS } from './built-in.ts';
import { type Change, Informer, type InformerOptions, type WatchEnd } from './informer.ts';

class Bench implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly client = new FakeApiClient();
  readonly changes: Change<ConfigMap>[] = [];
  readonly ends: WatchEnd[] = [];
  readonly informer: Informer<ConfigMap>;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(options: Partial<InformerOptions<ConfigMap>> = {}) {
    this.informer = new Informer<ConfigMap>(
      { resource: CONFIG_MAPS, ...options },
      {
        client: this.client,
        logger: silentLogger,
        clock: this.clock,
        random: () => 0,
        observer: { watchEnded: (_resource, why) => this.ends.push(why), listed: () => undefined },
      },
    );
    this.informer.subscribe((change) => this.changes.push(change));
  }

  create(name: string, data: Record<string, string> = {}): ConfigMap {
    return this.client.store.create(CONFIG_MAPS, {
      metadata: { name, namespace: 'a' },
      data,
    } as ConfigMap);
  }

  update(object: ConfigMap, data: Record<string, string>): ConfigMap {
    const changed: ConfigMap = { ...object, data };
    return this.client.store.update(CONFIG_MAPS, changed);
  }

  delete(name: string): void {
    this.client.store.delete(CONFIG_MAPS, { namespace: 'a', name });
  }

  async start(): Promise<void> {
    this.#running = this.informer.run(this.#stop.signal);
    this.#running.catch(() => undefined);
    await settle();
  }

  keys(): string[] {
    return [...this.informer.store.keys()].sort();
  }

  lists(): number {
    return this.client.calls.filter((call) => call === 'list configmaps').length;
  }

  failNext(verb: string, error: Error): void {
    this.client.failures.push({ verb, error });
  }

  get running(): Promise<void> {
    return this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running.catch(() => undefined);
    expect(this.clock.pending).toBe(0);
  }
}

const UNREACHABLE = new Fault('unavailable', 'cannot reach the API server');
const EXPIRED = new Fault('precondition', 'too old', { fields: { status: 410 } });

describe('an informer', () => {
  it('is synced once all pages of the first list are in its store', async () => {
    await using bench = new Bench({ pageSize: 2 });
    for (const name of ['x', 'y', 'z']) bench.create(name);
    bench.failNext('list', UNREACHABLE);
    let synced = false;
    void bench.informer.synced().then(() => (synced = true));
    await bench.start();
    expect([synced, bench.informer.hasSynced, bench.keys()]).toEqual([false, false, []]);
    await bench.clock.advance(500);
    expect([synced, bench.informer.hasSynced]).toEqual([true, true]);
    expect(bench.keys()).toEqual(['a/x', 'a/y', 'a/z']);
    expect(bench.changes.map(({ key }) => key)).toEqual(['a/x', 'a/y', 'a/z']);
  });

  it('calls handlers for added, changed and deleted objects, with the previous object', async () => {
    await using bench = new Bench();
    await bench.start();
    const created = bench.create('x', { v: '1' });
    await settle();
    bench.update(created, { v: '2' });
    await settle();
    bench.delete('x');
    await settle();
    const values = bench.changes.map(({ previous, current }) => [
      previous?.data?.['v'],
      current?.data?.['v'],
    ]);
    expect(values).toEqual([
      [undefined, '1'],
      ['1', '2'],
      ['2', undefined],
    ]);
    expect(bench.keys()).toEqual([]);
  });

  it('resumes a broken watch without a new list and without missing changes', async () => {
    await using bench = new Bench();
    await bench.start();
    bench.client.endWatches(UNREACHABLE);
    await settle();
    bench.create('while-away');
    expect(bench.keys()).toEqual([]);
    await bench.clock.advance(500);
    expect([bench.keys(), bench.lists()]).toEqual([['a/while-away'], 1]);
    expect(bench.ends).toEqual(['failed']);
  });

  it('watches again at once after the server ended a healthy watch', async () => {
    await using bench = new Bench();
    await bench.start();
    await bench.clock.advance(300_000);
    bench.client.endWatches();
    await settle();
    expect([bench.client.watches, bench.lists(), bench.ends]).toEqual([1, 1, ['ended']]);
  });

  it('does not spin when a server ends every watch at once', async () => {
    await using bench = new Bench();
    await bench.start();
    for (let round = 0; round < 3; round += 1) {
      bench.client.endWatches();
      await settle();
      expect(bench.client.watches).toBe(0);
      await bench.clock.advance(500 * 2 ** round);
      expect(bench.client.watches).toBe(1);
    }
  });

  it('lists again after 410, and removes objects deleted since', async () => {
    await using bench = new Bench();
    bench.create('stays');
    bench.create('goes');
    await bench.start();
    bench.client.endWatches(EXPIRED);
    await settle();
    bench.delete('goes');
    bench.client.store.compact();
    await bench.clock.advance(500);
    expect([bench.keys(), bench.lists(), bench.ends]).toEqual([['a/stays'], 2, ['expired']]);
    const last = bench.changes.at(-1);
    expect([last?.key, last?.current]).toEqual(['a/goes', undefined]);
    // Handlers are not called for unchanged objects.
    expect(bench.changes.filter(({ key }) => key === 'a/stays')).toHaveLength(1);
  });

  it('detects an object that was deleted and re-created during an outage', async () => {
    await using bench = new Bench();
    const before = bench.create('x');
    await bench.start();
    bench.client.endWatches(EXPIRED);
    await settle();
    bench.delete('x');
    const after = bench.create('x');
    bench.client.store.compact();
    await bench.clock.advance(500);
    const last = bench.changes.at(-1);
    expect([last?.previous?.metadata?.uid, last?.current?.metadata?.uid]).toEqual([
      before.metadata?.uid,
      after.metadata?.uid,
    ]);
  });

  it('keeps its objects during an outage, backs off, and reports the time since the last response', async () => {
    await using bench = new Bench();
    bench.create('x');
    await bench.start();
    for (let attempt = 0; attempt < 40; attempt += 1) bench.failNext('watch', UNREACHABLE);
    bench.client.endWatches(UNREACHABLE);
    const before = bench.client.calls.length;
    await bench.clock.advance(600_000);
    expect(bench.keys()).toEqual(['a/x']);
    expect(bench.client.calls.length - before).toBeLessThan(30);
    expect(bench.informer.lastContactAgeMs).toBe(600_000);
    bench.client.failures.length = 0;
    bench.create('y');
    await bench.clock.advance(30_000);
    expect([bench.keys(), bench.lists()]).toEqual([['a/x', 'a/y'], 1]);
    expect(bench.informer.lastContactAgeMs).toBeLessThan(30_000);
  });

  it('honours Retry-After', async () => {
    await using bench = new Bench();
    bench.failNext(
      'list',
      new Fault('unavailable', 'busy', { fields: { status: 429, retryAfterMs: 20_000 } }),
    );
    await bench.start();
    await bench.clock.advance(19_000);
    expect(bench.lists()).toBe(1);
    await bench.clock.advance(1_000);
    expect(bench.informer.hasSynced).toBe(true);
  });

  it('resets its back-off after a healthy watch', async () => {
    await using bench = new Bench();
    await bench.start();
    for (let hour = 0; hour < 24; hour += 1) {
      await bench.clock.advance(3_000_000);
      bench.client.endWatches(UNREACHABLE);
      await settle();
      await bench.clock.advance(500);
      expect(bench.client.watches).toBe(1);
    }
  });

  it('lists again after several watches that break without an event', async () => {
    await using bench = new Bench();
    await bench.start();
    for (let round = 0; round < 5; round += 1) {
      bench.client.endWatches(new Fault('unavailable', 'invalid JSON in watch event'));
      await settle();
      await bench.clock.advance(30_000);
    }
    expect([bench.lists(), bench.client.watches]).toEqual([2, 1]);
  });

  it('calls handlers for every object at a resync', async () => {
    await using bench = new Bench({ resyncMs: 60_000 });
    bench.create('x');
    await bench.start();
    bench.changes.length = 0;
    await bench.clock.advance(54_000);
    expect(bench.changes).toMatchObject([{ key: 'a/x', current: { data: {} } }]);
    await bench.clock.advance(54_000);
    expect(bench.changes).toHaveLength(2);
  });

  it('stores an own write before its event, and ignores older events', async () => {
    await using bench = new Bench();
    const first = bench.create('x', { v: '1' });
    await bench.start();
    bench.client.endWatches(UNREACHABLE);
    await settle();
    const second = bench.update(first, { v: '2' });
    const third = bench.update(second, { v: '3' });
    bench.informer.remember(third);
    expect(bench.informer.store.get('a/x')?.data).toEqual({ v: '3' });
    await bench.clock.advance(500);
    expect(bench.informer.store.get('a/x')?.data).toEqual({ v: '3' });
    expect(bench.changes.map(({ current }) => current?.data?.['v'])).toEqual(['1', '3']);
    bench.informer.remember(first);
    expect(bench.informer.store.get('a/x')?.data).toEqual({ v: '3' });
  });

  it('ignores a late response about an object that a watch event deleted', async () => {
    await using bench = new Bench();
    const created = bench.create('x');
    await bench.start();
    const answer = bench.update(created, { v: '2' });
    bench.client.store.delete(CONFIG_MAPS, { namespace: 'a', name: 'x' });
    await settle();
    expect(bench.keys()).toEqual([]);
    bench.informer.remember(answer);
    expect(bench.keys()).toEqual([]);
  });

  it('keeps an own write when a list is older, and drops it when a list is newer', async () => {
    await using bench = new Bench();
    await bench.start();
    const relist = async (): Promise<void> => {
      bench.client.endWatches(EXPIRED);
      await settle();
      await bench.clock.advance(1_000);
    };
    const resourceVersion = String(Number(bench.client.store.version) + 1);
    bench.informer.remember({ metadata: { name: 'x', namespace: 'a', resourceVersion } });
    await relist();
    expect(bench.keys()).toEqual(['a/x']);
    bench.client.store.compact();
    await relist();
    expect([bench.keys(), bench.lists()]).toEqual([[], 3]);
  });

  it('drops managedFields, or what its transform drops', async () => {
    const secret = { metadata: { name: 'x', namespace: 'a', managedFields: [{}] }, data: { big: 'x' } };
    await using lean = new Bench();
    lean.client.store.create(CONFIG_MAPS, secret);
    await lean.start();
    expect(lean.informer.store.get('a/x')?.metadata).not.toHaveProperty('managedFields');
    await using bare = new Bench({ transform: ({ metadata }) => ({ metadata: metadata ?? {} }) });
    bare.client.store.create(CONFIG_MAPS, secret);
    await bare.start();
    expect(bare.informer.store.get('a/x')).not.toHaveProperty('data');
  });

  it('rejects when a handler throws', async () => {
    const bench = new Bench();
    bench.informer.subscribe(() => {
      throw new TypeError('handler');
    });
    bench.create('x');
    await bench.start();
    await expect(bench.running).rejects.toThrow('handler');
    expect(bench.clock.pending).toBe(0);
  });

  it('does not call handlers for changes of dropped fields, and stores the version', async () => {
    await using bench = new Bench({
      transform: ({ metadata }) => {
        const { name = '', namespace = '', resourceVersion = '', labels = {} } = metadata ?? {};
        return { metadata: { name, namespace, resourceVersion, labels } };
      },
    });
    const created = bench.create('one', { beat: '1' });
    await bench.start();
    expect(bench.changes).toHaveLength(1);
    const beaten = bench.update(created, { beat: '2' });
    await settle();
    expect(bench.changes).toHaveLength(1);
    expect(bench.informer.store.get('a/one')?.metadata?.resourceVersion).toBe(
      beaten.metadata?.resourceVersion,
    );
    bench.update({ ...beaten, metadata: { ...beaten.metadata, labels: { a: 'b' } } }, { beat: '3' });
    await settle();
    expect(bench.changes).toHaveLength(2);
    bench.delete('one');
    await settle();
    expect(bench.changes).toHaveLength(3);
  });
});
