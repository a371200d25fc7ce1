import { expect, it } from 'vitest';
import { Fault } from '../../../src/core/fault.ts';
import { ANY_SIZE } from '../../../src/core/volumes/volume-size.ts';
import { createFakeDisk, FakePool, openFakeRecords, startStorage } from '../../../test/fakes/fake-storage.ts';

const wanted = (name: string) => ({ name, pool: undefined, range: ANY_SIZE, source: undefined });

it('a volume that cannot be removed yet keeps its record, and does not affect other volumes', async () => {
  const [pool, disk] = [new FakePool(), createFakeDisk()];
  const start = () => startStorage([pool], openFakeRecords(disk));
  const before = await start();
  const [kept, stuck] = [
    await before.volumes.create(wanted('kept')),
    await before.volumes.create(wanted('stuck')),
  ];
  await before.staging.stage(kept.id, '/staging');
  // Killed while it deleted the volume; a process that the service does not know has a file of it
  // open.
  disk.volumes.set(stuck.id, { ...stuck, phase: 'deleting' });
  pool.attached.clear();
  const { detach } = pool.mounts;
  pool.mounts.detach = async () => {
    throw new Fault('busy', 'files of it are open');
  };
  const after = await start();
  expect(after.volumes.list().map(({ id }) => id)).toEqual([kept.id]);
  expect([...pool.attached]).toEqual([kept.id]);
  expect(disk.volumes.get(stuck.id)?.phase).toBe('deleting');

  pool.mounts.detach = detach;
  await after.volumes.delete(stuck.id);
  expect([...pool.volumes.keys()]).toEqual([kept.id]);
  expect(disk.volumes.has(stuck.id)).toBe(false);
});
