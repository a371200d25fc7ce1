import { describe, expect, it } from 'vitest';
import { Fault } from '../../../src/core/fault.ts';
import { ANY_SIZE } from '../../../src/core/volumes/volume-size.ts';
import { createFakeDisk, FakePool, openFakeRecords, startStorage } from '../../../test/fakes/fake-storage.ts';
import type { PublishRequest } from './staging.ts';

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
  const storage = await startStorage([pool], openFakeRecords(createFakeDisk()), {
    io: { cgroups, devices },
  });
  const attributes = { readIOPS: 100n };
  const { id } = await storage.volumes.create({
    ...{ name: 'v', pool: undefined, range: ANY_SIZE, source: undefined, attributes },
  });
  pool.devices.set(id, '7:1');
  isBroken = true;
  await expect(storage.staging.stage(id, '/one')).rejects.toMatchObject({ kind: 'unavailable' });
  expect([...pool.attached]).toEqual([]);
  expect(storage.volumes.get(id).staged).toEqual([]);

  isBroken = false;
  await storage.staging.stage(id, '/one');
  isBroken = true;
  await expect(storage.staging.stage(id, '/two')).rejects.toMatchObject({ kind: 'unavailable' });
  expect([...pool.attached]).toEqual([id]);
  expect(storage.volumes.get(id).staged).toEqual(['/one']);
});

describe('a volume that is published with a group', () => {
  const publishing = { flags: [], accessMode: 'SINGLE_NODE_MULTI_WRITER', readonly: false } as const;
  const start = async () => {
    const pool = new FakePool();
    const storage = await startStorage([pool], openFakeRecords(createFakeDisk()), {});
    const request = { name: 'v', pool: undefined, range: ANY_SIZE, source: undefined };
    const { id } = await storage.volumes.create(request);
    await storage.staging.stage(id, '/staged');
    const publish = (target: string, more: Partial<PublishRequest> = {}): Promise<void> =>
      storage.staging.publish({ volumeId: id, stagingPath: '/staged', target, ...publishing, ...more });
    return { pool, storage, id, publish };
  };

  it('is mounted after its files were changed, and not mounted if they cannot be changed', async () => {
    const { pool, storage, id, publish } = await start();
    const given = Promise.withResolvers<undefined>();
    const asked = Promise.withResolvers<number>();
    pool.mounts.ensureGroup = async (_, group) => {
      asked.resolve(group);
      await given.promise;
    };
    const published = publish('/target', { group: 2000 });
    expect(await asked.promise).toBe(2000);
    expect([...pool.mounted]).toEqual([]);
    await expect(publish('/other')).rejects.toMatchObject({ kind: 'busy' });
    given.reject(new Fault('exhausted', 'the disk is full'));
    await expect(published).rejects.toMatchObject({ kind: 'exhausted' });
    expect([...pool.mounted]).toEqual([]);
    expect(storage.volumes.get(id).published).toEqual([]);

    pool.mounts.ensureGroup = async () => undefined;
    await publish('/target', { group: 2000 });
    expect([...pool.mounted.keys()]).toEqual(['/target']);
    // The group is not part of the recorded publication.
    expect(storage.volumes.get(id).published).toEqual([{ target: '/target', ...publishing }]);
  });

  it('changes to another group when it is published again, or elsewhere', async () => {
    const { pool, id, publish } = await start();
    await publish('/target', { group: 2000 });
    await publish('/target', { group: 2001 });
    expect(pool.groups.get(id)).toBe(2001);
    await publish('/other', { group: 2002 });
    expect(pool.groups.get(id)).toBe(2002);
    await publish('/third');
    expect(pool.groups.get(id)).toBe(2002);
  });

  it.each<[string, Partial<PublishRequest>]>([
    ['read-only', { readonly: true }],
    ['for readers only', { accessMode: 'SINGLE_NODE_READER_ONLY' }],
    ['with option ro', { flags: ['ro'] }],
  ])('keeps its files unchanged when it is published %s', async (_, more) => {
    const { pool, publish } = await start();
    await publish('/target', { group: 2000, ...more });
    expect([...pool.mounted.keys()]).toEqual(['/target']);
    expect([...pool.groups]).toEqual([]);
  });

  it('keeps its files unchanged when the target is published in another way', async () => {
    const { pool, publish } = await start();
    await publish('/target');
    await expect(publish('/target', { group: 2000, flags: ['noexec'] })).rejects.toMatchObject({
      kind: 'conflict',
    });
    expect([...pool.groups]).toEqual([]);
  });
});
