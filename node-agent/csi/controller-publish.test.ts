import { expect, it } from 'vitest';
import { ANY_SIZE } from '../../src/core/volumes/volume-size.ts';
import { startMemoryStorage } from '../../test/fakes/volume-store.ts';
import { createPublishing, requireUnpublished } from './controller-publish.ts';

const context = {} as never;
const WRITER = {
  mount: { fs_type: '', mount_flags: [], volume_mount_group: '' },
  access_mode: { mode: 'SINGLE_NODE_WRITER' },
};

async function setup(maxVolumesPerNode = 10) {
  const { storage, pool } = await startMemoryStorage({ totalBytes: 100n << 30n });
  const calls = createPublishing({ nodeName: 'n1', maxVolumesPerNode }, { storage });
  const create = async (name: string): Promise<string> =>
    (await storage.volumes.create({ name, pool: undefined, range: ANY_SIZE, source: undefined })).id;
  const publish = (volume_id: string, more: object = {}) =>
    calls.ControllerPublishVolume?.(
      { volume_id, node_id: 'n1', volume_capability: WRITER, readonly: false, ...more } as never,
      context,
    );
  const unpublish = (volume_id: string, node_id = 'n1') =>
    calls.ControllerUnpublishVolume?.({ volume_id, node_id } as never, context);
  return { storage, pool, create, publish, unpublish };
}

it('a volume is published to its own node, in one way, until it is unpublished', async () => {
  const { storage, create, publish, unpublish } = await setup();
  const id = await create('v');
  await publish(id);
  await publish(id);
  expect(storage.volumes.get(id).controllerPublication).toEqual({
    accessMode: 'SINGLE_NODE_WRITER',
    readonly: false,
  });
  await expect(publish(id, { readonly: true })).rejects.toMatchObject({ kind: 'conflict' });
  const single = { ...WRITER, access_mode: { mode: 'SINGLE_NODE_SINGLE_WRITER' } };
  await expect(publish(id, { volume_capability: single })).rejects.toMatchObject({ kind: 'conflict' });
  expect(() => requireUnpublished(id, storage.volumes)).toThrow(/published to its node/);
  await unpublish(id, 'n2');
  expect(storage.volumes.get(id).controllerPublication).toBeDefined();
  await unpublish(id, '');
  await unpublish(id);
  expect(storage.volumes.get(id).controllerPublication).toBeUndefined();
  expect(() => requireUnpublished(id, storage.volumes)).not.toThrow();
  await publish(id, { readonly: true });
});

it.each([
  ['another node', { node_id: 'n2' }, 'not-found'],
  ['no node', { node_id: '' }, 'invalid'],
  ['no capability', { volume_capability: null }, 'invalid'],
  [
    'a mode that spans nodes',
    { volume_capability: { ...WRITER, access_mode: { mode: 'MULTI_NODE_MULTI_WRITER' } } },
    'invalid',
  ],
  [
    'a device of a volume with files',
    { volume_capability: { block: {}, access_mode: WRITER.access_mode } },
    'invalid',
  ],
])('is refused for %s', async (_, more, kind) => {
  const { create, publish } = await setup();
  await expect(publish(await create('v'), more)).rejects.toMatchObject({ kind });
});

it('publishing an unknown volume fails with not-found, and unpublishing it succeeds', async () => {
  const { publish, unpublish } = await setup();
  const id = `vol-${'0'.repeat(24)}`;
  await expect(publish(id)).rejects.toMatchObject({ kind: 'not-found' });
  await unpublish(id);
  await expect(unpublish('')).rejects.toMatchObject({ kind: 'invalid' });
});

it('publishes at most maxVolumesPerNode volumes', async () => {
  const { create, publish, unpublish } = await setup(2);
  const [a, b, c] = [await create('a'), await create('b'), await create('c')];
  await publish(a);
  await publish(b);
  await expect(publish(c)).rejects.toMatchObject({ kind: 'exhausted' });
  await publish(a);
  await unpublish(b);
  await publish(c);
});

it('unpublishing fails while a pod uses the volume', async () => {
  const { storage, create, publish, unpublish } = await setup();
  const id = await create('v');
  await publish(id);
  await storage.staging.stage(id, '/staging');
  const target = { target: '/pod', readonly: false, flags: [], accessMode: 'SINGLE_NODE_WRITER' } as const;
  await storage.staging.publish({ volumeId: id, stagingPath: '/staging', ...target });
  await expect(unpublish(id)).rejects.toMatchObject({ kind: 'precondition' });
  await storage.staging.unpublish(id, '/pod');
  await unpublish(id);
});
