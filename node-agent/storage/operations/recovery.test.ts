import { expect, it } from 'vitest';
import { Fault } from '../../../src/core/fault.ts';
import { ANY_SIZE } from '../../../src/core/volumes/volume-size.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { createFakeDisk, FakePool, openFakeInventory } from '../../../test/fakes/fake-storage.ts';
import { createStorage } from '../storage.ts';

const wanted = (name: string) => ({ name, pool: undefined, range: ANY_SIZE, source: undefined });

it('a volume that cannot be removed yet keeps its record, and no other volume from service', async () => {
  const [pool, disk] = [new FakePool(), createFakeDisk()];
  const start = () => createStorage([pool], openFakeInventory(disk), { logger: silentLogger });
  const before = await start();
  const [kept, stuck] = [
    await before.createVolume(wanted('kept')),
    await before.createVolume(wanted('stuck')),
  ];
  await before.stage(kept.id, '/staging');
  // Killed while it deleted the volume; a process that the service does not know has a file of it open.
  disk.volumes.set(stuck.id, { ...stuck, phase: 'deleting' });
  pool.attached.clear();
  const { detach } = pool.mounts;
  pool.mounts.detach = async () => {
    throw new Fault('busy', 'files of it are open');
  };
  const after = await start();
  expect(after.listVolumes().map(({ id }) => id)).toEqual([kept.id]);
  expect([...pool.attached]).toEqual([kept.id]);
  expect(disk.volumes.get(stuck.id)?.phase).toBe('deleting');

  pool.mounts.detach = detach;
  await after.deleteVolume(stuck.id);
  expect([...pool.volumes.keys()]).toEqual([kept.id]);
  expect(disk.volumes.has(stuck.id)).toBe(false);
});
