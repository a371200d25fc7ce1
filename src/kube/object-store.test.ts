import { describe, expect, test } from 'vitest';
import { ObjectStore } from './object-store.ts';
import type { KubeObject } from './resource.ts';

interface Thing extends KubeObject {
  readonly places: readonly string[];
}

const thing = (name: string, ...places: string[]): Thing => ({ metadata: { name }, places });
const storeOf = (...things: Thing[]): ObjectStore<Thing> => {
  const store = new ObjectStore<Thing>({ place: ({ places }) => places });
  for (const each of things) store.set(each);
  return store;
};

describe('an index', () => {
  test('finds an object under every value of its indexer', () => {
    const [a, b] = [thing('a', 'x', 'y'), thing('b', 'y')];
    const store = storeOf(a, b);
    expect(store.byIndex('place', 'x')).toEqual([a]);
    expect(store.byIndex('place', 'y')).toEqual([a, b]);
    expect(store.byIndex('place', 'z')).toEqual([]);
    expect(() => store.byIndex('colour', 'x')).toThrow(RangeError);
  });

  test('updates the values of a changed object', () => {
    const store = storeOf(thing('a', 'x'));
    const moved = thing('a', 'y');
    store.set(moved);
    expect(store.byIndex('place', 'x')).toEqual([]);
    expect(store.byIndex('place', 'y')).toEqual([moved]);
    store.delete('a');
    expect(store.byIndex('place', 'y')).toEqual([]);
  });

  test('returns the same array until one of its objects changes', () => {
    const store = storeOf(thing('a', 'x'), thing('b', 'y'));
    const before = store.byIndex('place', 'x');
    store.set(thing('b', 'y'));
    expect(store.byIndex('place', 'x')).toBe(before);
    store.set(thing('a', 'x'));
    const replaced = store.byIndex('place', 'x');
    expect(replaced).not.toBe(before);
    store.set(thing('b', 'x'));
    expect(store.byIndex('place', 'x').map(({ metadata }) => metadata?.name)).toEqual(['a', 'b']);
    store.delete('a');
    expect(store.byIndex('place', 'x').map(({ metadata }) => metadata?.name)).toEqual(['b']);
    expect(before).toHaveLength(1);
  });
});
