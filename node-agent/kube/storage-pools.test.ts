import { expect, test } from 'vitest';
import { STORAGE_POOLS, type StoragePool } from '../../src/api/storage-pool.ts';
import type { PoolSpec } from '../../src/core/pools/pool.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { FakeApiClient } from '../../test/fakes/fake-api-client.ts';
import { FakeClock } from '../../test/fakes/fake-clock.ts';
import { poolSpecOf, StoragePools, wantedPools } from './storage-pools.ts';

const pool = (name: string, over: object = {}, metadata: object = {}): StoragePool => ({
  metadata: { name, ...metadata },
  spec: {
    backend: 'btrfs',
    source: { path: '/mnt/pool' },
    quota: 'auto',
    reserve: '0',
    overcommitPercent: 100,
    enforce: true,
    ...over,
  },
});

test('a node has the pools that select its labels and are not being deleted, by name', () => {
  const pools = [
    pool('z'),
    pool('a', { nodeSelector: { matchLabels: { disk: 'nvme' } } }),
    pool('other', { nodeSelector: { matchLabels: { disk: 'hdd' } } }),
    pool('without', { nodeSelector: { matchExpressions: [{ key: 'disk', operator: 'DoesNotExist' }] } }),
    pool('going', {}, { deletionTimestamp: '2026-01-01T00:00:00Z' }),
  ];
  expect(wantedPools(pools, { disk: 'nvme' }).map(({ name }) => name)).toEqual(['a', 'z']);
});

test.each([
  [{ source: { path: '/mnt/x' } }, { source: { kind: 'path', path: '/mnt/x' } }],
  [
    { source: { file: '/x.img', fileSize: '10Gi' } },
    { source: { kind: 'file', file: '/x.img', sizeBytes: 10n << 30n } },
  ],
  [{ source: { devices: ['/dev/sd*'] } }, { source: { kind: 'devices', devices: ['/dev/sd*'] } }],
  [{ reserve: '5%' }, { reserve: { kind: 'percent', percent: 5 } }],
  [{ reserve: '10Gi' }, { reserve: { kind: 'bytes', bytes: 10n << 30n } }],
  [
    { backend: 'image', overcommitPercent: 150 },
    { backend: 'image', overcommitPercent: 150 },
  ],
])('a StoragePool with %j is understood', (over, expected) => {
  expect(poolSpecOf(pool('p', over))).toMatchObject({ name: 'p', ...expected });
});

test('the labels of a StoragePool are those of its pool', () => {
  expect(poolSpecOf(pool('p', {}, { labels: { media: 'ssd' } })).labels).toEqual({ media: 'ssd' });
  expect(poolSpecOf(pool('p')).labels).toEqual({});
});

test('requests follow the StoragePools and the labels of the node, and none is made before both are known', async () => {
  const client = new FakeApiClient();
  await client.create(STORAGE_POOLS, pool('fast', { nodeSelector: { matchLabels: { disk: 'nvme' } } }));
  const requests: (readonly PoolSpec[])[] = [];
  let labels: Record<string, string> | undefined;
  const clock = new FakeClock();
  const pools = new StoragePools({
    client,
    storage: { pools: { request: async (specs) => void requests.push(specs) } },
    nodeLabels: () => labels,
    logger: silentLogger,
    clock,
  });
  const end = new AbortController();
  const running = pools.run(end.signal);
  await clock.advance(500);
  expect(requests).toEqual([]);
  const last = async (): Promise<readonly string[] | undefined> => {
    pools.poke();
    await clock.advance(500);
    return requests.at(-1)?.map(({ name }) => name);
  };
  labels = {};
  expect(await last()).toEqual([]);
  labels = { disk: 'nvme' };
  expect(await last()).toEqual(['fast']);
  await client.delete(STORAGE_POOLS, { name: 'fast' });
  expect(await last()).toEqual([]);
  end.abort(new DOMException('end', 'AbortError'));
  await running;
});
