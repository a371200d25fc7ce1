import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { IoCgroups } from '../../node-agent/linux/process/io-cgroups.ts';
import { type Kernel, startKernel } from '../../node-agent/linux/kernel/kernel.ts';
import { openStorage, type Storage } from '../../node-agent/storage/open-storage.ts';
import type { VolumeRequest } from '../../src/core/volumes/volume-request.ts';
import type { BackendKind } from '../../src/core/volumes/backend-features.ts';
import { PASSPHRASE_FIELD } from '../../src/core/volumes/encryption.ts';
import { POOL_DEFAULTS, type PoolSource, type PoolSpec } from '../../src/core/pools/pool.ts';
import type { Snapshot, Volume, VolumeMode } from '../../src/core/volumes/volume.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { waitFor } from '../cluster/wait.ts';
import { announceEffect } from './effects.ts';

/** The form of a story's volumes, and of its pool. */
export interface Form {
  readonly backend: BackendKind;
  readonly volumeMode: VolumeMode;
  readonly encrypted?: boolean;
  /** The pool is a directory of a shared, mounted file system. */
  readonly isShared?: boolean;
  /** The kind of quotas on btrfs. */
  readonly quota?: 'simple' | 'classic';
}

export const MIB = 1n << 20n;
export const VOLUME_BYTES = 16n * MIB;
export const POOL_BYTES = 2048n * MIB;
export const SECRETS = { [PASSPHRASE_FIELD]: 'correct horse battery staple' };

/** A storage service in a directory that outlives it. */
export interface Scene extends AsyncDisposable {
  readonly directory: string;
  readonly form: Form;
  readonly kernel: Kernel;
  readonly storage: Storage;
  /** I/O limits by device, as the host has them. */
  readonly limits: () => Promise<Readonly<Record<string, string>>>;
}

/** Returns the pool of the story. */
export function mainPool(directory: string, { backend, isShared, quota = 'simple' }: Form): PoolSpec {
  const source: PoolSource =
    isShared === true
      ? { kind: 'path', path: join(directory, 'shared', 'pool') }
      : { kind: 'file', file: join(directory, 'pool.img'), sizeBytes: POOL_BYTES };
  return { ...POOL_DEFAULTS, name: 'default', backend, source, quota, enforce: false };
}

/** Starts the service, which recovers from the previous one. */
export async function openScene(directory: string, form: Form): Promise<Scene> {
  const kernel = startKernel({ name: 'crash' });
  const cgroups = await openLimits(join(directory, 'limits.json'));
  const storage = await openStorage(
    // So small that a large volume takes several runs.
    {
      stateDir: join(directory, 'state'),
      pools: [mainPool(directory, form)],
      trashBytesPerSecond: 64n * MIB,
    },
    { kernel, logger: silentLogger, cgroups },
  );
  return {
    directory,
    form,
    kernel,
    storage,
    limits: cgroups.read,
    async [Symbol.asyncDispose]() {
      await storage[Symbol.asyncDispose]();
      await kernel[Symbol.asyncDispose]();
    },
  };
}

/** A host with one cgroup that accepts every limit, and keeps it when the agent is killed. */
async function openLimits(
  file: string,
): Promise<IoCgroups & { readonly read: () => Promise<Record<string, string>> }> {
  const read = async (): Promise<Record<string, string>> =>
    JSON.parse(await readFile(file, 'utf8').catch(() => '{}')) as Record<string, string>;
  return {
    isFlat: false,
    read,
    list: async () => ['all'],
    async limit(_, device, attributes) {
      const { [device]: before, ...others } = await read();
      const text = Object.entries(attributes)
        .map(([name, value]) => `${name}=${value}`)
        .join(' ');
      if (text === (before ?? '')) return;
      announceEffect('limit');
      await writeFile(file, JSON.stringify(text === '' ? others : { ...others, [device]: text }));
    },
  };
}

/** Returns the finished volume of that name. */
export function findVolume({ storage }: Scene, name: string): Volume | undefined {
  return storage.volumes.list().find((volume) => volume.name === name);
}

export function findSnapshot({ storage }: Scene, name: string): Snapshot | undefined {
  return storage.snapshots.list().find((snapshot) => snapshot.name === name);
}

/** Returns the id; for an absent object one that does not exist. */
export function idOf(found: { readonly id: string } | undefined): string {
  return found?.id ?? `vol-${'0'.repeat(24)}`;
}

/** Returns the request for a volume of the story's form. */
export function request({ form: { volumeMode, encrypted } }: Scene, name: string): VolumeRequest {
  return {
    name,
    pool: 'default',
    range: { requiredBytes: VOLUME_BYTES, limitBytes: 0n },
    source: undefined,
    volumeMode,
    ...(encrypted === true ? { encrypted } : {}),
  };
}

/** Returns the target and the staging path of a volume. */
export function placesOf(
  { directory }: Scene,
  name: string,
): { readonly target: string; readonly staging: string } {
  return { target: join(directory, 'targets', name), staging: join(directory, 'targets', `${name}-staging`) };
}

export async function stage(scene: Scene, name: string): Promise<void> {
  const { staging } = placesOf(scene, name);
  const secrets = scene.form.encrypted === true ? SECRETS : {};
  await scene.storage.staging.stage(idOf(findVolume(scene, name)), staging, { secrets });
}

export async function publish(scene: Scene, name: string, group?: number): Promise<void> {
  const { staging: stagingPath, target } = placesOf(scene, name);
  await scene.storage.staging.publish({
    ...{ volumeId: idOf(findVolume(scene, name)), stagingPath, target },
    ...{ readonly: false, flags: [], accessMode: 'SINGLE_NODE_MULTI_WRITER' as const, group },
  });
}

export async function unpublish(scene: Scene, name: string): Promise<void> {
  await scene.storage.staging.unpublish(idOf(findVolume(scene, name)), placesOf(scene, name).target);
}

export async function unstage(scene: Scene, name: string): Promise<void> {
  await scene.storage.staging.unstage(idOf(findVolume(scene, name)), placesOf(scene, name).staging);
}

/** Mounts the volume, passes the path of its data file or device to `use`, and unmounts it. */
async function shown<T>(scene: Scene, name: string, use: (path: string) => Promise<T>): Promise<T> {
  await stage(scene, name);
  await publish(scene, name);
  const { target } = placesOf(scene, name);
  try {
    return await use(scene.form.volumeMode === 'Block' ? target : join(target, 'data'));
  } finally {
    await unpublish(scene, name);
    await unstage(scene, name);
  }
}

/** Writes a text to the volume's disk, followed by padding. */
export async function write(scene: Scene, name: string, text: string, bytes = 4096): Promise<void> {
  await shown(scene, name, async (path) => {
    await using file = await open(path, scene.form.volumeMode === 'Block' ? 'r+' : 'w');
    await file.write(Buffer.concat([Buffer.from(text), Buffer.alloc(bytes - text.length, 'x')]), 0, bytes, 0);
    await file.sync();
  });
}

export async function read(scene: Scene, name: string): Promise<string> {
  return await shown(scene, name, async (path) => {
    await using file = await open(path, 'r');
    const { buffer } = await file.read(Buffer.alloc(4096), 0, 4096, 0);
    return buffer.toString('utf8').replace(/[x\0]*$/, '');
  });
}

/** Runs the background work of the service until `done`. */
export async function runUntil(
  { storage }: Scene,
  what: string,
  done: () => Promise<boolean>,
): Promise<void> {
  const end = new AbortController();
  const running = storage.run(end.signal);
  try {
    await waitFor(what, async () => ((await done()) ? true : undefined), { timeoutMs: 300_000, everyMs: 5 });
  } finally {
    end.abort(new DOMException('enough', 'AbortError'));
    await running.catch(() => undefined);
  }
}

/**
 * Creates the initial data of all stories: a volume with data, its snapshot, another volume, and a
 * directory for targets.
 */
export async function furnish(scene: Scene): Promise<void> {
  await mkdir(join(scene.directory, 'targets'), { recursive: true });
  const { storage } = scene;
  await storage.volumes.create(request(scene, 'base'));
  await write(scene, 'base', 'base');
  await storage.volumes.create(request(scene, 'other'));
  if (scene.form.backend === 'directory') return;
  await storage.snapshots.create('base-snapshot', idOf(findVolume(scene, 'base')));
}
