import { expect, it } from 'vitest';
import { Fault } from '../../../src/core/fault.ts';
import { ANY_SIZE } from '../../../src/core/volume-size.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { createFakeDisk, FakePool, openFakeInventory } from '../../../test/fakes/fake-storage.ts';
import { createStorage } from '../storage.ts';

it('a volume whose limits cannot be set is not left attached, unless it was staged before', async () => {
  const pool = new FakePool({ quotaMode: 'file' });
  let isBroken = false;
  const cgroups = {
    isFlat: false,
    list: async () => ['all'],
    async limit() {
      if (isBroken) throw new Fault('unavailable', 'the cgroup cannot be written');
    },
  };
  const devices = { read: async () => new Map<string, string>(), write: async () => undefined };
  const storage = await createStorage([pool], openFakeInventory(createFakeDisk()), {
    logger: silentLogger,
    io: { cgroups, devices },
  });
  const attributes = { readIOPS: 100n };
  const { id } = await storage.createVolume({
    ...{ name: 'v', pool: undefined, range: ANY_SIZE, source: undefined, attributes },
  });
  pool.devices.set(id, '7:1');
  isBroken = true;
  await expect(storage.stage(id, '/one')).rejects.toMatchObject({ kind: 'unavailable' });
  expect([...pool.attached]).toEqual([]);
  expect(storage.getVolume(id).staged).toEqual([]);

  isBroken = false;
  await storage.stage(id, '/one');
  isBroken = true;
  await expect(storage.stage(id, '/two')).rejects.toMatchObject({ kind: 'unavailable' });
  expect([...pool.attached]).toEqual([id]);
  expect(storage.getVolume(id).staged).toEqual(['/one']);
});
