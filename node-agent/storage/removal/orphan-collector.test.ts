import { expect, test } from 'vitest';
import { VOLUME_SNAPSHOT_CONTENTS } from '../../../src/api/snapshot-kinds.ts';
import { LOCAL_VOLUMES } from '../../../src/api/local-volume.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { OrphanAges } from '../../../src/core/volumes/orphans.ts';
import { ANY_SIZE } from '../../../src/core/volumes/volume-size.ts';
import { PERSISTENT_VOLUMES } from '../../../src/kube/built-in.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { FakeApiClient } from '../../../test/fakes/fake-api-client.ts';
import { FakeClock } from '../../../test/fakes/fake-clock.ts';
import { startMemoryStorage } from '../../../test/fakes/volume-store.ts';
import { readVolumeReferences } from '../../kube/volume-references.ts';
import { OrphanCollector } from './orphan-collector.ts';

const HOUR_MS = 3_600_000;

/** A node in a cluster; what it knows of the API by itself is what `read` said last. */
async function setup() {
  const client = new FakeApiClient();
  const clock = new FakeClock();
  const { pool, storage } = await startMemoryStorage({ totalBytes: 100n << 30n });
  const stored: { ages: OrphanAges } = { ages: {} };
  const ages = {
    read: async () => stored.ages,
    write: async (next: OrphanAges) => void (stored.ages = next),
  };
  const node: { known: Awaited<ReturnType<typeof readVolumeReferences>> | undefined } = { known: undefined };
  const read = async () => {
    node.known = await readVolumeReferences('n1', { client, signal: new AbortController().signal });
  };
  const references = {
    known: () => node.known,
    confirm: (signal: AbortSignal) => readVolumeReferences('n1', { client, signal }),
  };
  const start = ({ inCluster = true } = {}) => {
    const end = new AbortController();
    const deps = {
      storage,
      references: inCluster ? references : undefined,
      ages,
      logger: silentLogger,
      clock,
    };
    const running = new OrphanCollector({ graceMs: HOUR_MS }, deps).run(end.signal);
    return async () => {
      end.abort(new DOMException('stop', 'AbortError'));
      await running;
    };
  };
  const make = (name: string) =>
    storage.volumes.create({ name, pool: undefined, range: ANY_SIZE, source: undefined });
  const names = () => storage.volumes.list().map(({ name }) => name);
  return { client, clock, pool, storage, stored, node, read, start, make, names };
}

const localVolume = (name: string) => ({
  metadata: { name },
  spec: {
    nodeName: 'n1',
    poolName: 'default',
    type: 'Volume',
    size: '1Gi',
    volumeMode: 'Filesystem',
  } as const,
});

test('only what is unreferenced during the whole grace period is removed', async () => {
  const { client, clock, storage, start, read, make, names } = await setup();
  await client.create(LOCAL_VOLUMES, localVolume('asked'));
  await make('asked');
  await make('leaked');
  const used = await make('in use');
  await storage.staging.stage(used.id, '/staging');
  const byHand = await make('by hand');
  await client.create(PERSISTENT_VOLUMES, {
    metadata: { name: 'by-hand' },
    spec: { csi: { driver: 'keelson.dev', volumeHandle: byHand.id } },
  });
  const elsewhere = await make('of another driver');
  await client.create(PERSISTENT_VOLUMES, {
    metadata: { name: 'elsewhere' },
    spec: { csi: { driver: 'example.com', volumeHandle: elsewhere.id } },
  });
  await read();
  const stop = start();
  await clock.advance(HOUR_MS - 1);
  expect(names()).toHaveLength(5);
  await clock.advance(HOUR_MS / 5);
  expect(names().sort()).toEqual(['asked', 'by hand', 'in use']);
  await storage.staging.unstage(used.id, '/staging');
  await clock.advance(HOUR_MS);
  expect(names()).toContain('in use');
  await clock.advance(HOUR_MS / 5);
  expect(names().sort()).toEqual(['asked', 'by hand']);
  await stop();
});

test('snapshots are removed unless a VolumeSnapshotContent references them; groups as a whole', async () => {
  const { client, clock, storage, start, read, make } = await setup();
  await client.create(LOCAL_VOLUMES, localVolume('asked'));
  const { id } = await make('asked');
  const alone = await storage.snapshots.create('alone', id);
  const kept = await storage.snapshots.create('kept', id);
  const group = await storage.groups.create('group', [id]);
  await client.create(VOLUME_SNAPSHOT_CONTENTS, {
    metadata: { name: 'by-hand' },
    spec: {
      ...{ driver: 'keelson.dev', deletionPolicy: 'Retain', source: { snapshotHandle: kept.id } },
      volumeSnapshotRef: {},
    },
  });
  await read();
  const stop = start();
  await clock.advance(HOUR_MS - 1);
  expect(storage.snapshots.list().map((each) => each.id)).toContain(alone.id);
  expect(storage.groups.list()).toMatchObject([{ id: group.id }]);
  await clock.advance(HOUR_MS / 5);
  expect(storage.snapshots.list().map((each) => each.id)).toEqual([kept.id]);
  await stop();
});

test('nothing is removed while the API server does not respond, or before references are synced', async () => {
  const { client, clock, start, read, make, names } = await setup();
  await make('leaked');
  const stop = start();
  await clock.advance(10 * HOUR_MS);
  expect(names()).toEqual(['leaked']);
  await read();
  const away = Array.from({ length: 200 }, () => ({
    verb: 'list',
    error: new Fault('unavailable', 'the API server is away'),
  }));
  client.failures.push(...away);
  await clock.advance(3 * HOUR_MS);
  expect(names()).toEqual(['leaked']);
  client.failures.length = 0;
  await clock.advance(HOUR_MS);
  expect(names()).toEqual([]);
  await stop();
});

test("an orphan that is referenced at the last moment stays, whatever the informer's cache says", async () => {
  const { client, clock, start, read, make, names } = await setup();
  await make('late');
  await read();
  const stop = start();
  await clock.advance(HOUR_MS - 1);
  await client.create(LOCAL_VOLUMES, localVolume('late'));
  await clock.advance(2 * HOUR_MS);
  expect(names()).toEqual(['late']);
  await stop();
});

test('ages survive a restart of the agent, and the time without an agent does not count', async () => {
  const { clock, start, read, make, names, stored } = await setup();
  const { id } = await make('leaked');
  await read();
  await (async () => {
    const stop = start();
    await clock.advance(HOUR_MS / 2);
    await stop();
  })();
  expect(stored.ages[id]).toBeGreaterThan(HOUR_MS / 3);
  await clock.advance(100 * HOUR_MS);
  const stop = start();
  await clock.advance(HOUR_MS / 3);
  expect(names()).toEqual(['leaked']);
  await clock.advance(HOUR_MS / 2);
  expect(names()).toEqual([]);
  await clock.advance(HOUR_MS / 2);
  expect(stored.ages).toEqual({});
  await stop();
});

test('without a cluster only unrecorded data is an orphan', async () => {
  const { clock, pool, start, make, names } = await setup();
  await make('kept');
  const lost = `vol-${'0'.repeat(24)}`;
  pool.write(lost, ['lost']);
  const stop = start({ inCluster: false });
  await clock.advance(HOUR_MS - 1);
  expect(pool.volumes.has(lost)).toBe(true);
  await clock.advance(HOUR_MS / 5);
  expect(pool.volumes.has(lost)).toBe(false);
  expect(names()).toEqual(['kept']);
  await stop();
});
