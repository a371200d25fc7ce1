import { describe, expect, it } from 'vitest';
import { LOCAL_VOLUMES } from '../api/local-volume.ts';
import { CSI_STORAGE_CAPACITIES, NODES, PODS } from './built-in.ts';
import { ObjectStore } from './object-store.ts';
import { keyOf, nameOfKey, pathOf } from './resource.ts';
import { isNewerVersion } from './resource-version.ts';

describe('pathOf', () => {
  const table: readonly (readonly [string, string])[] = [
    [pathOf(NODES, {}), '/api/v1/nodes'],
    [pathOf(NODES, { name: 'a', subresource: 'status' }), '/api/v1/nodes/a/status'],
    [pathOf(PODS, {}), '/api/v1/pods'],
    [pathOf(PODS, { namespace: 'x', name: 'y' }), '/api/v1/namespaces/x/pods/y'],
    [
      pathOf(CSI_STORAGE_CAPACITIES, { namespace: 'x' }),
      '/apis/storage.k8s.io/v1/namespaces/x/csistoragecapacities',
    ],
    [pathOf(LOCAL_VOLUMES, { name: 'pvc-1' }), '/apis/keelson.dev/v1alpha1/localvolumes/pvc-1'],
    // A name cannot escape its path segment.
    [pathOf(NODES, { name: '../secrets?x' }), '/api/v1/nodes/..%2Fsecrets%3Fx'],
  ];
  for (const [path, wanted] of table) it(`returns ${wanted}`, () => expect(path).toBe(wanted));
});

describe('keys', () => {
  it('encode the namespace and the name, and decode them', () => {
    expect(keyOf({ metadata: { namespace: 'a', name: 'b' } })).toBe('a/b');
    expect(keyOf({ metadata: { name: 'b' } })).toBe('b');
    expect(nameOfKey('a/b')).toEqual({ namespace: 'a', name: 'b' });
    expect(nameOfKey('b')).toEqual({ name: 'b' });
  });
});

describe('isNewerVersion', () => {
  it('compares integers of any length, and no other values', () => {
    expect(isNewerVersion('10', '9')).toBe(true);
    expect(isNewerVersion('9', '10')).toBe(false);
    expect(isNewerVersion('7', '7')).toBe(false);
    expect(isNewerVersion('18446744073709551616', '18446744073709551615')).toBe(true);
    expect(isNewerVersion('abc', '1')).toBe(false);
    expect(isNewerVersion('1', undefined)).toBe(false);
  });
});

describe('ObjectStore', () => {
  const store = (): ObjectStore<{ metadata: { name: string; labels: Record<string, string> } }> =>
    new ObjectStore({
      team: ({ metadata }) => (metadata.labels['team'] === undefined ? [] : [metadata.labels['team']]),
    });
  const object = (name: string, team?: string) => ({
    metadata: { name, labels: team === undefined ? {} : ({ team } as Record<string, string>) },
  });

  it('indexes objects by every value, and re-indexes changed objects', () => {
    const objects = store();
    objects.set(object('a', 'x'));
    objects.set(object('b', 'x'));
    objects.set(object('c'));
    expect(objects.byIndex('team', 'x').map(keyOf)).toEqual(['a', 'b']);
    expect(objects.set(object('a', 'y'))).toEqual(object('a', 'x'));
    expect(objects.byIndex('team', 'x').map(keyOf)).toEqual(['b']);
    expect(objects.delete('a')).toEqual(object('a', 'y'));
    expect(objects.byIndex('team', 'y')).toEqual([]);
    expect(objects.size).toBe(2);
  });

  it('throws for an undeclared index', () => {
    expect(() => store().byIndex('colour', 'red')).toThrow(RangeError);
  });
});
