import { describe, expect, it } from 'vitest';
import { FakeApiClient } from '../../test/fakes/fake-api-client.ts';
import { FakeClock, settle } from '../../test/fakes/fake-clock.ts';
import { Fault } from '../core/fault.ts';
import { silentLogger } from '../runtime/logger.ts';
import { EVENTS, type KubeEvent, NODES, PERSISTENT_VOLUME_CLAIMS } from './built-in.ts';
import { type EventNote, EventRecorder } from './event-recorder.ts';

const CLAIM = { metadata: { name: 'data', namespace: 'team-a', uid: 'u1', resourceVersion: '7' } };
const NOTE: EventNote = {
  type: 'Warning',
  reason: 'ProvisioningFailed',
  action: 'Provision',
  note: 'no room',
};

class Bench implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly client = new FakeApiClient();
  readonly recorder = new EventRecorder(
    { controller: 'keelson.dev/controller', instance: 'controller-0' },
    { client: this.client, logger: silentLogger, clock: this.clock, random: () => this.#random() },
  );
  readonly #stop = new AbortController();
  readonly #running = this.recorder.run(this.#stop.signal);
  #count = 0;

  events(): readonly KubeEvent[] {
    return this.client.store.list(EVENTS, {}).items as readonly KubeEvent[];
  }

  #random(): number {
    this.#count += 1;
    return this.#count / 1_000;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

describe('an event recorder', () => {
  it('writes an event in the namespace of its object, with its reporter', async () => {
    await using bench = new Bench();
    bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, NOTE);
    await settle();
    expect(bench.events()).toMatchObject([
      {
        metadata: { namespace: 'team-a' },
        eventTime: '1970-01-01T00:00:00.000000Z',
        reportingController: 'keelson.dev/controller',
        reportingInstance: 'controller-0',
        type: 'Warning',
        reason: 'ProvisioningFailed',
        note: 'no room',
        regarding: {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          namespace: 'team-a',
          name: 'data',
          uid: 'u1',
        },
      },
    ]);
  });

  it('writes events about cluster-scoped objects in namespace default', async () => {
    await using bench = new Bench();
    bench.recorder.record(NODES, { metadata: { name: 'node-a' } }, NOTE);
    await settle();
    expect(bench.events()).toMatchObject([{ metadata: { namespace: 'default' } }]);
  });

  it('counts repeated events, and writes the count at intervals', async () => {
    await using bench = new Bench();
    for (let second = 0; second < 65; second += 1) {
      bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, NOTE);
      await bench.clock.advance(1_000);
    }
    expect(bench.client.calls).toEqual(['create events', 'patch events', 'patch events']);
    expect(bench.events()).toMatchObject([{ series: { count: 61 } }]);
  });

  it('continues a series when the object changed in between', async () => {
    await using bench = new Bench();
    for (const resourceVersion of ['7', '8']) {
      const metadata = { ...CLAIM.metadata, resourceVersion };
      bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, { metadata }, NOTE);
    }
    await bench.clock.advance(60_000);
    expect(bench.events()).toMatchObject([{ series: { count: 2 } }]);
  });

  it('counts events recorded during a write', async () => {
    await using bench = new Bench();
    const create = bench.client.create.bind(bench.client);
    bench.client.create = async (resource, object, options) => {
      bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, NOTE);
      bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, NOTE);
      return await create(resource, object, options);
    };
    bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, NOTE);
    await bench.clock.advance(30_000);
    expect(bench.events()).toMatchObject([{ series: { count: 3 } }]);
  });

  it('starts a new series after a pause, and for another note', async () => {
    await using bench = new Bench();
    bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, NOTE);
    bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, { ...NOTE, note: 'still no room' });
    await bench.clock.advance(361_000);
    bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, NOTE);
    await settle();
    expect(
      bench
        .events()
        .map(({ note }) => note)
        .sort(),
    ).toEqual(['no room', 'no room', 'still no room']);
  });

  it('limits the events of one object', async () => {
    await using bench = new Bench();
    for (let n = 0; n < 100; n += 1) {
      bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, { ...NOTE, note: `attempt ${n}` });
    }
    await bench.clock.advance(1_000);
    expect(bench.events()).toHaveLength(25);
    await bench.clock.advance(300_000);
    bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, { ...NOTE, note: 'later' });
    await settle();
    expect(bench.events()).toHaveLength(26);
  });

  it('retries when the server is unavailable, and drops rejected events', async () => {
    await using bench = new Bench();
    bench.client.failures.push({ verb: 'create', error: new Fault('unavailable', 'away') });
    bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, NOTE);
    await bench.clock.advance(60_000);
    expect(bench.events()).toHaveLength(1);
    bench.client.failures.push({ verb: 'create', error: new Fault('precondition', 'the namespace ends') });
    bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, { ...NOTE, note: 'other' });
    await bench.clock.advance(3_600_000);
    expect(bench.events()).toHaveLength(1);
    expect(bench.client.calls.filter((call) => call === 'create events')).toHaveLength(3);
  });

  it('re-creates an event that the server has expired', async () => {
    await using bench = new Bench();
    bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, NOTE);
    await settle();
    const [event] = bench.events();
    bench.client.store.delete(EVENTS, { namespace: 'team-a', name: event?.metadata?.name ?? '' });
    bench.recorder.record(PERSISTENT_VOLUME_CLAIMS, CLAIM, NOTE);
    await bench.clock.advance(30_000);
    expect(bench.events()).toHaveLength(1);
  });
});
