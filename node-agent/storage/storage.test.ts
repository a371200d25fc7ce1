import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { ANY_SIZE } from '../../src/core/volumes/volume-size.ts';
import { FakeClock } from '../../test/fakes/fake-clock.ts';
import { createFakeDisk, FakePool, openFakeRecords, startStorage } from '../../test/fakes/fake-storage.ts';

const GIB = 1n << 30n;
const bytes = (size: bigint) => ({ requiredBytes: size, limitBytes: 0n });

const start = (...pools: readonly FakePool[]) => startStorage(pools, openFakeRecords(createFakeDisk()));

describe('creating a volume', () => {
  it('chooses the pool with the most available space by default', async () => {
    const storage = await start(
      new FakePool({ name: 'small', totalBytes: 10n * GIB }),
      new FakePool({ name: 'large', totalBytes: 50n * GIB }),
    );
    const volume = await storage.volumes.create({
      name: 'v',
      pool: undefined,
      range: ANY_SIZE,
      source: undefined,
    });
    expect(volume.pool).toBe('large');
    const named = await storage.volumes.create({
      name: 'w',
      pool: 'small',
      range: ANY_SIZE,
      source: undefined,
    });
    expect(named.pool).toBe('small');
  });

  it('returns the volume of a repeated request, and refuses the name for other properties', async () => {
    const storage = await start(new FakePool());
    const request = { name: 'v', pool: undefined, range: bytes(GIB), source: undefined };
    const volume = await storage.volumes.create(request);
    expect(await storage.volumes.create(request)).toEqual(volume);
    await expect(storage.volumes.create({ ...request, range: bytes(2n * GIB) })).rejects.toMatchObject({
      kind: 'conflict',
    });
    const source = { kind: 'volume', id: volume.id } as const;
    await expect(storage.volumes.create({ ...request, source })).rejects.toMatchObject({ kind: 'conflict' });
    expect(await storage.volumes.create({ ...request, name: 'V' })).not.toMatchObject({ id: volume.id });
  });

  it('returns the clone of a repeated request', async () => {
    const storage = await start(new FakePool());
    const { id } = await storage.volumes.create({
      name: 'v',
      pool: undefined,
      range: ANY_SIZE,
      source: undefined,
    });
    const request = { name: 'c', pool: undefined, range: ANY_SIZE, source: { kind: 'volume', id } as const };
    expect(await storage.volumes.create(request)).toEqual(await storage.volumes.create(request));
  });

  it('does not allow its deletion while its record is being written', async () => {
    const records = openFakeRecords(createFakeDisk());
    const written = Promise.withResolvers<undefined>();
    const slow: typeof records = {
      ...records,
      saveVolume: async (volume) => {
        await records.saveVolume(volume);
        if (volume.phase === 'ready') await written.promise;
      },
    };
    const storage = await startStorage([new FakePool()], slow);
    const creating = storage.volumes.create({
      name: 'v',
      pool: undefined,
      range: ANY_SIZE,
      source: undefined,
    });
    await expect.poll(() => storage.volumes.list().length).toBe(1);
    const id = storage.volumes.list()[0]?.id ?? '';
    await expect(storage.volumes.delete(id)).rejects.toMatchObject({ kind: 'busy' });
    written.resolve(undefined);
    await creating;
    await storage.volumes.delete(id);
    expect(storage.volumes.list()).toEqual([]);
  });

  it('leaves nothing behind when the pool fails halfway', async () => {
    const pool = new FakePool();
    const failing = { ...pool.backend, setLimit: async () => Promise.reject(new Error('I/O error')) };
    const storage = await startStorage(
      [
        {
          name: pool.name,
          backend: failing,
          mounts: pool.mounts,
          policy: pool.policy,
          checkHealth: () => pool.checkHealth(),
        },
      ],
      openFakeRecords(createFakeDisk()),
    );
    await expect(
      storage.volumes.create({ name: 'v', pool: undefined, range: ANY_SIZE, source: undefined }),
    ).rejects.toThrow('I/O error');
    expect(pool.volumes.size).toBe(0);
    expect((await storage.health.report()).orphans).toEqual([]);
  });
});

describe('the available space of a pool', () => {
  it('must hold a snapshot and a complete rewrite, under simple quotas', async () => {
    const pool = new FakePool({ totalBytes: 10n * GIB });
    const storage = await start(pool);
    const { id } = await storage.volumes.create({
      name: 'v',
      pool: undefined,
      range: bytes(6n * GIB),
      source: undefined,
    });
    pool.charged.set(id, 5n * GIB);
    await expect(storage.snapshots.create('s', id)).rejects.toMatchObject({ kind: 'exhausted' });
    expect(storage.snapshots.list()).toEqual([]);
    pool.charged.set(id, 3n * GIB);
    await storage.snapshots.create('s', id);
    expect(pool.volumes.get(id)?.limitBytes).toBe(9n * GIB);
  });

  it('is not needed twice by two snapshots of the same data', async () => {
    const pool = new FakePool({ totalBytes: 10n * GIB });
    const storage = await start(pool);
    const { id } = await storage.volumes.create({
      name: 'v',
      pool: undefined,
      range: bytes(6n * GIB),
      source: undefined,
    });
    pool.charged.set(id, 3n * GIB);
    await storage.snapshots.create('s1', id);
    await storage.snapshots.create('s2', id);
    expect(pool.volumes.get(id)?.limitBytes).toBe(9n * GIB);
  });

  it('stays used by the pin of a restored volume when its snapshot is deleted', async () => {
    const pool = new FakePool();
    const storage = await start(pool);
    const { id } = await storage.volumes.create({
      name: 'v',
      pool: undefined,
      range: bytes(6n * GIB),
      source: undefined,
    });
    pool.charged.set(id, 3n * GIB);
    const snapshot = await storage.snapshots.create('s', id);
    const source = { kind: 'snapshot', id: snapshot.id } as const;
    const restored = await storage.volumes.create({ name: 'r', pool: undefined, range: ANY_SIZE, source });
    await storage.snapshots.delete(snapshot.id);
    expect(pool.volumes.get(id)?.limitBytes).toBe(9n * GIB);
    await storage.volumes.delete(restored.id);
    expect(pool.volumes.get(id)?.limitBytes).toBe(6n * GIB);
  });
});

it('counts operations by outcome, and reads the pools at each scrape', async () => {
  const registry = new Registry();
  const storage = await startStorage([new FakePool()], openFakeRecords(createFakeDisk()), {
    metrics: registry,
  });
  await storage.volumes.create({ name: 'v', pool: undefined, range: bytes(GIB), source: undefined });
  await storage.volumes
    .create({ name: '', pool: undefined, range: ANY_SIZE, source: undefined })
    .catch(() => undefined);
  const text = await registry.metrics();
  expect(text).toContain('keelson_storage_operations_total{operation="create_volume",outcome="ok"} 1');
  expect(text).toContain('keelson_storage_operations_total{operation="create_volume",outcome="invalid"} 1');
  expect(text).toContain(`keelson_pool_bytes{pool="default",state="allocated"} ${GIB}`);
  expect(text).toContain('keelson_pool_objects{pool="default",kind="volume"} 1');
});

it('frees deleted data in steps until the trash is empty', async () => {
  const clock = new FakeClock();
  const pool = new FakePool();
  const storage = await startStorage([pool], openFakeRecords(createFakeDisk()), {
    clock,
  });
  for (const name of ['a', 'b', 'c']) {
    const { id } = await storage.volumes.create({
      name,
      pool: undefined,
      range: ANY_SIZE,
      source: undefined,
    });
    await storage.volumes.delete(id);
  }
  pool.removedPerRun = 1;
  const ended = new AbortController();
  const running = storage.run(ended.signal);
  await clock.advance(100);
  expect(pool.trash).toHaveLength(2);
  await clock.advance(1_000);
  expect(pool.trash).toHaveLength(1);
  await clock.advance(1_000);
  expect(pool.trash).toEqual([]);
  ended.abort();
  await running;
});
