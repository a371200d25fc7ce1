import { describe, expect, test } from 'vitest';
import { choosePrefix, clusterAddresses, freeIndex, hostLinkName } from '../cluster/addresses.ts';
import { completeNodes } from '../cluster/record.ts';

describe('addresses of a cluster', () => {
  test('follow from its directory, so that it keeps them', () => {
    const prefix = choosePrefix('/clusters/a', () => false);
    expect(prefix).toMatch(/^198\.1[89]\.\d{1,3}$/);
    expect(choosePrefix('/clusters/a', () => false)).toBe(prefix);
    expect(choosePrefix('/clusters/b', () => false)).not.toBe(prefix);
  });

  test('avoid a network that is in use', () => {
    const first = choosePrefix('/clusters/a', () => false);
    const second = choosePrefix('/clusters/a', (prefix) => prefix === first);
    expect(second).toMatch(/^198\.1[89]\.\d{1,3}$/);
    expect(second).not.toBe(first);
  });

  test('are refused when every network is in use, after each was tried once', () => {
    const tried = new Set<string>();
    expect(choosePrefix('/clusters/a', (prefix) => tried.add(prefix).size > 0)).toBeUndefined();
    expect(tried.size).toBe(512);
  });

  test('of control plane, host and nodes are distinct', () => {
    const { controlPlane, host, node } = clusterAddresses('198.18.7');
    const all = [controlPlane, host, ...Array.from({ length: 244 }, (_, index) => node(index))];
    expect(new Set(all).size).toBe(all.length);
    expect(all.at(-1)).toBe('198.18.7.253');
  });

  test('come with an interface name that the kernel accepts', () => {
    expect(hostLinkName('/a/very/long/directory/for/a/cluster').length).toBeLessThanOrEqual(15);
  });
});

describe('nodes of a cluster', () => {
  test('fill the gaps that removed ones left, in names and in addresses', () => {
    const present = [
      { name: 'node-2', index: 1 },
      { name: 'other', index: 2 },
    ];
    expect(completeNodes(present, 4)).toEqual([
      ...present,
      { name: 'node-1', index: 0 },
      { name: 'node-3', index: 3 },
    ]);
    expect(freeIndex(present)).toBe(0);
  });

  test('are not removed when fewer are requested', () => {
    const present = [{ name: 'node-1', index: 0 }];
    expect(completeNodes(present, 0)).toEqual(present);
  });

  test('are refused when there are more nodes than addresses', () => {
    expect(() => completeNodes([], 1_000)).toThrow(/at most 244 nodes, not 1000/);
  });
});
