import assert from 'node:assert/strict';
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readMountTable } from '../../node-agent/linux/files/mount-table.ts';
import { runCommand } from '../../src/runtime/child-process.ts';
import { isId } from '../../src/core/volumes/volume-name.ts';
import { waitFor } from '../cluster/wait.ts';
import { findVolume, idOf, mainPool, placesOf, publish, read, type Scene, unpublish } from './scene.ts';

/**
 * Throws unless everything on the host matches the service's report, and the initial data of the
 * story is complete. `when`: a restarted service cannot attach encrypted volumes, whose Secret
 * comes with the next NodeStageVolume call.
 */
export async function checkNothingLeaks(
  scene: Scene,
  when: 'after a start' | 'at rest' = 'at rest',
): Promise<void> {
  const { directory, storage, form } = scene;
  const { volumes, snapshots, orphans, quarantined } = await storage.health.report();
  assert.deepEqual({ orphans, quarantined }, { orphans: [], quarantined: [] });
  for (const [kind, records] of Object.entries({ volumes, snapshots })) {
    const files = (await readdir(join(directory, 'state', kind))).sort();
    assert.deepEqual(
      files,
      records.map(({ id }) => `${id}.json`),
      `records of ${kind}`,
    );
    const held = (await readdir(join(poolPath(scene), kind))).map(withoutSuffix).filter(isId).sort();
    assert.deepEqual(
      held,
      records.map(({ id }) => id),
      `data of ${kind}`,
    );
  }
  const names = volumes.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length, `names ${names.join()}`);
  for (const name of ['base', 'other']) assert.ok(names.includes(name), `volume ${name} is there`);
  if (form.backend !== 'directory') assert.ok(snapshots.some(({ name }) => name === 'base-snapshot'));

  const places = (await readMountTable()).map(({ mountPoint }) => mountPoint);
  const staged = volumes.filter((volume) => volume.staged.length > 0);
  const mounted = places.filter((place) => place.startsWith(join(directory, 'state', 'mounts', 'default')));
  const isMounted = form.backend === 'image' && form.volumeMode === 'Filesystem';
  const found = mounted.map((place) => place.split('/').at(-1)).sort();
  const awaitsSecret = when === 'after a start' && form.encrypted === true;
  const attached = staged.map(({ id }) => id).filter((id) => !awaitsSecret || found.includes(id));
  assert.deepEqual(found, isMounted ? attached : []);
  const hasDevices = isMounted || form.volumeMode === 'Block';
  const devices = hasDevices ? attached : [];
  // The kernel detaches a device at its last close, and udev opens each device for a moment.
  await waitFor(
    `loop devices of ${devices.join() || 'nothing'}`,
    async () => {
      assert.deepEqual(await loopsOf(scene), devices);
      return true;
    },
    { timeoutMs: 10_000 },
  );
  const published = new Set(volumes.flatMap((volume) => volume.published.map(({ target }) => target)));
  for (const place of places.filter((each) => each.startsWith(join(directory, 'targets')))) {
    assert.ok(published.has(place), `${place} is mounted, and no record says so`);
  }
}

/** Throws unless the initial data of the story is unchanged. */
export async function checkData(scene: Scene): Promise<void> {
  assert.equal(await read(scene, 'base'), 'base');
}

/** Whether the pool has no incomplete and no discarded data. */
export async function isClean(scene: Scene): Promise<boolean> {
  for (const kind of ['volumes', 'snapshots']) {
    const names = await readdir(join(poolPath(scene), kind));
    // Markers of quota groups that are not empty yet.
    if (names.some((name) => !isId(withoutSuffix(name)) && !name.startsWith('retired-'))) return false;
  }
  return true;
}

/**
 * Lists quota groups of absent subvolumes. The file system frees a subvolume some time after its
 * deletion.
 */
export async function strayQgroups(scene: Scene): Promise<string[]> {
  const { form, kernel } = scene;
  if (form.backend !== 'btrfs') return [];
  const path = poolPath(scene);
  await using root = await open(path, 'r');
  const known = new Set<bigint>();
  for (const kind of ['volumes', 'snapshots']) {
    for (const name of await readdir(join(path, kind))) {
      const isMark = name.startsWith('retired-');
      if (!isMark) known.add((await kernel.call('readSubvolumeId', root.fd, `${kind}/${name}`)) ?? 0n);
    }
  }
  const groups = await kernel.call('readQgroups', root.fd);
  const ids = groups.map(({ id }) => id & ((1n << 48n) - 1n));
  const stray = ids.filter((id) => id >= 256n && !known.has(id)).map(String);
  const marks = (await readdir(join(path, 'volumes'))).filter((name) => name.startsWith('retired-'));
  return [...stray, ...marks];
}

/** Writes the dirty data of the pool to disk. */
export async function syncPool(scene: Scene): Promise<void> {
  await using root = await open(poolPath(scene), 'r');
  await scene.kernel.call('syncFilesystem', root.fd);
}

export async function usablePools({ storage }: Scene): Promise<string[]> {
  const { pools } = await storage.health.report();
  return pools.filter(({ isAccepting }) => isAccepting).map(({ name }) => name);
}

export async function poolBytes({ storage }: Scene, pool: string): Promise<bigint> {
  const { pools } = await storage.health.report();
  return pools.find(({ name }) => name === pool)?.capacity?.totalBytes ?? 0n;
}

/** Whether the volume is mounted at its target. */
export async function isShown(scene: Scene, name: string): Promise<boolean> {
  const { target } = placesOf(scene, name);
  return (await readMountTable()).some(({ mountPoint }) => mountPoint === target);
}

/** Creates `count` files in a staged volume. */
export async function makeFiles(scene: Scene, name: string, count: number): Promise<void> {
  const { target } = placesOf(scene, name);
  await publish(scene, name);
  for (let index = 0; index < count; index += 1) await writeFile(join(target, `file-${index}`), '');
  await unpublish(scene, name);
}

/** Lists files of a mounted volume that do not belong to the group. */
export async function notOfGroup(scene: Scene, name: string, group: number): Promise<string> {
  const { target } = placesOf(scene, name);
  return (await runCommand('find', [target, '!', '-gid', String(group)])).stdout;
}

/** Returns the size of a staged Block volume's device. */
export async function deviceBytes(scene: Scene, name: string): Promise<bigint> {
  const id = idOf(findVolume(scene, name));
  for (const [device, file] of await loops()) {
    if (file.includes(id)) return await scene.kernel.call('readDeviceBytes', `/dev/${device}`);
  }
  return 0n;
}

/**
 * Creates files that are easy to remove, and others that are not: an immutable file, and deeply
 * nested directories.
 */
export async function makeObstinate(scene: Scene, name: string): Promise<void> {
  const data = join(poolPath(scene), 'volumes', idOf(findVolume(scene, name)), 'data');
  await writeFile(join(data, 'plain'), '');
  await runCommand('chattr', ['+i', join(data, 'data')]);
  await mkdir(join(data, ...Array.from({ length: 70 }, () => 'deep')), { recursive: true });
}

/** Lists the volumes whose files are attached as loop devices. */
async function loopsOf(scene: Scene): Promise<string[]> {
  const path = poolPath(scene);
  const files = [...(await loops()).values()].filter((file) => file.startsWith(`${path}/`));
  return files.map((file) => /vol-[0-9a-f]+/.exec(file)?.[0] ?? file).sort();
}

/** Returns the loop device of a file. */
export async function loopOf(file: string): Promise<string | undefined> {
  const found = [...(await loops())].find(([, backing]) => backing === file);
  return found && `/dev/${found[0]}`;
}

async function loops(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const name of await readdir('/sys/block')) {
    const file = await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => undefined);
    if (file !== undefined) found.set(name, file.trimEnd());
  }
  return found;
}

function poolPath({ directory, form }: Scene): string {
  const { source, name } = mainPool(directory, form);
  return source.kind === 'path' ? source.path : join(directory, 'state', 'pools', name);
}

function withoutSuffix(name: string): string {
  return name.replace(/\.img$/, '');
}
