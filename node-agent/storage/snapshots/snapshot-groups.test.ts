import { describe, expect, it } from 'vitest';
import { ANY_SIZE } from '../../../src/core/volumes/volume-size.ts';
import { FakeClock } from '../../../test/fakes/fake-clock.ts';
import { createFakeDisk, FakePool, openFakeRecords, startStorage } from '../../../test/fakes/fake-storage.ts';
import type { StorageServices } from '../services.ts';

const GIB = 1n << 30n;

const start = (pools: readonly FakePool[], disk = createFakeDisk()): Promise<StorageServices> =>
  startStorage(pools, openFakeRecords(disk));
const make = async (storage: StorageServices, name: string, pool = 'default'): Promise<string> =>
  (await storage.volumes.create({ name, pool, range: ANY_SIZE, source: undefined })).id;
const publish = async (storage: StorageServices, volumeId: string): Promise<void> => {
  await storage.staging.stage(volumeId, '/staging');
  await storage.staging.publish({
    volumeId,
    stagingPath: '/staging',
    target: `/pods/${volumeId}`,
    readonly: false,
    flags: [],
    accessMode: 'SINGLE_NODE_WRITER',
  });
};

describe('a group snapshot', () => {
  it('has all its volumes, and a repeated request returns it', async () => {
    const pool = new FakePool();
    const storage = await start([pool]);
    const ids = [await make(storage, 'a'), await make(storage, 'b')].sort();
    for (const id of ids) pool.write(id, [`data of ${id}`]);
    const group = await storage.groups.create('g', ids);
    expect(group.members.map(({ sourceVolumeId }) => sourceVolumeId)).toEqual(ids);
    expect(await storage.groups.create('g', [...ids].reverse())).toEqual(group);
    expect(storage.groups.get(group.id, [])).toEqual(group);
    expect(storage.snapshots.list()).toHaveLength(2);
    for (const { id, sourceVolumeId } of group.members) {
      expect(pool.snapshots.get(id)?.content).toEqual([`data of ${sourceVolumeId}`]);
      const source = { kind: 'snapshot', id } as const;
      const restored = await storage.volumes.create({ name: id, pool: undefined, range: ANY_SIZE, source });
      expect(pool.volumes.get(restored.id)?.content).toEqual([`data of ${sourceVolumeId}`]);
    }
  });

  it('refuses its name for other volumes, refuses unknown volumes, and leaves nothing behind', async () => {
    const pool = new FakePool();
    const storage = await start([pool]);
    const ids = [await make(storage, 'a'), await make(storage, 'b')];
    await expect(storage.groups.create('g', [...ids, 'vol-none'])).rejects.toMatchObject({
      kind: 'not-found',
    });
    expect(pool.snapshots.size).toBe(0);
    await storage.groups.create('g', ids);
    await expect(storage.groups.create('g', ids.slice(1))).rejects.toMatchObject({ kind: 'conflict' });
    await expect(storage.groups.create('', ids)).rejects.toMatchObject({ kind: 'invalid' });
  });

  it('freezes all writers before the first snapshot, and thaws them', async () => {
    const pool = new FakePool({ quotaMode: 'file' });
    const storage = await start([pool]);
    const ids = [await make(storage, 'a'), await make(storage, 'b')].sort();
    for (const id of ids) await publish(storage, id);
    const held: string[][] = [];
    pool.onCut = () => held.push([...pool.frozen].sort());
    await storage.groups.create('g', ids);
    expect(held).toEqual([ids, ids]);
    expect([...pool.frozen]).toEqual([]);
  });

  it('thaws writers and creates nothing when it takes too long', async () => {
    const clock = new FakeClock();
    const pool = new FakePool({ quotaMode: 'file' });
    const storage = await startStorage([pool], openFakeRecords(createFakeDisk()), {
      clock,
    });
    const ids = [await make(storage, 'a'), await make(storage, 'b')];
    for (const id of ids) await publish(storage, id);
    pool.onCut = () => clock.advance(10_000);
    await expect(storage.groups.create('g', ids)).rejects.toMatchObject({ kind: 'timeout' });
    expect([...pool.frozen]).toEqual([]);
    expect(pool.snapshots.size).toBe(0);
    expect(storage.snapshots.list()).toEqual([]);
    pool.onCut = () => undefined;
    await storage.groups.create('g', ids);
  });

  it('is refused for volumes that cannot share an instant, before writers are frozen', async () => {
    const pools = [new FakePool({ name: 'fast' }), new FakePool({ name: 'slow' })];
    const storage = await start(pools);
    const ids = [await make(storage, 'a', 'fast'), await make(storage, 'b', 'slow')];
    for (const id of ids) await publish(storage, id);
    await expect(storage.groups.create('g', ids)).rejects.toMatchObject({ kind: 'precondition' });
    await storage.staging.unpublish(ids[1] ?? '', `/pods/${ids[1] ?? ''}`);
    const { members } = await storage.groups.create('g', ids);
    expect(members.map(({ pool }) => pool).sort()).toEqual(['fast', 'slow']);
  });

  it('needs the space of all members together', async () => {
    const pool = new FakePool({ totalBytes: 10n * GIB });
    const storage = await start([pool]);
    const sized = { pool: 'default', range: { requiredBytes: 4n * GIB, limitBytes: 0n }, source: undefined };
    const ids = [
      (await storage.volumes.create({ name: 'a', ...sized })).id,
      (await storage.volumes.create({ name: 'b', ...sized })).id,
    ];
    for (const id of ids) pool.charged.set(id, GIB);
    // 2 GiB less the metadata are left: enough for each of the two, not for both.
    await expect(storage.groups.create('g', ids)).rejects.toMatchObject({ kind: 'exhausted' });
    pool.charged.set(ids[0] ?? '', GIB / 4n);
    await storage.groups.create('g', ids);
  });

  it('protects its members from deletion on their own, and deletes them with itself', async () => {
    const pool = new FakePool();
    const storage = await start([pool]);
    const ids = [await make(storage, 'a'), await make(storage, 'b')];
    const single = await storage.snapshots.create('single', ids[0] ?? '');
    const { id, members } = await storage.groups.create('g', ids);
    const [first] = members;
    await expect(storage.snapshots.delete(first?.id ?? '')).rejects.toMatchObject({ kind: 'invalid' });
    const known = members.map((member) => member.id);
    await expect(storage.groups.delete(id, known.slice(1))).rejects.toMatchObject({ kind: 'invalid' });
    await expect(storage.groups.delete(id, [...known, single.id])).rejects.toMatchObject({ kind: 'invalid' });
    await storage.groups.delete(id, known);
    await storage.groups.delete(id, known);
    expect(storage.snapshots.list()).toEqual([single]);
    expect(() => storage.groups.get(id, [])).toThrow('does not exist');
  });

  it("is not confused with a snapshot that has a member's name", async () => {
    const storage = await start([new FakePool()]);
    const id = await make(storage, 'a');
    const { members } = await storage.groups.create('g', [id]);
    const named = await storage.snapshots.create(members[0]?.name ?? '', id);
    expect(named.id).not.toBe(members[0]?.id);
  });

  it('has members with the encryption of their volumes', async () => {
    const disk = createFakeDisk();
    const pool = new FakePool();
    const id = await make(await start([pool], disk), 'a');
    const encryption = { salt: 'AAAA' };
    const volume = disk.volumes.get(id);
    if (volume !== undefined) disk.volumes.set(id, { ...volume, encryption });
    const { members } = await (await start([pool], disk)).groups.create('g', [id]);
    expect(members[0]?.encryption).toEqual(encryption);
  });

  it('is removed as a whole when a member is incomplete, also in a pool that opens later', async () => {
    const disk = createFakeDisk();
    const pools = [new FakePool({ name: 'fast' }), new FakePool({ name: 'slow' })];
    const storage = await start(pools, disk);
    const ids = [await make(storage, 'a', 'fast'), await make(storage, 'b', 'slow')];
    const { members } = await storage.groups.create('g', ids);
    for (const member of members) {
      if (member.pool === 'fast') disk.snapshots.set(member.id, { ...member, phase: 'creating' });
    }
    await start(pools.slice(0, 1), disk);
    expect([...disk.snapshots.values()]).toMatchObject([{ pool: 'slow', phase: 'deleting' }]);
    const again = await start(pools, disk);
    expect(disk.snapshots.size).toBe(0);
    expect(pools.map(({ snapshots }) => snapshots.size)).toEqual([0, 0]);
    expect((await again.health.report()).orphans).toEqual([]);
  });

  it('stays when the record of a member cannot be read', async () => {
    const disk = createFakeDisk();
    const pool = new FakePool();
    const storage = await start([pool], disk);
    const { id, members } = await storage.groups.create('g', [
      await make(storage, 'a'),
      await make(storage, 'b'),
    ]);
    disk.snapshots.delete(members[0]?.id ?? '');
    const again = await start([pool], disk);
    expect(again.groups.get(id, []).members).toHaveLength(1);
    expect(pool.snapshots.size).toBe(2);
  });
});
