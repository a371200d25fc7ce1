import { expect, test } from 'vitest';
import { type PoolSelector, parsePoolSelector } from '../../../src/core/volumes/pool-selector.ts';
import { ANY_SIZE } from '../../../src/core/volumes/volume-size.ts';
import {
  createFakeDisk,
  FakePool,
  openFakeRecords,
  startStorage,
  fixedPools,
} from '../../../test/fakes/fake-storage.ts';
import type { PoolSet } from '../contract/pool.ts';
import type { StorageServices } from '../services.ts';

const GIB = 1n << 30n;
const selector = (text: string): PoolSelector => parsePoolSelector(text, 'poolSelector');
const requestOf = (name: string, over: object = {}) => ({
  name,
  pool: undefined,
  range: ANY_SIZE,
  source: undefined,
  ...over,
});

/** A service on pools whose labels are what `labels` says at each moment. */
function start(
  pools: readonly FakePool[],
  labels: Readonly<Record<string, Readonly<Record<string, string>>>>,
): Promise<StorageServices> {
  const fixed = fixedPools(pools);
  const labelled: PoolSet = {
    get: (name) => fixed.get(name),
    states: () => fixed.states().map((state) => ({ ...state, labels: labels[state.name] ?? {} })),
  };
  return startStorage(labelled, openFakeRecords(createFakeDisk()));
}

const POOLS = [
  new FakePool({ name: 'small', totalBytes: 10n * GIB }),
  new FakePool({ name: 'middle', totalBytes: 20n * GIB }),
  new FakePool({ name: 'large', totalBytes: 90n * GIB }),
];
const LABELS = {
  small: { media: 'ssd', tier: 'gold' },
  middle: { media: 'ssd', tier: 'silver' },
  large: { media: 'hdd' },
};

test.each([
  ['media=ssd', 'middle'],
  ['media=ssd,tier=gold', 'small'],
  ['tier in (gold,silver)', 'middle'],
  ['!tier', 'large'],
  ['', 'large'],
])(
  'of the pools that poolSelector %j selects, the one with the most room has the volume',
  async (text, pool) => {
    const storage = await start(POOLS, LABELS);
    const choice = { pool: undefined, poolSelector: selector(text) };
    const room = (await storage.health.report()).pools.find(({ name }) => name === pool)?.capacity
      ?.availableBytes;
    expect(await storage.pools.availableBytes(choice)).toBe(room);
    expect(await storage.volumes.create(requestOf(`v ${text}`, choice))).toMatchObject({ pool });
  },
);

test('without a selected pool there is no space, and the error names the request', async () => {
  const storage = await start(POOLS, LABELS);
  const choice = { pool: undefined, poolSelector: selector('media=nvme') };
  expect(await storage.pools.availableBytes(choice)).toBe(0n);
  await expect(storage.volumes.create(requestOf('v', choice))).rejects.toMatchObject({
    kind: 'exhausted',
    message: 'this node has no storage pool for poolSelector media=nvme',
  });
});

test('a named pool, and that of a source, must be selected', async () => {
  const storage = await start(POOLS, LABELS);
  const poolSelector = selector('media=ssd');
  const refusal = {
    kind: 'invalid',
    message: 'pool large has label media=hdd, but must match poolSelector media=ssd',
  };
  await expect(storage.volumes.create(requestOf('v', { pool: 'large', poolSelector }))).rejects.toMatchObject(
    refusal,
  );
  expect(await storage.pools.availableBytes({ pool: 'large', poolSelector })).toBe(0n);
  const { id } = await storage.volumes.create(requestOf('source', { pool: 'large' }));
  const source = { kind: 'volume', id };
  await expect(storage.volumes.create(requestOf('copy', { source, poolSelector }))).rejects.toMatchObject(
    refusal,
  );
  const fitting = { source, poolSelector: selector('media=hdd') };
  expect(await storage.volumes.create(requestOf('copy', fitting))).toMatchObject({ pool: 'large' });
});

test("a repeated request finds its volume although its pool's labels changed", async () => {
  const labels: Record<string, Record<string, string>> = { large: { media: 'ssd' } };
  const storage = await start(POOLS, labels);
  const request = requestOf('v', { poolSelector: selector('media=ssd') });
  const volume = await storage.volumes.create(request);
  labels['large'] = { media: 'hdd' };
  expect(await storage.volumes.create(request)).toEqual(volume);
});

test('an ephemeral volume selects its pool by labels as well', async () => {
  const storage = await start(POOLS, LABELS);
  const handle = `csi-${'0'.repeat(64)}`;
  await storage.ephemerals.publish({
    handle,
    target: '/pods/a/v',
    pool: undefined,
    poolSelector: selector('tier=gold'),
    range: ANY_SIZE,
    readonly: false,
    flags: [],
    accessMode: 'SINGLE_NODE_WRITER',
  });
  expect(storage.ephemerals.find(handle)).toMatchObject({ pool: 'small' });
});
