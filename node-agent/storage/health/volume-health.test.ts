import { expect, it } from 'vitest';
import {
  createFakeDisk,
  FakePool,
  openFakeRecords,
  startStorage,
  fixedPools,
} from '../../../test/fakes/fake-storage.ts';
import type { MountEntry } from '../../../src/core/volumes/mount-table.ts';
import type { Pool, PoolSet } from '../contract/pool.ts';
import type { RecordStore } from '../contract/records.ts';
import { VolumeHealth } from './volume-health.ts';
import type { StorageServices } from '../services.ts';

interface World {
  readonly pool: FakePool;
  readonly pools: PoolSet;
  readonly records: RecordStore;
  readonly storage: StorageServices;
  readonly id: string;
}

async function startWorld(): Promise<World> {
  const pool = new FakePool();
  const pools = fixedPools([pool]);
  const records = openFakeRecords(createFakeDisk());
  const storage = await startStorage(pools, records);
  const range = { requiredBytes: 1n << 30n, limitBytes: 0n };
  const { id } = await storage.volumes.create({ name: 'v', pool: undefined, range, source: undefined });
  return { pool, pools, records, storage, id };
}

/** The pool as it looks while its device is away. */
function closed({ pools }: World): PoolSet {
  const states = pools.states().map((state) => ({ ...state, pool: undefined, problem: 'no such device' }));
  return { get: (name) => pools.get(name), states: () => states };
}

it('a healthy volume is not listed', async () => {
  const { storage, id } = await startWorld();
  expect(await storage.health.checkVolume(id)).toEqual([]);
  expect(await storage.health.listUnhealthy()).toEqual([]);
  expect(await storage.health.checkPools()).toEqual([]);
});

it('a volume without size enforcement is healthy, with a condition message that says so', async () => {
  const { storage, pool, id } = await startWorld();
  expect([storage.health.conditionMessage(id), storage.health.conditionMessage('vol-none')]).toEqual([
    undefined,
    undefined,
  ]);
  const features = { ...pool.backend.features, enforcement: 'none' as const };
  const { name, policy, mounts } = pool;
  const unheld: Pool = {
    name,
    policy,
    mounts,
    checkHealth: async () => undefined,
    backend: { ...pool.backend, features },
  };
  const records = openFakeRecords(createFakeDisk());
  const other = await startStorage([unheld], records);
  const range = { requiredBytes: 1n << 30n, limitBytes: 0n };
  const volume = await other.volumes.create({ name: 'v', pool: undefined, range, source: undefined });
  expect(await other.health.checkVolume(volume.id)).toEqual([]);
  expect(other.health.conditionMessage(volume.id)).toBe(
    'volume size is not enforced: pool default has no quota',
  );
});

it('an unknown volume is not found', async () => {
  const { storage } = await startWorld();
  await expect(storage.health.checkVolume('../../etc')).rejects.toMatchObject({ kind: 'not-found' });
});

it('missing data is data loss', async () => {
  const { storage, pool, id } = await startWorld();
  pool.volumes.delete(id);
  expect(await storage.health.checkVolume(id)).toMatchObject([
    { status: 'data-loss', reason: 'DataMissing' },
  ]);
  expect(await storage.health.listUnhealthy()).toMatchObject([{ id, problems: [{ reason: 'DataMissing' }] }]);
});

it('a volume without a quota is not data loss', async () => {
  const { records, pool, id } = await startWorld();
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
  const health = new VolumeHealth({ records, pools: fixedPools([uncounted]) });
  expect(await health.check(id)).toMatchObject([{ status: 'degraded', reason: 'QuotaInconsistent' }]);
});

it('a volume that is deleted during the check is not-found, not data loss', async () => {
  const { records, pools, storage, id } = await startWorld();
  const readMounts = async (): Promise<readonly MountEntry[]> => {
    if (records.volumes.has(id)) await storage.volumes.delete(id);
    return [];
  };
  const health = new VolumeHealth({ records, pools, readMounts });
  await expect(health.check(id)).rejects.toMatchObject({ kind: 'not-found' });
  expect(await health.list()).toEqual([]);
});

it('a pool that is not open makes its volumes inaccessible, without data loss', async () => {
  const world = await startWorld();
  const health = new VolumeHealth({ records: world.records, pools: closed(world) });
  expect(await health.check(world.id)).toMatchObject([
    { status: 'inaccessible', reason: 'PoolUnavailable', message: 'pool default: no such device' },
  ]);
  expect(await health.checkPools()).toEqual([
    { status: 'unreachable', reason: 'PoolUnavailable', message: 'pool default: no such device' },
  ]);
});

it('a pool that is not configured any more is reported while it has volumes', async () => {
  const { records, id } = await startWorld();
  const health = new VolumeHealth({ records, pools: fixedPools([]) });
  expect(await health.check(id)).toMatchObject([{ reason: 'PoolUnavailable' }]);
  expect(await health.checkPools()).toMatchObject([{ status: 'unreachable' }]);
});

it('a volume that is published but not mounted is reported for that path', async () => {
  const { storage, pool, id } = await startWorld();
  await storage.staging.stage(id, '/staging');
  const access = { flags: [], readonly: false, accessMode: 'SINGLE_NODE_WRITER' } as const;
  await storage.staging.publish({ volumeId: id, stagingPath: '/staging', target: '/pods/a', ...access });
  expect(await storage.health.checkVolume(id, '/pods/a')).toEqual([]);
  pool.mounted.clear();
  expect(await storage.health.checkVolume(id, '/pods/a')).toMatchObject([
    { status: 'inaccessible', reason: 'NotMounted' },
  ]);
  // A record of before a reboot says nothing about the volume itself, nor does a path where it
  // never was.
  expect(await storage.health.checkVolume(id)).toEqual([]);
  expect(await storage.health.checkVolume(id, '/pods/b')).toEqual([]);
});

it('a file system that became read-only is reported, a read-only mount is not', async () => {
  const { storage, records, pools, id } = await startWorld();
  await storage.staging.stage(id, '/staging');
  const access = { flags: [], readonly: true, accessMode: 'SINGLE_NODE_WRITER' } as const;
  await storage.staging.publish({ volumeId: id, stagingPath: '/staging', target: '/pods/a', ...access });
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
  const health = new VolumeHealth({ records, pools, readMounts: async () => table });
  expect(await health.check(id)).toEqual([]);
  table = [{ ...entry, filesystemOptions: ['ro', 'errors=remount-ro'] }];
  expect(await health.check(id)).toMatchObject([{ status: 'degraded', reason: 'FilesystemReadOnly' }]);
});

it('a record that cannot be read makes its volume inaccessible', async () => {
  const { records, pools } = await startWorld();
  const id = `vol-${'a'.repeat(24)}`;
  const quarantined = [
    { file: `/state/volumes/${id}.json`, reason: 'no JSON' },
    { file: '/state/volumes/notes.txt', reason: 'no JSON' },
    { file: `/state/snapshots/snap-${'b'.repeat(24)}.json`, reason: 'no JSON' },
  ];
  const health = new VolumeHealth({ records: { ...records, quarantined }, pools });
  expect(await health.check(id)).toMatchObject([{ status: 'inaccessible', reason: 'RecordUnreadable' }]);
  expect((await health.list()).map((sick) => sick.id)).toEqual([id]);
});
