import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { createFakeDisk, FakePool, openFakeRecords, startStorage } from '../../../test/fakes/fake-storage.ts';
import type { EphemeralRequest } from './ephemeral-volumes.ts';
import type { StorageServices } from '../services.ts';

const HANDLE = `csi-${'0'.repeat(64)}`;
let pool: FakePool;
let disk: ReturnType<typeof createFakeDisk>;
let storage: StorageServices;

const restart = async (): Promise<void> => {
  storage = await startStorage([pool], openFakeRecords(disk));
};
const inline = (target: string, more: Partial<EphemeralRequest> = {}): EphemeralRequest => ({
  handle: HANDLE,
  target,
  pool: undefined,
  range: { requiredBytes: 1n << 20n, limitBytes: 0n },
  readonly: false,
  flags: [],
  accessMode: 'SINGLE_NODE_WRITER',
  ...more,
});

beforeEach(async () => {
  pool = new FakePool();
  disk = createFakeDisk();
  await restart();
});

it('an ephemeral volume is created when published and deleted when unpublished, both idempotently', async () => {
  for (let time = 0; time < 3; time += 1) await storage.ephemerals.publish(inline('/pods/a/v'));
  const volume = storage.ephemerals.find(HANDLE);
  expect(volume).toMatchObject({ sizeBytes: 1n << 20n, published: [{ target: '/pods/a/v' }] });
  expect([...pool.mounted.keys()]).toEqual(['/pods/a/v']);
  for (let time = 0; time < 3; time += 1) await storage.ephemerals.unpublish(HANDLE, '/pods/a/v');
  expect([pool.volumes.size, pool.mounted.size, pool.attached.size, disk.volumes.size]).toEqual([0, 0, 0, 0]);
});

it('it is not listed', async () => {
  await storage.ephemerals.publish(inline('/pods/a/v'));
  expect(storage.volumes.list()).toEqual([]);
  pool.volumes.clear();
  expect(await storage.health.listUnhealthy()).toEqual([]);
});

it('it keeps its data over a restart, and over a reboot that unmounts it', async () => {
  await storage.ephemerals.publish(inline('/pods/a/v'));
  const id = storage.ephemerals.find(HANDLE)?.id ?? '';
  pool.write(id, ['data']);
  await restart();
  pool.mounted.clear();
  pool.attached.clear();
  await restart();
  await storage.ephemerals.publish(inline('/pods/a/v'));
  expect(storage.ephemerals.find(HANDLE)?.id).toBe(id);
  expect(pool.volumes.get(id)?.content).toEqual(['data']);
  expect(pool.mounted.get('/pods/a/v')?.volumeId).toBe(id);
});

it('a volume that could not be published leaves nothing behind', async () => {
  pool.mounted.set('/pods/a/v', { volumeId: 'other', plan: { readonly: false, set: 0n, clear: 0n } });
  await expect(storage.ephemerals.publish(inline('/pods/a/v'))).rejects.toMatchObject({
    kind: 'precondition',
  });
  expect([pool.volumes.size, disk.volumes.size]).toEqual([0, 0]);
});

it('it is not confused with a persistent volume of that name, whichever is first', async () => {
  const range = { requiredBytes: 1n << 20n, limitBytes: 0n };
  const persistent = { name: HANDLE, pool: undefined, range, source: undefined };
  const { id } = await storage.volumes.create(persistent);
  await expect(storage.ephemerals.publish(inline('/pods/a/v'))).rejects.toMatchObject({ kind: 'conflict' });
  await storage.ephemerals.unpublish(HANDLE, '/pods/a/v');
  expect(pool.volumes.has(id)).toBe(true);
  await storage.volumes.delete(id);
  await storage.ephemerals.publish(inline('/pods/a/v'));
  await expect(storage.volumes.create(persistent)).rejects.toMatchObject({ kind: 'conflict' });
  await expect(storage.ephemerals.publish(inline('/pods/b/v', { handle: id }))).rejects.toMatchObject({
    kind: 'invalid',
  });
});

it('the volumes of pods without a directory are collected, and no others', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'keelson-pods-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const pods = join(directory, 'pods');
  const place = (pod: string): string => join(pods, pod, 'volumes', 'mount');
  const publish = (handle: string, target: string) => storage.ephemerals.publish(inline(target, { handle }));
  await publish('csi-here', place('here'));
  await publish('csi-removed', place('removed'));
  await publish('csi-elsewhere', '/elsewhere/v');
  const handles = async (): Promise<string[]> =>
    (await storage.health.report()).volumes.map(({ name }) => name).sort();

  await storage.ephemerals.collect(pods);
  expect(await handles()).toEqual(['csi-elsewhere', 'csi-here', 'csi-removed']);
  await mkdir(join(pods, 'here'), { recursive: true });
  await storage.ephemerals.collect(pods);
  expect(await handles()).toEqual(['csi-elsewhere', 'csi-here']);
});
