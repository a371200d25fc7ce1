import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { POOL_DEFAULTS, type PoolSpec } from '../../src/core/pools/pool.ts';
import { runCommand } from '../../src/runtime/child-process.ts';
import * as see from './leaks.ts';
import type { Operation } from './operation.ts';
import { type Form, MIB, runUntil, type Scene } from './scene.ts';
import { unmountBelow } from './unmount.ts';

const hasDisks = ({ backend, volumeMode, isShared, quota }: Form): boolean =>
  backend === 'btrfs' && volumeMode === 'Filesystem' && isShared !== true && quota === undefined;

/** Operations on pools other than the story's. */
export const POOL_OPERATIONS: Readonly<Record<string, Operation>> = {
  'open another pool': {
    run: (scene) => requestExtra(scene, 256n),
    check: async (scene) => assert.deepEqual(await see.usablePools(scene), ['default', 'extra']),
    undo: forgetExtra,
  },
  'enlarge another pool': {
    prepare: (scene) => requestExtra(scene, 256n),
    run: (scene) => requestExtra(scene, 384n),
    check: async (scene) => assert.ok((await see.poolBytes(scene, 'extra')) > 300n * MIB),
    undo: forgetExtra,
  },
  'close another pool': {
    prepare: (scene) => requestExtra(scene, 256n),
    run: (scene) => requestExtra(scene, undefined),
    check: async (scene) => assert.deepEqual(await see.usablePools(scene), ['default']),
    undo: forgetExtra,
  },
  'open a pool of devices': {
    isFor: hasDisks,
    prepare: attachDisks,
    run: (scene) => requestDisks(scene, 1),
    check: async (scene) => assert.deepEqual(await see.usablePools(scene), ['default', 'disks']),
    undo: forgetDisks,
  },
  'add a device to a pool': {
    isFor: hasDisks,
    prepare: async (scene) => {
      await attachDisks(scene);
      await requestDisks(scene, 1);
    },
    run: (scene) => requestDisks(scene, 2),
    check: async (scene) => assert.ok((await see.poolBytes(scene, 'disks')) > 500n * MIB),
    undo: forgetDisks,
  },
};

/** Requests a second pool, in a file of the given MiB, or none. */
async function requestExtra(scene: Scene, mebibytes: bigint | undefined): Promise<void> {
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
  await scene.storage.pools.request(mebibytes === undefined ? [] : [spec]);
  await runUntil(scene, 'the other pool is as requested', async () => {
    const found = (await scene.storage.health.report()).pools.find(({ name }) => name === 'extra');
    if (mebibytes === undefined) return found === undefined;
    if (found?.problem !== undefined) throw new Error(found.problem);
    return found?.isAccepting === true && (await see.poolBytes(scene, 'extra')) > sizeBytes - 100n * MIB;
  });
}

async function forgetExtra(scene: Scene): Promise<void> {
  await requestExtra(scene, undefined);
  await unmountPool(scene, 'extra');
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

/** Requests a pool of `count` disks, or none. */
async function requestDisks(scene: Scene, count: number): Promise<void> {
  const files = DISKS.slice(0, count).map((name) => join(scene.directory, name));
  const devices = (await Promise.all(files.map(see.loopOf))).map((device) => device ?? 'none');
  const source = { kind: 'devices', devices } as const;
  const spec: PoolSpec = { ...POOL_DEFAULTS, name: 'disks', backend: 'btrfs', source };
  await scene.storage.pools.request(count === 0 ? [] : [spec]);
  await runUntil(scene, 'the pool of disks is as requested', async () => {
    const found = (await scene.storage.health.report()).pools.find(({ name }) => name === 'disks');
    if (count === 0) return found === undefined;
    if (found?.problem !== undefined) throw new Error(found.problem);
    return found?.isAccepting === true && (await see.poolBytes(scene, 'disks')) > BigInt(count) * 250n * MIB;
  });
}

async function forgetDisks(scene: Scene): Promise<void> {
  await requestDisks(scene, 0);
  await unmountPool(scene, 'disks');
  for (const name of DISKS) {
    const file = join(scene.directory, name);
    const device = await see.loopOf(file);
    if (device !== undefined) await runCommand('losetup', ['--detach', device]);
    await rm(file);
  }
  await rm(join(scene.directory, 'state', 'pools', 'disks.json'), { force: true });
}

/**
 * Unmounts a pool that stayed mounted because its service was killed between closing and unmounting
 * it.
 */
async function unmountPool({ directory }: Scene, name: string): Promise<void> {
  await unmountBelow(join(directory, 'state', 'pools', name));
}
