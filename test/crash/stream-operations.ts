import assert from 'node:assert/strict';
import { createReadStream, createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Operation } from './operation.ts';
import { copies, create, remove, removeNew, removeSnapshot } from './requests.ts';
import { findVolume, idOf, read, type Scene, write } from './scene.ts';

const never = new AbortController().signal;

/** Operations that export and import volumes. */
export const STREAM_OPERATIONS: Readonly<Record<string, Operation>> = {
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
      assert.equal(scene.storage.snapshots.list().length, 1);
    },
    undo: removeNew,
  },
  'import a volume and keep what it is made of': {
    isFor: copies,
    prepare: streams,
    run: (scene) => imported(scene, 'new', 'whole.stream', true),
    check: async (scene) => {
      assert.equal(await read(scene, 'new'), 'one');
      assert.equal(scene.storage.snapshots.list().length, 2);
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
};

async function exported(scene: Scene, source: string, file: string, parent?: string): Promise<void> {
  await using content = await scene.storage.transfers.export({ source, parent, signal: never });
  await pipeline(content.chunks(), createWriteStream(file));
}

async function imported(scene: Scene, name: string, file: string, keepBase: boolean): Promise<void> {
  const input = createReadStream(join(scene.directory, file), { highWaterMark: 70_001 });
  try {
    await scene.storage.transfers.import({ name, pool: 'default', keepBase, input, signal: never });
  } finally {
    input.destroy();
  }
}

/** Writes streams of a snapshot and of a later difference, of a volume that is deleted. */
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
    await scene.storage.snapshots.create(text, idOf(findVolume(scene, 'from')));
    await exported(scene, text, file ?? '', text === 'two' ? 'one' : undefined);
  }
  for (const text of ['one', 'two']) await removeSnapshot(scene, text);
  await remove(scene, 'from');
}

async function forgetImports(scene: Scene): Promise<void> {
  for (const name of ['new', 'before']) await remove(scene, name);
  for (const { id, name } of scene.storage.snapshots.list()) {
    if (name.startsWith('import-')) await scene.storage.snapshots.delete(id);
  }
}
