import { afterEach, expect, test } from 'vitest';
import { DATA_FINALIZER, LOCAL_VOLUMES, type LocalVolume } from '../../src/api/local-volume.ts';
import { Fault } from '../../src/core/fault.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { FakeApiClient } from '../../test/fakes/fake-api-client.ts';
import { FakeClock } from '../../test/fakes/fake-clock.ts';
import { startMemoryStorage } from '../../test/fakes/volume-store.ts';
import { LocalVolumes } from './local-volumes.ts';

const GIB = 1n << 30n;
let stop: (() => Promise<void>) | undefined;
afterEach(async () => {
  await stop?.();
  stop = undefined;
});

async function setup({
  totalBytes = 100n * GIB,
  limitsIo = false,
  before,
}: {
  totalBytes?: bigint;
  limitsIo?: boolean;
  before?: (api: FakeApiClient) => void;
} = {}) {
  const client = new FakeApiClient();
  before?.(client);
  const clock = new FakeClock();
  const { pool, storage } = await startMemoryStorage({ totalBytes, limitsIo });
  const start = async () => {
    const end = new AbortController();
    const volumes = new LocalVolumes({ nodeName: 'n1' }, { client, storage, logger: silentLogger, clock });
    const running = volumes.run(end.signal);
    stop = async () => {
      end.abort(new DOMException('stop', 'AbortError'));
      await running;
    };
    await clock.advance(100);
    return volumes;
  };
  return { client, clock, pool, storage, start };
}

async function create(client: FakeApiClient, name: string, spec: Partial<LocalVolume['spec']> = {}) {
  await client.create(LOCAL_VOLUMES, {
    metadata: { name },
    spec: {
      nodeName: 'n1',
      poolName: 'default',
      type: 'Volume',
      size: '1Gi',
      volumeMode: 'Filesystem',
      ...spec,
    },
  });
}

const read = (client: FakeApiClient, name: string) => client.get(LOCAL_VOLUMES, { name });

test('a LocalVolume of this node becomes a volume, and says so', async () => {
  const { client, clock, storage, start } = await setup();
  await start();
  await create(client, 'pvc-1');
  await create(client, 'pvc-2', { nodeName: 'n2' });
  await clock.advance(100);
  const [volume, ...others] = storage.volumes.list();
  expect(others).toEqual([]);
  expect(await read(client, 'pvc-1')).toMatchObject({
    metadata: { finalizers: [DATA_FINALIZER] },
    status: {
      phase: 'Ready',
      volumeHandle: volume?.id,
      capacity: '1Gi',
      conditions: [
        { type: 'Ready', status: 'True' },
        { type: 'Sized', status: 'True' },
      ],
    },
  });
});

test('a settled volume causes no further request', async () => {
  const { client, clock, start } = await setup();
  await start();
  await create(client, 'pvc-1');
  await clock.advance(1_000);
  const calls = client.calls.length;
  await clock.advance(600_000);
  expect(client.calls.slice(calls).filter((call) => call.startsWith('patch'))).toEqual([]);
});

test('an agent that died after making the volume finds it by its name', async () => {
  const { client, clock, storage, start } = await setup();
  const made = await storage.volumes.create({
    name: 'pvc-1',
    pool: 'default',
    range: { requiredBytes: GIB, limitBytes: 0n },
    source: undefined,
  });
  await create(client, 'pvc-1');
  await start();
  await clock.advance(100);
  expect((await read(client, 'pvc-1')).status?.volumeHandle).toBe(made.id);
  expect(storage.volumes.list()).toHaveLength(1);
});

test('a volume created for a LocalVolume that was released meanwhile is removed again', async () => {
  const { client, clock, storage, start } = await setup();
  const notFound = new Fault('not-found', 'it was released');
  await client.create(LOCAL_VOLUMES, {
    metadata: { name: 'pvc-1', finalizers: [DATA_FINALIZER] },
    spec: { nodeName: 'n1', poolName: 'default', type: 'Volume', size: '1Gi', volumeMode: 'Filesystem' },
  });
  client.failures.push({ verb: 'patch', error: notFound });
  await start();
  await clock.advance(10);
  expect(client.failures).toEqual([]);
  expect(storage.volumes.list()).toEqual([]);
});

test('a pool without room says Exhausted, and says it for good', async () => {
  const { client, clock, storage, start } = await setup({ totalBytes: 2n * GIB });
  await start();
  await create(client, 'pvc-1', { size: '1Gi' });
  await create(client, 'pvc-2', { size: '1.5Gi' });
  await clock.advance(1_000);
  expect((await read(client, 'pvc-2')).status).toMatchObject({
    phase: 'Exhausted',
    message: expect.stringContaining('pool default has') as string,
    conditions: [{ type: 'Ready', status: 'False', reason: 'Exhausted' }],
  });
  await client.delete(LOCAL_VOLUMES, { name: 'pvc-1' });
  await clock.advance(3_600_000);
  expect(storage.volumes.list()).toEqual([]);
});

test('a volume grows with its spec; one that cannot stays Ready and says why, until there is room', async () => {
  const { client, clock, start } = await setup({ totalBytes: 4n * GIB });
  await start();
  await create(client, 'pvc-1');
  await create(client, 'pvc-2');
  await clock.advance(100);
  const grow = (name: string, size: string) =>
    client.patch(LOCAL_VOLUMES, { name }, { merge: { spec: { size } } });
  await grow('pvc-1', '2Gi');
  await clock.advance(100);
  expect((await read(client, 'pvc-1')).status).toMatchObject({ phase: 'Ready', capacity: '2Gi' });
  await grow('pvc-1', '3Gi');
  await clock.advance(100);
  const { status } = await read(client, 'pvc-1');
  expect(status).toMatchObject({ phase: 'Ready', capacity: '2Gi' });
  expect(status?.conditions).toContainEqual(
    expect.objectContaining({ type: 'Sized', status: 'False', reason: 'Exhausted' }),
  );
  await client.delete(LOCAL_VOLUMES, { name: 'pvc-2' });
  await clock.advance(61_000);
  expect((await read(client, 'pvc-1')).status).toMatchObject({ phase: 'Ready', capacity: '3Gi' });
});

test('snapshots are taken and restored by name, in whatever order they are asked for', async () => {
  const { client, clock, storage, start } = await setup();
  await create(client, 'a-restored', { source: { snapshotName: 'b-snapshot' } });
  await create(client, 'b-snapshot', { type: 'Snapshot', source: { volumeName: 'c-volume' } });
  await create(client, 'c-volume');
  await start();
  await clock.advance(5_000);
  for (const name of ['a-restored', 'b-snapshot', 'c-volume']) {
    expect((await read(client, name)).status?.phase, name).toBe('Ready');
  }
  const [snapshot] = storage.snapshots.list();
  expect(storage.volumes.list().find(({ name }) => name === 'a-restored')?.source?.id).toBe(snapshot?.id);
});

test('what waits for its source goes on as soon as that is there', async () => {
  const { client, clock, pool, start } = await setup();
  const { ensureVolume } = pool.backend;
  Object.assign(pool.backend, {
    ensureVolume: () => Promise.reject(new Fault('unavailable', 'the pool is slow')),
  });
  await start();
  await create(client, 'pvc-1');
  await create(client, 'restored', { source: { snapshotName: 'snapshot' } });
  await create(client, 'snapshot', { type: 'Snapshot', source: { volumeName: 'pvc-1' } });
  // By now all of them look again every 30 s.
  await clock.advance(600_000);
  expect((await read(client, 'restored')).status?.phase).toBe('Pending');
  Object.assign(pool.backend, { ensureVolume });
  const merge = { metadata: { annotations: { seen: 'yes' } } };
  await client.patch(LOCAL_VOLUMES, { name: 'pvc-1' }, { merge });
  await clock.advance(10);
  expect((await read(client, 'restored')).status?.phase).toBe('Ready');
});

test('the data is deleted before the object is', async () => {
  const { client, clock, pool, start } = await setup();
  await start();
  await create(client, 'pvc-1');
  await clock.advance(100);
  client.failures.push({ verb: 'patch', error: new Fault('unavailable', 'the server is down') });
  await client.delete(LOCAL_VOLUMES, { name: 'pvc-1' });
  await clock.advance(10);
  expect(pool.volumes.size).toBe(0);
  expect((await read(client, 'pvc-1')).metadata?.finalizers).toEqual([DATA_FINALIZER]);
  await clock.advance(1_000);
  await expect(read(client, 'pvc-1')).rejects.toMatchObject({ kind: 'not-found' });
});

test('a volume that a pod still has is kept, and says by whom', async () => {
  const { client, clock, storage, start } = await setup();
  await start();
  await create(client, 'pvc-1');
  await clock.advance(100);
  const id = storage.volumes.list()[0]?.id ?? '';
  await storage.staging.stage(id, '/staging');
  await storage.staging.publish({
    volumeId: id,
    stagingPath: '/staging',
    target: '/pods/p1',
    readonly: false,
    flags: [],
    accessMode: 'SINGLE_NODE_WRITER',
  });
  await client.delete(LOCAL_VOLUMES, { name: 'pvc-1' });
  await clock.advance(1_000);
  const { status } = await read(client, 'pvc-1');
  expect(status).toMatchObject({
    phase: 'Ready',
    volumeHandle: id,
    message: expect.stringContaining('/pods/p1') as string,
  });
  expect(status?.conditions).toContainEqual(
    expect.objectContaining({ type: 'Deleted', status: 'False', reason: 'Precondition' }),
  );
  await storage.staging.unpublish(id, '/pods/p1');
  await clock.advance(60_000);
  await expect(read(client, 'pvc-1')).rejects.toMatchObject({ kind: 'not-found' });
});

test('a volume that has vanished is reported lost and not re-created', async () => {
  const { client, clock, storage, start } = await setup();
  await start();
  await create(client, 'pvc-1');
  await clock.advance(100);
  const id = storage.volumes.list()[0]?.id ?? '';
  await stop?.();
  await storage.volumes.delete(id);
  await start();
  await clock.advance(100);
  expect((await read(client, 'pvc-1')).status).toMatchObject({
    phase: 'Lost',
    volumeHandle: id,
    capacity: '1Gi',
  });
  expect(storage.volumes.list()).toEqual([]);
});

test('an outage of the API, and objects that vanish during it, change nothing on disk', async () => {
  const { client, clock, storage, start } = await setup();
  await start();
  await create(client, 'pvc-1');
  await clock.advance(100);
  const down = new Fault('unavailable', 'the server is down');
  for (let count = 0; count < 5; count += 1) client.failures.push({ verb: 'watch', error: down });
  client.endWatches(down);
  await client.patch(LOCAL_VOLUMES, { name: 'pvc-1' }, { merge: { metadata: { finalizers: [] } } });
  await client.delete(LOCAL_VOLUMES, { name: 'pvc-1' });
  await clock.advance(600_000);
  expect(storage.volumes.list()).toHaveLength(1);
});

const modifiedOf = ({ status }: LocalVolume) => status?.conditions?.find(({ type }) => type === 'Modified');

test('a volume has the attributes that its LocalVolume says, and others when that changes', async () => {
  const { client, clock, storage, start } = await setup({ limitsIo: true });
  await start();
  await create(client, 'pvc-1', { mutableParameters: { writeBandwidth: '4Mi', readIOPS: 'max' } });
  await clock.advance(100);
  expect(storage.volumes.list()[0]?.attributes).toEqual({ writeBandwidth: 4n << 20n });
  const made = await read(client, 'pvc-1');
  expect(made.status?.mutableParameters).toEqual({ writeBandwidth: '4194304' });
  expect(modifiedOf(made)).toMatchObject({ status: 'True', observedGeneration: made.metadata?.generation });

  const change = async (mutableParameters: Record<string, string | null>, size = '1Gi') => {
    await client.patch(LOCAL_VOLUMES, { name: 'pvc-1' }, { merge: { spec: { mutableParameters, size } } });
    await clock.advance(100);
    return await read(client, 'pvc-1');
  };
  const changed = await change({ writeBandwidth: null, readIOPS: '100' });
  expect(storage.volumes.list()[0]?.attributes).toEqual({ readIOPS: 100n });
  expect(changed.status?.mutableParameters).toEqual({ readIOPS: '100' });
  expect(modifiedOf(changed)).toMatchObject({
    status: 'True',
    observedGeneration: changed.metadata?.generation,
  });

  // What cannot be leaves what is, and does not keep the volume from growing.
  const refused = await change({ speed: '1' }, '2Gi');
  expect(refused.status).toMatchObject({ capacity: '2Gi', mutableParameters: { readIOPS: '100' } });
  expect(modifiedOf(refused)).toMatchObject({ status: 'False', reason: 'Invalid' });
  expect(modifiedOf(refused)?.message).toContain('"speed" is unknown');
  const lifted = await change({ speed: null, readIOPS: 'max' }, '2Gi');
  expect(storage.volumes.list()[0]?.attributes).toBeUndefined();
  expect(modifiedOf(lifted)).toMatchObject({ status: 'True' });
});

test('attributes that the pool cannot hold are refused, and the volume serves on', async () => {
  const { client, clock, start } = await setup();
  await start();
  await create(client, 'pvc-1');
  await clock.advance(100);
  const merge = { spec: { mutableParameters: { readIOPS: '100' } } };
  await client.patch(LOCAL_VOLUMES, { name: 'pvc-1' }, { merge });
  await clock.advance(100);
  const object = await read(client, 'pvc-1');
  expect(object.status?.phase).toBe('Ready');
  expect(modifiedOf(object)).toMatchObject({ status: 'False', reason: 'Invalid' });
});

test('members of a group are taken together, and their data goes with the last of them', async () => {
  const { client, clock, storage, start } = await setup();
  await start();
  await create(client, 'pvc-1');
  await create(client, 'pvc-2');
  await clock.advance(100);
  const volumeNames = ['pvc-1', 'pvc-2'];
  const nameOfMember = (volumeName: string): string => {
    const id = storage.volumes.list().find(({ name }) => name === volumeName)?.id ?? '';
    return `group-of-two.${id}`;
  };
  const members = volumeNames.map(nameOfMember);
  for (const [index, volumeName] of volumeNames.entries()) {
    await create(client, members[index] ?? '', {
      type: 'Snapshot',
      source: { volumeName },
      group: { name: 'group-of-two', volumeNames },
    });
  }
  await clock.advance(5_000);
  const [group, ...others] = storage.groups.list();
  expect(others).toEqual([]);
  for (const [index, member] of members.entries()) {
    expect((await read(client, member)).status).toMatchObject({
      phase: 'Ready',
      volumeHandle: group?.members.find(({ name }) => name === member)?.id,
      groupHandle: group?.id,
    });
    expect(
      group?.members.map(({ name }) => name),
      String(index),
    ).toContain(member);
  }
  await create(client, 'restored', { source: { snapshotName: members[0] } });
  await clock.advance(1_000);
  expect((await read(client, 'restored')).status?.phase).toBe('Ready');

  await client.delete(LOCAL_VOLUMES, { name: members[0] ?? '' });
  await clock.advance(1_000);
  expect((await read(client, members[0] ?? '')).status?.message).toContain('which is not being deleted');
  expect(storage.snapshots.list()).toHaveLength(2);
  // By now the one that waits looks again every 30 s.
  await clock.advance(600_000);
  await client.delete(LOCAL_VOLUMES, { name: members[1] ?? '' });
  await clock.advance(10);
  expect(storage.snapshots.list()).toEqual([]);
  for (const name of members) await expect(read(client, name)).rejects.toMatchObject({ kind: 'not-found' });
});

test('a group of which a volume is not there is not taken, and each member says so', async () => {
  const { client, clock, storage, start } = await setup();
  await start();
  await create(client, 'pvc-1');
  const group = { name: 'group-of-two', volumeNames: ['pvc-1', 'pvc-9'] };
  await create(client, 'group-of-two.a', { type: 'Snapshot', source: { volumeName: 'pvc-1' }, group });
  await clock.advance(5_000);
  expect((await read(client, 'group-of-two.a')).status).toMatchObject({
    phase: 'Failed',
    message: 'the source pvc-9 does not exist on this node',
  });
  expect(storage.snapshots.list()).toEqual([]);
});
