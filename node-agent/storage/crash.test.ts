import { describe, expect, it } from 'vitest';
import { ANY_SIZE } from '../../src/core/volumes/volume-size.ts';
import {
  CrashPoint,
  createFakeDisk,
  FakePool,
  type FakeDisk,
  openFakeRecords,
  startStorage,
} from '../../test/fakes/fake-storage.ts';

type Storage = Awaited<ReturnType<typeof startStorage>>;

const GIB = 1n << 30n;
const create = (storage: Storage, name: string, source?: { kind: 'volume' | 'snapshot'; id: string }) =>
  storage.volumes.create({ name, pool: undefined, range: ANY_SIZE, source });

interface World {
  readonly pool: FakePool;
  readonly disk: FakeDisk;
}

function start({ pool, disk }: World, crash?: CrashPoint): Promise<Storage> {
  const records = openFakeRecords(disk);
  if (crash === undefined) return startStorage([pool], records);
  const { backend } = pool;
  const cutting = {
    ...backend,
    prepareSnapshots: async (...requests: Parameters<typeof backend.prepareSnapshots>) =>
      crash.guard(await backend.prepareSnapshots(...requests), ['take', 'finish']),
  };
  const guarded = {
    name: pool.name,
    policy: pool.policy,
    checkHealth: () => pool.checkHealth(),
    backend: crash.guard(cutting, [
      'ensureVolume',
      'ensureSnapshot',
      'prepareSnapshots',
      'setLimit',
      'discard',
      'collect',
      'usage',
    ]),
    mounts: crash.guard(pool.mounts, ['mount', 'unmount', 'attach', 'detach', 'grow', 'flush', 'freeze']),
  };
  const guardedRecords = crash.guard(records, ['saveVolume', 'saveSnapshot', 'remove']);
  return startStorage([guarded], guardedRecords);
}

const ephemeral = (handle: string) => ({
  handle,
  pool: undefined,
  range: ANY_SIZE,
  target: `/pods/${handle}`,
  readonly: false,
  flags: [],
  accessMode: 'SINGLE_NODE_WRITER' as const,
});

interface Prepared {
  readonly volumeId: string;
  readonly volumeIds: readonly string[];
  readonly groupId: string;
  readonly snapshotId: string;
}

/** A volume with data, a snapshot of it, staged; another one, and a group of both. */
async function prepare(world: World): Promise<Prepared> {
  const storage = await start(world);
  const { id: volumeId } = await create(storage, 'first');
  world.pool.write(volumeId, ['data']);
  world.pool.charged.set(volumeId, GIB / 4n);
  const { id: snapshotId } = await storage.snapshots.create('before', volumeId);
  await storage.staging.stage(volumeId, '/staging');
  const volumeIds = [volumeId, (await create(storage, 'other')).id];
  const { id: groupId } = await storage.groups.create('old-group', volumeIds);
  await storage.ephemerals.publish(ephemeral('csi-old'));
  return { volumeId, volumeIds, snapshotId, groupId };
}

const OPERATIONS: Readonly<Record<string, (storage: Storage, prepared: Prepared) => Promise<unknown>>> = {
  'create a volume': (storage) => create(storage, 'second'),
  'restore a snapshot': (storage, { snapshotId }) =>
    create(storage, 'second', { kind: 'snapshot', id: snapshotId }),
  'clone a volume': (storage, { volumeId }) => create(storage, 'second', { kind: 'volume', id: volumeId }),
  'take a snapshot': (storage, { volumeId }) => storage.snapshots.create('second', volumeId),
  'take a group snapshot': (storage, { volumeIds }) => storage.groups.create('second', volumeIds),
  'delete a group snapshot': (storage, { groupId }) => storage.groups.delete(groupId, []),
  'delete a volume': (storage, { volumeId }) => storage.volumes.delete(volumeId),
  'delete a snapshot': (storage, { snapshotId }) => storage.snapshots.delete(snapshotId),
  'expand a volume': (storage, { volumeId }) =>
    storage.volumes.expand(volumeId, { requiredBytes: 3n * GIB, limitBytes: 0n }),
  'publish a volume': (storage, { volumeId }) =>
    storage.staging.publish({
      volumeId,
      stagingPath: '/staging',
      target: '/target',
      readonly: false,
      flags: [],
      accessMode: 'SINGLE_NODE_WRITER',
    }),
  'unpublish a volume': (storage, { volumeId }) => storage.staging.unpublish(volumeId, '/target'),
  'publish an ephemeral volume': (storage) => storage.ephemerals.publish(ephemeral('csi-new')),
  'unpublish an ephemeral volume': (storage) => storage.ephemerals.unpublish('csi-old', '/pods/csi-old'),
  'stage a volume': (storage, { volumeId }) => storage.staging.stage(volumeId, '/staging-of-another'),
  'unstage a volume': (storage, { volumeId }) => storage.staging.unstage(volumeId, '/staging'),
};

describe.each(['simple', 'classic', 'file'] as const)('with sizes held by %s', (quotaMode) => {
  describe.each(Object.entries(OPERATIONS))('%s', (_, operate) => {
    it.each([false, true])(
      'can be killed at every step and repeated (after the effect: %s)',
      async (after) => {
        let steps = 0;
        for (let step = 1; ; step += 1) {
          const world = { pool: new FakePool({ quotaMode }), disk: createFakeDisk() };
          const prepared = await prepare(world);
          const crash = new CrashPoint({ step: step + RECOVERY_STEPS, after });
          const doomed = await start(world, crash);
          const outcome = await operate(doomed, prepared).then(
            () => 'done',
            () => 'crashed',
          );
          if (!crash.fired) {
            expect(outcome).toBe('done');
            steps = step - 1;
            break;
          }
          const restarted = await start(world);
          await expectNothingLeaks(restarted, world);
          await operate(restarted, prepared);
          await operate(restarted, prepared);
          await expectNothingLeaks(restarted, world);
          await removeAll(restarted);
          expect([...world.pool.volumes.keys(), ...world.pool.snapshots.keys()]).toEqual([]);
          expect([...world.disk.volumes.keys(), ...world.disk.snapshots.keys()]).toEqual([]);
        }
        expect(steps).toBeGreaterThan(0);
      },
    );
  });
});

/**
 * Starting on a healthy state asks for the usage once, and attaches the two volumes that are
 * staged.
 */
const RECOVERY_STEPS = 3;

async function expectNothingLeaks(storage: Storage, { pool, disk }: World): Promise<void> {
  const { orphans, volumes, snapshots } = await storage.health.report();
  expect(orphans).toEqual([]);
  expect(
    [...disk.volumes.values(), ...disk.snapshots.values()].filter(({ phase }) => phase !== 'ready'),
  ).toEqual([]);
  expect([...pool.volumes.keys()].sort()).toEqual(volumes.map(({ id }) => id));
  expect([...pool.snapshots.keys()].sort()).toEqual(snapshots.map(({ id }) => id));
  expect(new Set(volumes.map(({ name }) => name)).size).toBe(volumes.length);
  for (const { members } of storage.groups.list()) expect(members).toHaveLength(2);
  const holders = [...volumes, ...snapshots];
  for (const { id, sizeBytes } of volumes) {
    const pinned = holders.reduce(
      (most, { pins }) => ((pins[id] ?? 0n) > most ? (pins[id] ?? 0n) : most),
      0n,
    );
    const wanted = pool.backend.features.enforcement === 'simple' ? sizeBytes + pinned : sizeBytes;
    expect(pool.volumes.get(id)?.limitBytes).toBe(wanted);
  }
}

async function removeAll(storage: Storage): Promise<void> {
  for (const { name, ephemeral: isEphemeral, published } of (await storage.health.report()).volumes) {
    const [{ target } = { target: '' }] = published;
    if (isEphemeral === true) await storage.ephemerals.unpublish(name, target);
  }
  for (const { id, published } of storage.volumes.list()) {
    for (const { target } of published) await storage.staging.unpublish(id, target);
    await storage.volumes.delete(id);
  }
  for (const { id } of storage.groups.list()) await storage.groups.delete(id, []);
  for (const { id } of storage.snapshots.list()) await storage.snapshots.delete(id);
}
