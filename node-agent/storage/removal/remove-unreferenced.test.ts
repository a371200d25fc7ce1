import { expect, test } from 'vitest';
import { NO_REFERENCES } from '../../../src/core/volumes/orphans.ts';
import { ANY_SIZE } from '../../../src/core/volumes/volume-size.ts';
import { startMemoryStorage } from '../../../test/fakes/volume-store.ts';
import { removeUnreferenced } from './remove-unreferenced.ts';

async function setup() {
  const { pool, storage } = await startMemoryStorage({ totalBytes: 100n << 30n });
  const make = (name: string) =>
    storage.volumes.create({ name, pool: undefined, range: ANY_SIZE, source: undefined });
  const remove = (id: string, names: readonly string[] = []) =>
    removeUnreferenced(id, { storage, references: { ...NO_REFERENCES, names: new Set(names) } });
  return { pool, storage, make, remove };
}

test('a volume that a LocalVolume references is not removed, and the error names the LocalVolume', async () => {
  const { storage, make, remove } = await setup();
  const { id } = await make('pvc-1');
  await expect(remove(id, ['pvc-1'])).rejects.toMatchObject({
    kind: 'precondition',
    message: expect.stringContaining('belongs to LocalVolume pvc-1') as string,
  });
  expect(await remove(id)).toMatchObject([{ kind: 'volume', name: 'pvc-1' }]);
  expect(storage.volumes.list()).toEqual([]);
});

test('a group snapshot is removed by its own id, with all members', async () => {
  const { storage, make, remove } = await setup();
  const { id } = await make('pvc-1');
  const group = await storage.groups.create('group', [id, (await make('pvc-2')).id]);
  const member = storage.snapshots.list()[0];
  await expect(remove(member?.id ?? '')).rejects.toMatchObject({
    message: expect.stringContaining(`member of group snapshot ${group.id}`) as string,
  });
  await expect(remove(group.id, [member?.name ?? ''])).rejects.toMatchObject({ kind: 'precondition' });
  expect(await remove(group.id)).toHaveLength(2);
  expect(storage.snapshots.list()).toEqual([]);
});

test('unrecorded data is removed, and an unknown id is not-found', async () => {
  const { pool, remove } = await setup();
  const id = `vol-${'0'.repeat(24)}`;
  pool.write(id, ['lost']);
  expect(await remove(id)).toMatchObject([{ kind: 'data', id }]);
  await expect(remove(id)).rejects.toMatchObject({ kind: 'not-found' });
});
