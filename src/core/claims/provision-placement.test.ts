import { expect, test } from 'vitest';
import { parsePoolSelector } from '../volumes/pool-selector.ts';
import type { NodeView } from './provision.ts';
import {
  choosePool,
  describeFreeSpace,
  type PlacementRequest,
  placeAnywhere,
  type PoolRequest,
} from './provision-placement.ts';

const GI = 1n << 30n;
const node = (name: string, free: bigint, change: Partial<NodeView> = {}): NodeView => ({
  name,
  labels: { zone: name.slice(0, 1) },
  isUsable: true,
  pools: [{ name: 'default', isReady: true, reason: undefined, freeBytes: free * GI }],
  ...change,
});
const request: PlacementRequest = {
  claimName: 'data',
  sizeBytes: 5n * GI,
  poolRequest: {},
  allowedTopologies: [],
  avoid: new Set(),
};
const nodes = [node('c', 9n), node('a', 10n), node('b', 20n)];
const placed = (change: Partial<PlacementRequest>, among = nodes): string => {
  const place = placeAnywhere(among, { ...request, ...change });
  return 'nodeName' in place ? place.nodeName : place.lacking;
};

test('a volume goes where the most room is', () => {
  expect(placed({})).toBe('b');
});

test('replicas of a StatefulSet go around the nodes', () => {
  const names = [0, 1, 2].map((ordinal) => placed({ claimName: `data-web-${ordinal}` }));
  expect(names.toSorted()).toEqual(['a', 'b', 'c']);
});

test.each([
  ['that are full', {}, [node('a', 5n), node('b', 4n)], 'a'],
  ['that take no pods', {}, [node('a', 6n), node('b', 9n, { isUsable: false })], 'a'],
  ['that have just refused', { avoid: new Set(['b']) }, nodes, 'a'],
  ['outside the topologies', { allowedTopologies: [[{ key: 'zone', values: ['c', 'x'] }]] }, nodes, 'c'],
])('nodes %s are passed over', (_name, change, among, expected) => {
  expect(placed(change, among)).toBe(expected);
});

test('all requirements of a topology term must hold, and one term is enough', () => {
  const zone = (...values: string[]) => ({ key: 'zone', values });
  expect(placed({ allowedTopologies: [[zone('b'), zone('a')], [zone('a')]] })).toBe('a');
});

test('where no node has enough free space, it says what each node lacks', () => {
  const closed = { name: 'default', isReady: false, reason: 'no marker', freeBytes: 0n };
  expect(placed({}, [node('a', 1n), node('b', 0n, { pools: [closed] }), node('c', 0n, { pools: [] })])).toBe(
    'a: pool default has 1 GiB free; b: pool default is not ready: no marker; c: its agent offers no pool',
  );
});

test('a volume goes into a pool that can make it, and a node without one says what its pools lack', () => {
  const pools = [
    {
      name: 'big',
      backend: 'btrfs',
      features: ['fs-btrfs'],
      isReady: true,
      reason: undefined,
      freeBytes: 50n * GI,
    },
    {
      name: 'images',
      backend: 'image',
      features: ['block', 'fs-ext4'],
      isReady: true,
      reason: undefined,
      freeBytes: 9n * GI,
    },
  ] as const;
  const mixed = node('a', 0n, { pools });
  const poolOf = (poolRequest: PoolRequest): string | undefined => choosePool(mixed, poolRequest)?.name;
  expect(poolOf({})).toBe('big');
  expect(poolOf({ volumeMode: 'Block' })).toBe('images');
  expect(poolOf({ fsType: 'ext4' })).toBe('images');
  expect(poolOf({ backend: 'image' })).toBe('images');
  expect(describeFreeSpace(mixed, { pool: 'big', fsType: 'ext4' })).toBe('pool big does not support ext4');
  expect(describeFreeSpace(mixed, { backend: 'directory' })).toBe(
    'pool big has backend btrfs, not directory; pool images has backend image, not directory',
  );
  const closed = node('c', 0n, {
    pools: pools.map((pool) => ({ ...pool, isReady: false, reason: 'its disk is lost' })),
  });
  expect(describeFreeSpace(closed, { fsType: 'ext4' })).toBe('pool images is not ready: its disk is lost');
  expect(describeFreeSpace(mixed, { pool: 'big', volumeMode: 'Block' })).toBe(
    'pool big does not support volumeMode Block',
  );
  expect(describeFreeSpace(mixed, { encrypted: true })).toBe(
    'pool big does not support encryption; pool images does not support encryption',
  );
  const selecting = (text: string): PoolRequest => ({
    poolSelector: parsePoolSelector(text, 'poolSelector'),
  });
  const labelled = node('d', 0n, {
    pools: pools.map((pool) => ({ ...pool, labels: pool.name === 'big' ? { media: 'hdd' } : {} })),
  });
  expect(choosePool(labelled, selecting('media=hdd'))?.name).toBe('big');
  expect(choosePool(labelled, selecting('media!=hdd'))?.name).toBe('images');
  expect(describeFreeSpace(labelled, selecting('media=ssd'))).toBe(
    'pool big has label media=hdd, but must match poolSelector media=ssd; pool images has no labels, but must match poolSelector media=ssd',
  );
  // An agent that says nothing of labels knows of none; for all else it may refuse.
  expect(choosePool(mixed, selecting('media=hdd'))).toBeUndefined();
  const unresponsive = node('b', 9n);
  expect(choosePool(unresponsive, { fsType: 'xfs', volumeMode: 'Block', backend: 'image' })?.name).toBe(
    'default',
  );
});
