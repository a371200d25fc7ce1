import assert from 'node:assert/strict';
import { createReadStream, createWriteStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { runCommand } from '../../src/runtime/child-process.ts';
import { POOL_DEFAULTS, type PoolSpec } from '../../src/core/pool.ts';
import type { ContentSource } from '../../src/core/volume.ts';
import * as see from './leaks.ts';
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

/** Something that a caller asks for, and repeats until it is done. */
export interface Operation {
  /** Absent: with every form. */
  readonly isFor?: (form: Form) => boolean;
  /** Ensures what has to be there before. */
  prepare?(scene: Scene): Promise<unknown>;
  run(scene: Scene): Promise<unknown>;
  /** Throws unless what was acknowledged is so. */
  check(scene: Scene): Promise<void>;
  /** Takes away what it has brought. */
  undo?(scene: Scene): Promise<unknown>;
}

const never = new AbortController().signal;
const copies = ({ backend }: Form): boolean => backend !== 'directory';
const limitsIo = ({ backend, volumeMode }: Form): boolean => backend === 'image' || volumeMode === 'Block';
const create = (scene: Scene, name: string, source?: ContentSource): Promise<unknown> =>
  scene.storage.createVolume({ ...request(scene, name), source });
const remove = (scene: Scene, name: string): Promise<void> =>
  scene.storage.deleteVolume(idOf(findVolume(scene, name)));
const removeSnapshot = (scene: Scene, name: string): Promise<void> =>
  scene.storage.deleteSnapshot(idOf(findSnapshot(scene, name)));
const removeGroup = (scene: Scene, name: string): Promise<void> =>
  scene.storage.deleteGroup(
    scene.storage.listGroups().find((group) => group.name === name)?.id ?? 'none',
    [],
  );
const groupOfTwo = (scene: Scene, name: string): Promise<unknown> =>
  scene.storage.createGroup(name, [idOf(findVolume(scene, 'base')), idOf(findVolume(scene, 'other'))]);
const hasVolume = (name: string) => async (scene: Scene) =>
  assert.equal(findVolume(scene, name)?.sizeBytes, VOLUME_BYTES, `volume ${name}`);
const hasNoVolume = (name: string) => async (scene: Scene) =>
  assert.equal(findVolume(scene, name), undefined, `volume ${name}`);
const copied = async (scene: Scene): Promise<void> => assert.equal(await read(scene, 'new'), 'base');
const removeNew = (scene: Scene): Promise<void> => remove(scene, 'new');
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
  return scene.storage.createVolume({ ...request(scene, 'new'), fsType: 'xfs', range });
};
const expandXfs = (scene: Scene): Promise<unknown> => {
  const range = { requiredBytes: 640n * MIB, limitBytes: 0n };
  return scene.storage.expandVolume(idOf(findVolume(scene, 'new')), range);
};
const hasDisks = ({ backend, volumeMode, isShared, quota }: Form): boolean =>
  backend === 'btrfs' && volumeMode === 'Filesystem' && isShared !== true && quota === undefined;
const grown = { requiredBytes: 2n * VOLUME_BYTES, limitBytes: 0n };
const LIMITS = { readIOPS: 100n };

/** By name: all that the service can be asked for. */
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
      scene.storage.createVolume({
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
    run: (scene) => scene.storage.createSnapshot('new', idOf(findVolume(scene, 'base'))),
    check: async (scene) => assert.ok(findSnapshot(scene, 'new')),
    undo: (scene) => removeSnapshot(scene, 'new'),
  },
  'delete a snapshot': {
    isFor: copies,
    prepare: (scene) => scene.storage.createSnapshot('new', idOf(findVolume(scene, 'base'))),
    run: (scene) => removeSnapshot(scene, 'new'),
    check: async (scene) => assert.equal(findSnapshot(scene, 'new'), undefined),
  },
  'take a group snapshot': {
    isFor: copies,
    prepare: (scene) => stage(scene, 'other'),
    run: (scene) => groupOfTwo(scene, 'new'),
    check: async (scene) => assert.equal(scene.storage.listGroups()[0]?.members.length, 2),
    undo: async (scene) => {
      await removeGroup(scene, 'new');
      await unstage(scene, 'other');
    },
  },
  'delete a group snapshot': {
    isFor: copies,
    prepare: (scene) => groupOfTwo(scene, 'new'),
    run: (scene) => removeGroup(scene, 'new'),
    check: async (scene) => assert.deepEqual(scene.storage.listGroups(), []),
  },
  'expand a volume': {
    prepare: (scene) => create(scene, 'new'),
    run: (scene) => scene.storage.expandVolume(idOf(findVolume(scene, 'new')), grown),
    check: async (scene) => {
      await stage(scene, 'new');
      // A file system keeps some of it for itself.
      assert.ok((await shownBytes(scene)) > VOLUME_BYTES + 8n * MIB);
    },
    undo: hidden,
  },
  'stage a volume that has grown': {
    prepare: async (scene) => {
      await create(scene, 'new');
      await scene.storage.expandVolume(idOf(findVolume(scene, 'new')), grown);
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
    run: (scene) => scene.storage.expandVolume(idOf(findVolume(scene, 'new')), grown),
    check: async (scene) => assert.equal(await see.deviceBytes(scene, 'new'), 2n * VOLUME_BYTES),
    undo: hidden,
  },
  'modify a volume in use': {
    isFor: limitsIo,
    prepare: staged,
    run: (scene) => scene.storage.modifyVolume(idOf(findVolume(scene, 'new')), LIMITS),
    check: async (scene) => assert.deepEqual(Object.values(await scene.limits()), ['readIOPS=100']),
    undo: hidden,
  },
  'unstage a volume with limits': {
    isFor: limitsIo,
    prepare: async (scene) => {
      await scene.storage.createVolume({ ...request(scene, 'new'), attributes: LIMITS });
      await stage(scene, 'new');
    },
    run: (scene) => unstage(scene, 'new'),
    check: async (scene) => assert.deepEqual(await scene.limits(), {}),
    undo: removeNew,
  },
  'publish a volume to its node': {
    prepare: (scene) => create(scene, 'new'),
    run: (scene) =>
      scene.storage.controllerPublish(
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
    check: async (scene) => assert.equal(scene.storage.findEphemeral('pod')?.published.length, 1),
    undo: (scene) => unpublishEphemeral(scene),
  },
  'unpublish a volume of a pod': {
    isFor: ({ volumeMode }) => volumeMode === 'Filesystem',
    prepare: (scene) => publishEphemeral(scene),
    run: (scene) => unpublishEphemeral(scene),
    check: async (scene) => assert.equal(scene.storage.findEphemeral('pod'), undefined),
  },
  'export a volume': {
    isFor: copies,
    run: (scene) => exported(scene, 'base', join(scene.directory, 'again.stream')),
    check: async (scene) => assert.ok((await stat(join(scene.directory, 'again.stream'))).size > 0),
  },
  'import a volume': {
    isFor: copies,
    prepare: streams,
    run: (scene) => imported(scene, 'new', 'whole.stream', false),
    check: async (scene) => {
      assert.equal(await read(scene, 'new'), 'one');
      assert.equal(scene.storage.listSnapshots().length, 1);
    },
    undo: removeNew,
  },
  'import a volume and keep what it is made of': {
    isFor: copies,
    prepare: streams,
    run: (scene) => imported(scene, 'new', 'whole.stream', true),
    check: async (scene) => {
      assert.equal(await read(scene, 'new'), 'one');
      assert.equal(scene.storage.listSnapshots().length, 2);
    },
    undo: forgetImports,
  },
  'import a difference': {
    isFor: copies,
    prepare: async (scene) => {
      await streams(scene);
      await imported(scene, 'before', 'whole.stream', true);
    },
    run: (scene) => imported(scene, 'new', 'difference.stream', false),
    check: async (scene) => {
      assert.equal(await read(scene, 'new'), 'two');
      assert.equal(await read(scene, 'before'), 'one');
    },
    undo: forgetImports,
  },
  'open another pool': {
    run: (scene) => wantExtra(scene, 256n),
    check: async (scene) => assert.deepEqual(await see.usablePools(scene), ['default', 'extra']),
    undo: forgetExtra,
  },
  'enlarge another pool': {
    prepare: (scene) => wantExtra(scene, 256n),
    run: (scene) => wantExtra(scene, 384n),
    check: async (scene) => assert.ok((await see.poolBytes(scene, 'extra')) > 300n * MIB),
    undo: forgetExtra,
  },
  'close another pool': {
    prepare: (scene) => wantExtra(scene, 256n),
    run: (scene) => wantExtra(scene, undefined),
    check: async (scene) => assert.deepEqual(await see.usablePools(scene), ['default']),
    undo: forgetExtra,
  },
  'open a pool of devices': {
    isFor: hasDisks,
    prepare: attachDisks,
    run: (scene) => wantDisks(scene, 1),
    check: async (scene) => assert.deepEqual(await see.usablePools(scene), ['default', 'disks']),
    undo: forgetDisks,
  },
  'add a device to a pool': {
    isFor: hasDisks,
    prepare: async (scene) => {
      await attachDisks(scene);
      await wantDisks(scene, 1);
    },
    run: (scene) => wantDisks(scene, 2),
    check: async (scene) => assert.ok((await see.poolBytes(scene, 'disks')) > 500n * MIB),
    undo: forgetDisks,
  },
  'remove what was deleted': {
    prepare: async (scene) => {
      const range = { requiredBytes: 128n * MIB, limitBytes: 0n };
      await scene.storage.createVolume({ ...request(scene, 'new'), range });
      // More than one run may free.
      await write(scene, 'new', 'much', Number(80n * MIB));
      if (scene.form.backend === 'directory') await see.makeObstinate(scene, 'new');
      await removeNew(scene);
    },
    run: (scene) => runUntil(scene, 'nothing is left to remove', () => see.isClean(scene)),
    check: async (scene) => assert.ok(await see.isClean(scene)),
  },
};

/** How large a staged volume is for those who use it. */
async function shownBytes(scene: Scene): Promise<bigint> {
  await publish(scene, 'new');
  const id = idOf(findVolume(scene, 'new'));
  return (await scene.storage.stats(id, placesOf(scene, 'new').target)).totalBytes;
}

async function publishEphemeral(scene: Scene): Promise<void> {
  const { volumeMode, encrypted } = scene.form;
  await scene.storage.publishEphemeral({
    handle: 'pod',
    range: { requiredBytes: VOLUME_BYTES, limitBytes: 0n },
    target: placesOf(scene, 'pod').target,
    ...{ readonly: false, flags: [], accessMode: 'SINGLE_NODE_WRITER', pool: 'default', volumeMode },
    ...(encrypted === true ? { encrypted, secrets: SECRETS } : {}),
  });
}

async function unpublishEphemeral(scene: Scene): Promise<void> {
  await scene.storage.unpublishEphemeral('pod', placesOf(scene, 'pod').target);
}

async function exported(scene: Scene, source: string, file: string, parent?: string): Promise<void> {
  await using content = await scene.storage.exportVolume({ source, parent, signal: never });
  await pipeline(content.chunks(), createWriteStream(file));
}

async function imported(scene: Scene, name: string, file: string, keepBase: boolean): Promise<void> {
  const input = createReadStream(join(scene.directory, file), { highWaterMark: 70_001 });
  try {
    await scene.storage.importVolume({ name, pool: 'default', keepBase, input, signal: never });
  } finally {
    input.destroy();
  }
}

/** Files with a snapshot and with a later difference to it, of a volume that is gone. */
async function streams(scene: Scene): Promise<void> {
  const [whole, difference] = ['whole.stream', 'difference.stream'].map((file) =>
    join(scene.directory, file),
  );
  if ((await stat(`${difference}`).catch(() => undefined)) !== undefined) return;
  await create(scene, 'from');
  for (const [text, file] of [
    ['one', whole],
    ['two', difference],
  ] as const) {
    await write(scene, 'from', text);
    await scene.storage.createSnapshot(text, idOf(findVolume(scene, 'from')));
    await exported(scene, text, file ?? '', text === 'two' ? 'one' : undefined);
  }
  for (const text of ['one', 'two']) await removeSnapshot(scene, text);
  await remove(scene, 'from');
}

async function forgetImports(scene: Scene): Promise<void> {
  for (const name of ['new', 'before']) await remove(scene, name);
  for (const { id, name } of scene.storage.listSnapshots()) {
    if (name.startsWith('import-')) await scene.storage.deleteSnapshot(id);
  }
}

/** Wishes for a second pool, in a file of so many MiB, or for none. */
async function wantExtra(scene: Scene, mebibytes: bigint | undefined): Promise<void> {
  const sizeBytes = (mebibytes ?? 0n) * MIB;
  const { backend } = scene.form;
  const source = { kind: 'file', file: join(scene.directory, 'extra', 'extra.img'), sizeBytes } as const;
  const spec: PoolSpec = {
    ...POOL_DEFAULTS,
    name: 'extra',
    quota: scene.form.quota ?? 'auto',
    backend: backend === 'directory' ? 'btrfs' : backend,
    source,
  };
  await scene.storage.wantPools(mebibytes === undefined ? [] : [spec]);
  await runUntil(scene, 'the other pool is as it is wished for', async () => {
    const found = (await scene.storage.report()).pools.find(({ name }) => name === 'extra');
    if (mebibytes === undefined) return found === undefined;
    return found?.isAccepting === true && (await see.poolBytes(scene, 'extra')) > sizeBytes - 100n * MIB;
  });
}

async function forgetExtra(scene: Scene): Promise<void> {
  await wantExtra(scene, undefined);
  await rm(join(scene.directory, 'extra'), { recursive: true, force: true });
  await rm(join(scene.directory, 'state', 'pools', 'extra.json'), { force: true });
}

const DISKS = ['one.disk', 'two.disk'];

async function attachDisks(scene: Scene): Promise<void> {
  for (const name of DISKS) {
    const file = join(scene.directory, name);
    await runCommand('truncate', ['--size', String(300n * MIB), file]);
    if ((await see.loopOf(file)) === undefined) await runCommand('losetup', ['--find', file]);
  }
}

/** Wishes for a pool of so many disks, or for none. */
async function wantDisks(scene: Scene, count: number): Promise<void> {
  const files = DISKS.slice(0, count).map((name) => join(scene.directory, name));
  const devices = (await Promise.all(files.map(see.loopOf))).map((device) => device ?? 'none');
  const source = { kind: 'devices', devices } as const;
  const spec: PoolSpec = { ...POOL_DEFAULTS, name: 'disks', backend: 'btrfs', source };
  await scene.storage.wantPools(count === 0 ? [] : [spec]);
  await runUntil(scene, 'the pool of disks is as it is wished for', async () => {
    const found = (await scene.storage.report()).pools.find(({ name }) => name === 'disks');
    if (count === 0) return found === undefined;
    return found?.isAccepting === true && (await see.poolBytes(scene, 'disks')) > BigInt(count) * 250n * MIB;
  });
}

async function forgetDisks(scene: Scene): Promise<void> {
  await wantDisks(scene, 0);
  for (const name of DISKS) {
    const file = join(scene.directory, name);
    const device = await see.loopOf(file);
    if (device !== undefined) await runCommand('losetup', ['--detach', device]);
    await rm(file);
  }
  await rm(join(scene.directory, 'state', 'pools', 'disks.json'), { force: true });
}
