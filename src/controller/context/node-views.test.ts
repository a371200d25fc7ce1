import { expect, test } from 'vitest';
import type { LocalVolume } from '../../api/local-volume.ts';
import type { NodeInventory } from '../../api/node-inventory.ts';
import type { Node } from '../../kube/built-in.ts';
import { ObjectStore } from '../../kube/object-store.ts';
import { NodeViews } from './node-views.ts';

const node = (name: string): Node => ({ metadata: { name } });
const inventory = (name: string, free: string): NodeInventory => ({
  metadata: { name },
  status: {
    observedTime: '2026-01-01T00:00:00Z',
    storage: {
      capacity: '100',
      allocated: '0',
      volumes: 0,
      pools: [
        {
          name: 'default',
          backend: 'btrfs',
          ready: true,
          capacity: '100',
          allocated: '0',
          largestVolume: free,
          volumes: 0,
        },
      ],
    },
  },
});
const volume = (name: string, nodeName: string, size: string): LocalVolume => ({
  metadata: { name },
  spec: { nodeName, poolName: 'default', type: 'Volume', size, volumeMode: 'Filesystem' },
});

function setUp() {
  const nodes = new ObjectStore<Node>();
  const inventories = new ObjectStore<NodeInventory>();
  const volumes = new ObjectStore<LocalVolume>({ node: ({ spec }) => [spec.nodeName] });
  for (const name of ['a', 'b']) {
    nodes.set(node(name));
    inventories.set(inventory(name, '100'));
  }
  const views = new NodeViews({
    nodes: { store: nodes },
    inventories: { store: inventories },
    volumes: { store: volumes },
  });
  const free = (name: string): bigint | undefined => views.get(name)?.pools[0]?.freeBytes;
  return { nodes, inventories, volumes, views, free };
}

test('a view is made once for as long as nothing of its node changes', () => {
  const { inventories, volumes, views } = setUp();
  const before = views.get('a');
  inventories.set(inventory('b', '50'));
  volumes.set(volume('v', 'b', '10'));
  expect(views.get('a')).toBe(before);
});

test('a volume that is placed is taken off at once', () => {
  const { volumes, free } = setUp();
  expect(free('a')).toBe(100n);
  volumes.set(volume('v', 'a', '10'));
  expect(free('a')).toBe(90n);
  volumes.delete('v');
  expect(free('a')).toBe(100n);
});

test('a new inventory counts', () => {
  const { inventories, free } = setUp();
  expect(free('a')).toBe(100n);
  inventories.set(inventory('a', '7'));
  expect(free('a')).toBe(7n);
});

test('what a volume takes does not stand in its own way', () => {
  const { volumes, views } = setUp();
  volumes.set(volume('v', 'a', '10'));
  const without = views.without('v');
  expect(without.get('a')?.pools[0]?.freeBytes).toBe(100n);
  expect([...without.values()].map(({ name, pools }) => [name, pools[0]?.freeBytes])).toEqual([
    ['a', 100n],
    ['b', 100n],
  ]);
  expect(views.get('a')?.pools[0]?.freeBytes).toBe(90n);
});

test('a deleted node has no view', () => {
  const { nodes, views } = setUp();
  expect([...views.values()]).toHaveLength(2);
  nodes.delete('a');
  expect(views.has('a')).toBe(false);
  expect(views.get('a')).toBeUndefined();
  expect([...views.values()].map(({ name }) => name)).toEqual(['b']);
});
