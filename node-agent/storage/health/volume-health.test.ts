import { expect, it } from 'vitest';
import { createFakeDisk, FakePool, openFakeInventory } from '../../../test/fakes/fake-storage.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import type { MountEntry } from '../../../src/core/volumes/mount-table.ts';
import { type Pool, fixedPools, type PoolSet } from '../contract/pool.ts';
import type { RecordStore } from '../contract/records.ts';
import { VolumeHealth } from './volume-health.ts';
import { createStorage, type VolumeService } from '../storage.ts';

interface World {
  readonly pool: FakePool;
  readonly pools: PoolSet;
  readonly inventory: RecordStore;
  readonly storage: VolumeService;
  readonly id: string;
}

async function startWorld(): Promise<World> {
  const pool = new FakePool();
  const pools = fixedPools([pool]);
  const inventory = openFakeInventory(createFakeDisk());
  const storage = await createStorage(pools, inventory, { logger: silentLogger });
  const range = { requiredBytes: 1n << 30n, limitBytes: 0n };
  const { id } = await storage.createVolume({ name: 'v', pool: undefined, range, source: undefined });
  return { pool, pools, inventory, storage, id };
}

/** The pool as it looks while its device is away. */
function closed({ pools }: World): PoolSet {
  const states = pools.states().map((state) => ({ ...state, pool: undefined, problem: 'no such device' }));
  return { get: (name) => pools.get(name), states: () => states };
}

it('a volume that is well is in no list', async () => {
  const { storage, id } = await startWorld();
  expect(await storage.checkVolume(id)).toEqual([]);
  expect(await storage.listSickVolumes()).toEqual([]);
  expect(await storage.checkPools()).toEqual([]);
});

it('a volume that nothing holds to its size is well, and that is worth knowing', async () => {
  const { storage, pool, id } = await startWorld();
  expect([storage.remarkOn(id), storage.remarkOn('vol-none')]).toEqual([undefined, undefined]);
  const features = { ...pool.backend.features, enforcement: 'none' as const };
  const { name, policy, mounts } = pool;
  const unheld: Pool = {
    name,
    policy,
    mounts,
    checkHealth: async () => undefined,
    backend: { ...pool.backend, features },
  };
  const inventory = openFakeInventory(createFakeDisk());
  const other = await createStorage([unheld], inventory, { logger: silentLogger });
  const range = { requiredBytes: 1n << 30n, limitBytes: 0n };
  const volume = await other.createVolume({ name: 'v', pool: undefined, range, source: undefined });
  expect(await other.checkVolume(volume.id)).toEqual([]);
  expect(other.remarkOn(volume.id)).toBe('its size is not enforced: pool default has no quota');
});

it('an unknown volume is not found', async () => {
  const { storage } = await startWorld();
  await expect(storage.checkVolume('../../etc')).rejects.toMatchObject({ kind: 'not-found' });
});

it('data that went away by itself is a loss', async () => {
  const { storage, pool, id } = await startWorld();
  pool.volumes.delete(id);
  expect(await storage.checkVolume(id)).toMatchObject([{ status: 'data-loss', reason: 'DataMissing' }]);
  expect(await storage.listSickVolumes()).toMatchObject([{ id, problems: [{ reason: 'DataMissing' }] }]);
});

it('a volume that is merely not counted is no loss', async () => {
  const { inventory, pool, id } = await startWorld();
  const backend = {
    ...pool.backend,
    usage: async () => ({ totalBytes: 0n, freeBytes: 0n, otherBytes: 0n, volumes: new Map() }),
  };
  const uncounted: Pool = {
    name: pool.name,
    policy: pool.policy,
    mounts: pool.mounts,
    backend,
    checkHealth: async () => 'quotas are off',
  };
  const health = new VolumeHealth({ inventory, pools: fixedPools([uncounted]) });
  expect(await health.check(id)).toMatchObject([{ status: 'degraded', reason: 'QuotaInconsistent' }]);
});

it('a volume that is deleted while it is looked at is not found, and no loss', async () => {
  const { inventory, pools, storage, id } = await startWorld();
  const readMounts = async (): Promise<readonly MountEntry[]> => {
    if (inventory.volumes.has(id)) await storage.deleteVolume(id);
    return [];
  };
  const health = new VolumeHealth({ inventory, pools, readMounts });
  await expect(health.check(id)).rejects.toMatchObject({ kind: 'not-found' });
  expect(await health.list()).toEqual([]);
});

it('a pool that is away makes its volumes inaccessible, and loses none', async () => {
  const world = await startWorld();
  const health = new VolumeHealth({ inventory: world.inventory, pools: closed(world) });
  expect(await health.check(world.id)).toMatchObject([
    { status: 'inaccessible', reason: 'PoolUnavailable', message: 'pool default: no such device' },
  ]);
  expect(await health.checkPools()).toEqual([
    { status: 'unreachable', reason: 'PoolUnavailable', message: 'pool default: no such device' },
  ]);
});

it('a pool that nobody configures any more is told while volumes are in it', async () => {
  const { inventory, id } = await startWorld();
  const health = new VolumeHealth({ inventory, pools: fixedPools([]) });
  expect(await health.check(id)).toMatchObject([{ reason: 'PoolUnavailable' }]);
  expect(await health.checkPools()).toMatchObject([{ status: 'unreachable' }]);
});

it('a volume that was published and is no longer mounted is told to who asks for that path', async () => {
  const { storage, pool, id } = await startWorld();
  await storage.stage(id, '/staging');
  const access = { flags: [], readonly: false, accessMode: 'SINGLE_NODE_WRITER' } as const;
  await storage.publish({ volumeId: id, stagingPath: '/staging', target: '/pods/a', ...access });
  expect(await storage.checkVolume(id, '/pods/a')).toEqual([]);
  pool.mounted.clear();
  expect(await storage.checkVolume(id, '/pods/a')).toMatchObject([
    { status: 'inaccessible', reason: 'NotMounted' },
  ]);
  // A record of before a reboot says nothing about the volume itself, nor does a path where it never was.
  expect(await storage.checkVolume(id)).toEqual([]);
  expect(await storage.checkVolume(id, '/pods/b')).toEqual([]);
});

it('a file system that turned read-only is told, a read-only mount is not', async () => {
  const { storage, inventory, pools, id } = await startWorld();
  await storage.stage(id, '/staging');
  const access = { flags: [], readonly: true, accessMode: 'SINGLE_NODE_WRITER' } as const;
  await storage.publish({ volumeId: id, stagingPath: '/staging', target: '/pods/a', ...access });
  const entry: MountEntry = {
    device: '7:0',
    mountPoint: '/pods/a',
    root: '/',
    type: 'ext4',
    source: '/dev/loop0',
    options: ['ro'],
    filesystemOptions: ['rw'],
  };
  let table = [entry];
  const health = new VolumeHealth({ inventory, pools, readMounts: async () => table });
  expect(await health.check(id)).toEqual([]);
  table = [{ ...entry, filesystemOptions: ['ro', 'errors=remount-ro'] }];
  expect(await health.check(id)).toMatchObject([{ status: 'degraded', reason: 'FilesystemReadOnly' }]);
});

it('a record that cannot be read is a volume that cannot be used', async () => {
  const { inventory, pools } = await startWorld();
  const id = `vol-${'a'.repeat(24)}`;
  const quarantined = [
    { file: `/state/volumes/${id}.json`, reason: 'no JSON' },
    { file: '/state/volumes/notes.txt', reason: 'no JSON' },
    { file: `/state/snapshots/snap-${'b'.repeat(24)}.json`, reason: 'no JSON' },
  ];
  const health = new VolumeHealth({ inventory: { ...inventory, quarantined }, pools });
  expect(await health.check(id)).toMatchObject([{ status: 'inaccessible', reason: 'RecordUnreadable' }]);
  expect((await health.list()).map((sick) => sick.id)).toEqual([id]);
});
