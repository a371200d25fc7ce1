import { expect, test } from 'vitest';
import { type CapacityFigure, capacityFigures, capacityName, planCapacity } from './capacity-objects.ts';
import { TOPOLOGY_KEY } from '../volumes/driver.ts';
import { type ClassView, type NodeView } from './provision.ts';
import { exactQuantity } from '../kube-text/exact-quantity.ts';

const GI = 1n << 30n;
const pool = (name: string, free: bigint, isReady = true, labels: Record<string, string> = {}) => ({
  name,
  isReady,
  labels,
  reason: undefined,
  freeBytes: free * GI,
});
const node: NodeView = {
  name: 'n1',
  labels: { [TOPOLOGY_KEY]: 'n1' },
  isUsable: true,
  pools: [
    pool('hdd', 9n),
    pool('ssd', 4n, true, { media: 'ssd' }),
    pool('ssd-2', 6n, true, { media: 'ssd' }),
    pool('broken', 99n, false, { media: 'nvme' }),
  ],
};
const local: ClassView = { name: 'local', waitsForConsumer: true, parameters: {}, allowedTopologies: [] };

test.each([
  ['the largest single pool, not the sum', local, [9n * GI]],
  ['the pool that the class names', { ...local, parameters: { pool: 'ssd' } }, [4n * GI]],
  [
    'the largest of the pools that the class selects by labels',
    { ...local, parameters: { poolSelector: 'media in (ssd,nvme)' } },
    [6n * GI],
  ],
  ['nothing where the class selects no pool', { ...local, parameters: { poolSelector: 'media=tape' } }, [0n]],
  ['nothing in a pool that is not ready', { ...local, parameters: { pool: 'broken' } }, [0n]],
  ['nothing for a class that cannot be understood', { ...local, parameters: { pol: 'ssd' } }, [0n]],
  ['no figure for an immediate class', { ...local, waitsForConsumer: false }, []],
])('the scheduler reads %s', (_name, storageClass, expected) => {
  expect(capacityFigures(node, [storageClass]).map(({ bytes }) => bytes)).toEqual(expected);
});

test('there is no figure for a node that was deleted, or that has not registered the driver', () => {
  expect(capacityFigures(undefined, [local])).toEqual([]);
  expect(capacityFigures({ ...node, labels: {} }, [local])).toEqual([]);
});

test('only what differs is written', () => {
  const figure = (className: string, bytes: bigint): CapacityFigure => ({
    name: capacityName(className, 'n1'),
    className,
    nodeName: 'n1',
    bytes,
  });
  const wanted = [figure('same', 1n), figure('new', 2n), figure('changed', 3n)];
  const published = [figure('same', 1n), figure('changed', 2n), figure('old', 4n)];
  expect(planCapacity(wanted, published)).toEqual({
    create: [figure('new', 2n)],
    update: [figure('changed', 3n)],
    remove: [capacityName('old', 'n1')],
  });
  expect(planCapacity(wanted, wanted)).toEqual({ create: [], update: [], remove: [] });
});

test('names are valid, stable and apart', () => {
  expect(capacityName('a', 'b')).toMatch(/^keelson-[0-9a-f]{24}$/);
  expect(capacityName('a', 'b')).toBe(capacityName('a', 'b'));
  expect(capacityName('a', 'bc')).not.toBe(capacityName('ab', 'c'));
});

test.each([
  [0n, '0'],
  [10n * GI, '10Gi'],
  [1500n << 20n, '1500Mi'],
  [1_000_001n, '1000001'],
])('%s bytes are written exactly', (bytes, text) => {
  expect(exactQuantity(bytes)).toBe(text);
});
