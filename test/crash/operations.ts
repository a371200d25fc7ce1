import assert from 'node:assert/strict';
import * as see from './leaks.ts';
import type { Operation } from './operation.ts';
import { POOL_OPERATIONS } from './pool-operations.ts';
import { copies, create, remove, removeNew, removeSnapshot } from './requests.ts';
import {
  type Form,
  findSnapshot,
  findVolume,
  idOf,
  MIB,
  placesOf,
  publish,
  read,
  request,
  runUntil,
  type Scene,
  SECRETS,
  stage,
  unpublish,
  unstage,
  VOLUME_BYTES,
  write,
} from './scene.ts';
import { STREAM_OPERATIONS } from './stream-operations.ts';

const limitsIo = ({ backend, volumeMode }: Form): boolean => backend === 'image' || volumeMode === 'Block';
const removeGroup = (scene: Scene, name: string): Promise<void> =>
  scene.storage.groups.delete(
    scene.storage.groups.list().find((group) => group.name === name)?.id ?? 'none',
    [],
  );
const groupOfTwo = (scene: Scene, name: string): Promise<unknown> =>
  scene.storage.groups.create(name, [idOf(findVolume(scene, 'base')), idOf(findVolume(scene, 'other'))]);
const hasVolume = (name: string) => async (scene: Scene) =>
  assert.equal(findVolume(scene, name)?.sizeBytes, VOLUME_BYTES, `volume ${name}`);
const hasNoVolume = (name: string) => async (scene: Scene) =>
  assert.equal(findVolume(scene, name), undefined, `volume ${name}`);
const copied = async (scene: Scene): Promise<void> => assert.equal(await read(scene, 'new'), 'base');
const staged = async (scene: Scene): Promise<void> => {
  await create(scene, 'new');
  await stage(scene, 'new');
};
const hidden = async (scene: Scene): Promise<void> => {
  await unpublish(scene, 'new');
  await unstage(scene, 'new');
  await remove(scene, 'new');
};
const hasXfs = ({ backend, volumeMode, encrypted }: Form): boolean =>
  backend === 'image' && volumeMode === 'Filesystem' && encrypted !== true;
const createXfs = (scene: Scene): Promise<unknown> => {
  const range = { requiredBytes: 320n * MIB, limitBytes: 0n };
  return scene.storage.volumes.create({ ...request(scene, 'new'), fsType: 'xfs', range });
};
const expandXfs = (scene: Scene): Promise<unknown> => {
  const range = { requiredBytes: 640n * MIB, limitBytes: 0n };
  return scene.storage.volumes.expand(idOf(findVolume(scene, 'new')), range);
};
const grown = { requiredBytes: 2n * VOLUME_BYTES, limitBytes: 0n };
const LIMITS = { readIOPS: 100n };

/** All operations of the service, by name. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  'create a volume': { run: (scene) => create(scene, 'new'), check: hasVolume('new'), undo: removeNew },
  'restore a snapshot': {
    isFor: copies,
    run: (scene) =>
      create(scene, 'new', { kind: 'snapshot', id: idOf(findSnapshot(scene, 'base-snapshot')) }),
    check: copied,
    undo: removeNew,
  },
  'restore a snapshot to more room': {
    isFor: copies,
    run: (scene) =>
      scene.storage.volumes.create({
        ...request(scene, 'new'),
        range: grown,
        source: { kind: 'snapshot', id: idOf(findSnapshot(scene, 'base-snapshot')) },
      }),
    check: copied,
    undo: removeNew,
  },
  'clone a volume': {
    isFor: copies,
    run: (scene) => create(scene, 'new', { kind: 'volume', id: idOf(findVolume(scene, 'base')) }),
    check: copied,
    undo: removeNew,
  },
  'clone a volume in use': {
    isFor: copies,
    prepare: (scene) => stage(scene, 'base'),
    run: (scene) => create(scene, 'new', { kind: 'volume', id: idOf(findVolume(scene, 'base')) }),
    check: copied,
    undo: async (scene) => {
      await removeNew(scene);
      await unstage(scene, 'base');
    },
  },
  'delete a volume': {
    prepare: (scene) => create(scene, 'new'),
    run: removeNew,
    check: hasNoVolume('new'),
  },
  'delete a volume that is staged': { prepare: staged, run: removeNew, check: hasNoVolume('new') },
  'take a snapshot': {
    isFor: copies,
    run: (scene) => scene.storage.snapshots.create('new', idOf(findVolume(scene, 'base'))),
    check: async (scene) => assert.ok(findSnapshot(scene, 'new')),
    undo: (scene) => removeSnapshot(scene, 'new'),
  },
  'delete a snapshot': {
    isFor: copies,
    prepare: (scene) => scene.storage.snapshots.create('new', idOf(findVolume(scene, 'base'))),
    run: (scene) => removeSnapshot(scene, 'new'),
    check: async (scene) => assert.equal(findSnapshot(scene, 'new'), undefined),
  },
  'take a group snapshot': {
    isFor: copies,
    prepare: (scene) => stage(scene, 'other'),
    run: (scene) => groupOfTwo(scene, 'new'),
    check: async (scene) => assert.equal(scene.storage.groups.list()[0]?.members.length, 2),
    undo: async (scene) => {
      await removeGroup(scene, 'new');
      await unstage(scene, 'other');
    },
  },
  'delete a group snapshot': {
    isFor: copies,
    prepare: (scene) => groupOfTwo(scene, 'new'),
    run: (scene) => removeGroup(scene, 'new'),
    check: async (scene) => assert.deepEqual(scene.storage.groups.list(), []),
  },
  'expand a volume': {
    prepare: (scene) => create(scene, 'new'),
    run: (scene) => scene.storage.volumes.expand(idOf(findVolume(scene, 'new')), grown),
    check: async (scene) => {
      await stage(scene, 'new');
      // The file system uses some of it for metadata.
      assert.ok((await shownBytes(scene)) > VOLUME_BYTES + 8n * MIB);
    },
    undo: hidden,
  },
  'stage a volume that has grown': {
    prepare: async (scene) => {
      await create(scene, 'new');
      await scene.storage.volumes.expand(idOf(findVolume(scene, 'new')), grown);
    },
    run: (scene) => stage(scene, 'new'),
    check: async (scene) => assert.ok((await shownBytes(scene)) > VOLUME_BYTES + 8n * MIB),
    undo: hidden,
  },
  'stage an XFS that has grown': {
    isFor: hasXfs,
    prepare: async (scene) => {
      await createXfs(scene);
      await expandXfs(scene);
    },
    run: (scene) => stage(scene, 'new'),
    check: async (scene) => assert.ok((await shownBytes(scene)) > 500n * MIB),
    undo: hidden,
  },
  'expand an XFS in use': {
    isFor: hasXfs,
    prepare: async (scene) => {
      await createXfs(scene);
      await stage(scene, 'new');
    },
    run: expandXfs,
    check: async (scene) => assert.ok((await shownBytes(scene)) > 500n * MIB),
    undo: hidden,
  },
  'expand a device in use': {
    isFor: ({ volumeMode }) => volumeMode === 'Block',
    prepare: staged,
    run: (scene) => scene.storage.volumes.expand(idOf(findVolume(scene, 'new')), grown),
    check: async (scene) => assert.equal(await see.deviceBytes(scene, 'new'), 2n * VOLUME_BYTES),
    undo: hidden,
  },
  'modify a volume in use': {
    isFor: limitsIo,
    prepare: staged,
    run: (scene) => scene.storage.volumes.modify(idOf(findVolume(scene, 'new')), LIMITS),
    check: async (scene) => assert.deepEqual(Object.values(await scene.limits()), ['readIOPS=100']),
    undo: hidden,
  },
  'unstage a volume with limits': {
    isFor: limitsIo,
    prepare: async (scene) => {
      await scene.storage.volumes.create({ ...request(scene, 'new'), attributes: LIMITS });
      await stage(scene, 'new');
    },
    run: (scene) => unstage(scene, 'new'),
    check: async (scene) => assert.deepEqual(await scene.limits(), {}),
    undo: removeNew,
  },
  'publish a volume to its node': {
    prepare: (scene) => create(scene, 'new'),
    run: (scene) =>
      scene.storage.staging.controllerPublish(
        idOf(findVolume(scene, 'new')),
        { readonly: false, accessMode: 'SINGLE_NODE_WRITER' },
        10,
      ),
    check: async (scene) => assert.ok(findVolume(scene, 'new')?.controllerPublication),
    undo: removeNew,
  },
  'stage a volume': {
    prepare: (scene) => create(scene, 'new'),
    run: (scene) => stage(scene, 'new'),
    check: async (scene) => assert.equal(findVolume(scene, 'new')?.staged.length, 1),
    undo: hidden,
  },
  'unstage a volume': {
    prepare: staged,
    run: (scene) => unstage(scene, 'new'),
    check: async (scene) => assert.equal(findVolume(scene, 'new')?.staged.length, 0),
    undo: removeNew,
  },
  'publish a volume': {
    prepare: staged,
    run: (scene) => publish(scene, 'new'),
    check: async (scene) => assert.ok(await see.isShown(scene, 'new')),
    undo: hidden,
  },
  'publish a volume with many files to a group': {
    isFor: ({ volumeMode }) => volumeMode === 'Filesystem',
    prepare: async (scene) => {
      await staged(scene);
      await see.makeFiles(scene, 'new', 600);
    },
    run: (scene) => publish(scene, 'new', 2000),
    check: async (scene) => {
      assert.ok(await see.isShown(scene, 'new'));
      assert.equal(await see.notOfGroup(scene, 'new', 2000), '');
    },
    undo: hidden,
  },
  'unpublish a volume': {
    prepare: async (scene) => {
      await staged(scene);
      await publish(scene, 'new');
    },
    run: (scene) => unpublish(scene, 'new'),
    check: async (scene) => assert.ok(!(await see.isShown(scene, 'new'))),
    undo: hidden,
  },
  'write, stage and read again': {
    prepare: (scene) => create(scene, 'new'),
    run: async (scene) => {
      await write(scene, 'new', 'written');
      assert.equal(await read(scene, 'new'), 'written');
    },
    check: async (scene) => assert.equal(await read(scene, 'new'), 'written'),
    undo: removeNew,
  },
  'publish a volume of a pod': {
    isFor: ({ volumeMode }) => volumeMode === 'Filesystem',
    run: (scene) => publishEphemeral(scene),
    check: async (scene) => assert.equal(scene.storage.ephemerals.find('pod')?.published.length, 1),
    undo: (scene) => unpublishEphemeral(scene),
  },
  'unpublish a volume of a pod': {
    isFor: ({ volumeMode }) => volumeMode === 'Filesystem',
    prepare: (scene) => publishEphemeral(scene),
    run: (scene) => unpublishEphemeral(scene),
    check: async (scene) => assert.equal(scene.storage.ephemerals.find('pod'), undefined),
  },
  ...STREAM_OPERATIONS,
  ...POOL_OPERATIONS,
  'remove what was deleted': {
    prepare: async (scene) => {
      const range = { requiredBytes: 128n * MIB, limitBytes: 0n };
      await scene.storage.volumes.create({ ...request(scene, 'new'), range });
      // More than one run may free.
      await write(scene, 'new', 'much', Number(80n * MIB));
      if (scene.form.backend === 'directory') await see.makeObstinate(scene, 'new');
      await removeNew(scene);
    },
    run: (scene) => runUntil(scene, 'nothing is left to remove', () => see.isClean(scene)),
    check: async (scene) => assert.ok(await see.isClean(scene)),
  },
};

/** Returns the size of a staged volume as its pods see it. */
async function shownBytes(scene: Scene): Promise<bigint> {
  await publish(scene, 'new');
  const id = idOf(findVolume(scene, 'new'));
  return (await scene.storage.staging.stats(id, placesOf(scene, 'new').target)).totalBytes;
}

async function publishEphemeral(scene: Scene): Promise<void> {
  const { volumeMode, encrypted } = scene.form;
  await scene.storage.ephemerals.publish({
    handle: 'pod',
    range: { requiredBytes: VOLUME_BYTES, limitBytes: 0n },
    target: placesOf(scene, 'pod').target,
    ...{ readonly: false, flags: [], accessMode: 'SINGLE_NODE_WRITER', pool: 'default', volumeMode },
    ...(encrypted === true ? { encrypted, secrets: SECRETS } : {}),
  });
}

async function unpublishEphemeral(scene: Scene): Promise<void> {
  await scene.storage.ephemerals.unpublish('pod', placesOf(scene, 'pod').target);
}
