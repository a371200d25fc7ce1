import { mkdir, readdir, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { openPool as openAnyPool, type OpenPool } from '../../../node-agent/storage/pools/open-pool.ts';
import { POOL_DEFAULTS } from '../../../src/core/pools/pool.ts';
import { ANY_SIZE } from '../../../src/core/volumes/volume-size.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { filePool, fill, MIB, requireRoot, startStorageLab, type StorageLab } from './storage-lab.ts';

const REFUSED = /^(EDQUOT|ENOSPC)$/;
const exactly = (mebibytes: bigint) => ({ requiredBytes: mebibytes * MIB, limitBytes: mebibytes * MIB });
const create = (lab: StorageLab, name: string, mebibytes = 32n) =>
  lab.storage.volumes.create({ name, pool: undefined, range: exactly(mebibytes), source: undefined });

beforeEach((context) => requireRoot(context));

describe.each(['simple', 'classic'] as const)('sizes under %s quotas', (quota) => {
  it('are enforced, also on data that snapshots and clones share', async () => {
    await using lab = await startStorageLab({ quota });
    const { storage } = lab;
    expect((await storage.health.report()).pools).toMatchObject([{ quota, problem: undefined }]);
    const volume = await create(lab, 'first');
    const target = await lab.publish(volume.id);
    expect(await fill(join(target, 'data'), 24)).toBe('ok');
    expect(await fill(join(target, 'more'), 16)).toMatch(REFUSED);
    await rm(join(target, 'more'));

    // Its extents stay with the snapshot; the volume can still be rewritten completely.
    const snapshot = await storage.snapshots.create('before', volume.id);
    expect(await fill(join(target, 'data'), 24)).toBe('ok');
    expect(await fill(join(target, 'data'), 24)).toBe('ok');
    expect(await fill(join(target, 'more'), 48)).toMatch(REFUSED);
    await rm(join(target, 'more'));

    const source = { kind: 'snapshot', id: snapshot.id } as const;
    const clone = await storage.volumes.create({ name: 'clone', pool: undefined, range: ANY_SIZE, source });
    expect(clone.sizeBytes).toBe(volume.sizeBytes);
    const cloned = await lab.publish(clone.id, 'clone');
    expect(await readFile(join(cloned, 'data'))).toHaveLength(24 << 20);
    expect(await fill(join(cloned, 'data'), 24)).toBe('ok');
    expect(await fill(join(cloned, 'more'), 48)).toMatch(REFUSED);
  });

  it('hold for a volume that was cloned and is rewritten', async () => {
    await using lab = await startStorageLab({ quota });
    const volume = await create(lab, 'first');
    const target = await lab.publish(volume.id);
    expect(await fill(join(target, 'data'), 24)).toBe('ok');
    const source = { kind: 'volume', id: volume.id } as const;
    await lab.storage.volumes.create({ name: 'clone', pool: undefined, range: ANY_SIZE, source });
    expect(await fill(join(target, 'data'), 24)).toBe('ok');
    expect(await fill(join(target, 'more'), 48)).toMatch(REFUSED);
  });

  it('grow while the volume is in use', async () => {
    await using lab = await startStorageLab({ quota });
    const volume = await create(lab, 'first');
    const target = await lab.publish(volume.id);
    expect(await fill(join(target, 'data'), 40)).toMatch(REFUSED);
    await lab.storage.volumes.expand(volume.id, exactly(64n));
    expect(await fill(join(target, 'data'), 40)).toBe('ok');
    expect(await lab.storage.staging.stats(volume.id, target)).toMatchObject({ totalBytes: 64n * MIB });
  });
});

it("charges a pod's nested subvolumes to its volume, under simple quotas", async () => {
  await using lab = await startStorageLab({ quota: 'simple' });
  const volume = await create(lab, 'first');
  const target = await lab.publish(volume.id);
  await runCommand('btrfs', ['subvolume', 'create', join(target, 'nested')]);
  expect(await fill(join(target, 'nested', 'data'), 48)).toMatch(REFUSED);
  await lab.storage.staging.unpublish(volume.id, target);
  await lab.storage.volumes.delete(volume.id);
  expect((await lab.storage.health.report()).orphans).toEqual([]);
});

it('lowers the limit when the last snapshot is deleted', async () => {
  await using lab = await startStorageLab({ quota: 'simple' });
  const volume = await create(lab, 'first');
  const target = await lab.publish(volume.id);
  await fill(join(target, 'data'), 24);
  const allocated = async () => (await lab.storage.health.report()).pools[0]?.capacity?.allocatedBytes ?? 0n;
  const before = await allocated();
  const snapshot = await lab.storage.snapshots.create('s', volume.id);
  expect(await allocated()).toBeGreaterThanOrEqual(before + 24n * MIB);
  await lab.storage.snapshots.delete(snapshot.id);
  expect(await allocated()).toBeLessThan(before + MIB);
});

it('rescans inconsistent classic quotas, and reports it meanwhile', async () => {
  await using lab = await startStorageLab({ quota: 'classic' });
  const volume = await create(lab, 'first');
  await fill(join(await lab.publish(volume.id), 'data'), 8);
  // Shared data cannot be accounted for by adding up.
  await lab.storage.snapshots.create('sharing', volume.id);
  const { stdout } = await runCommand('btrfs', [
    'inspect-internal',
    'rootid',
    join(lab.mountPoint, 'volumes', volume.id),
  ]);
  await runCommand('btrfs', ['qgroup', 'create', '1/100', lab.mountPoint]);
  // A group that gets a member with unaccounted data makes all classic quotas inconsistent.
  await runCommand('btrfs', [
    'qgroup',
    'assign',
    '--no-rescan',
    `0/${stdout.trim()}`,
    '1/100',
    lab.mountPoint,
  ]);
  const problem = async () => (await lab.storage.health.report()).pools[0]?.problem;
  expect(await problem()).toMatch(/inconsistent and being rescanned/);
  await expect.poll(problem).toBeUndefined();
});

describe('a restart', () => {
  it('finds its pool, volumes and mounts again', async () => {
    await using lab = await startStorageLab();
    const volume = await create(lab, 'first');
    const target = await lab.publish(volume.id);
    await fill(join(target, 'data'), 1);
    const loops = await attachedLoops(lab.poolFile);
    await lab.restart();
    expect(lab.storage.volumes.list()).toMatchObject([{ id: volume.id, published: [{ target }] }]);
    expect(await attachedLoops(lab.poolFile)).toEqual(loops);
    expect(await lab.storage.staging.stats(volume.id, target)).toMatchObject({ totalBytes: 32n * MIB });
    await expect(lab.storage.volumes.delete(volume.id)).rejects.toMatchObject({ kind: 'precondition' });
    expect(await create(lab, 'first')).toMatchObject({ id: volume.id });
  });

  it('mounts the pool after a reboot, and drops a publication that the reboot unmounted', async () => {
    await using lab = await startStorageLab();
    const volume = await create(lab, 'first');
    const target = await lab.publish(volume.id);
    await fill(join(target, 'data'), 1);
    await lab.restart(async () => {
      for (const place of [target, lab.mountPoint]) await lab.kernel.call('umount', place, 0);
      expect(await attachedLoops(lab.poolFile)).toEqual([]);
    });
    expect(await readdir(target)).toEqual([]);
    await lab.publish(volume.id);
    expect(await readdir(target)).toEqual(['data']);
    await lab.storage.staging.unpublish(volume.id, target);
    await expect(stat(target)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('restores a limit that was changed', async () => {
    await using lab = await startStorageLab({ quota: 'classic' });
    const volume = await create(lab, 'first');
    await runCommand('btrfs', ['qgroup', 'limit', 'none', join(lab.mountPoint, 'volumes', volume.id)]);
    await lab.restart();
    const target = await lab.publish(volume.id);
    expect(await fill(join(target, 'data'), 40)).toMatch(REFUSED);
  });

  it('quarantines an unreadable record, reports it, and keeps its data', async () => {
    await using lab = await startStorageLab();
    const [bad, good] = [await create(lab, 'bad'), await create(lab, 'good')];
    const file = join(lab.stateDir, 'volumes', `${bad.id}.json`);
    await lab.restart(() => truncate(file, 10));
    const { volumes, quarantined, orphans } = await lab.storage.health.report();
    expect(volumes.map(({ id }) => id)).toEqual([good.id]);
    expect(quarantined).toMatchObject([{ file }]);
    // The file name has the volume's id.
    expect(orphans).toEqual([]);
    await lab.storage.volumes.delete(bad.id);
    expect(await readdir(join(lab.mountPoint, 'volumes'))).toContain(bad.id);
  });
});

describe('a pool is refused, with nothing written,', () => {
  it('when its file has other content', async () => {
    await using lab = await startStorageLab();
    const file = join(lab.directory, 'foreign.img');
    await writeFile(file, 'precious');
    await expect(openPool(lab, 'other', file)).rejects.toMatchObject({ kind: 'precondition' });
    expect(await readFile(file, 'utf8')).toBe('precious');
  });

  it('when its file does not exist', async () => {
    await using lab = await startStorageLab();
    const file = join(lab.directory, 'second.img');
    await (await openPool(lab, 'second', file)).unmount();
    await rm(file);
    await expect(openPool(lab, 'second', file)).rejects.toMatchObject({ kind: 'precondition' });
    await expect(stat(file)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('when another file system replaced it', async () => {
    await using lab = await startStorageLab();
    const file = join(lab.directory, 'second.img');
    await (await openPool(lab, 'second', file)).unmount();
    await runCommand('mkfs.btrfs', ['-q', '-f', file]);
    await expect(openPool(lab, 'second', file)).rejects.toThrow(/has no marker/);
    expect(await attachedLoops(file)).toEqual([]);
  });

  it('when a path has files but no marker', async () => {
    await using lab = await startStorageLab();
    const path = join(lab.mountPoint, 'foreign');
    await mkdir(path);
    await writeFile(join(path, 'file'), 'theirs');
    await expect(openPath(lab, path)).rejects.toThrow(/is not empty/);
    expect(await readdir(path)).toEqual(['file']);
  });

  it('when it would not outlive a container or a reboot, unlike the records', async () => {
    await using lab = await startStorageLab();
    const passing = join(lab.directory, 'passing');
    await mkdir(passing);
    await runCommand('mount', ['-t', 'tmpfs', 'none', passing]);
    try {
      await expect(openPool(lab, 'absent', join(passing, 'below', 'pool.img'))).rejects.toThrow(
        /is on tmpfs/,
      );
      await expect(openPath(lab, passing)).rejects.toThrow(/is on tmpfs/);
      expect(await readdir(passing)).toEqual([]);
    } finally {
      await runCommand('umount', [passing]);
    }
  });

  it('when a path is on another filesystem', async () => {
    await using lab = await startStorageLab();
    await expect(openPath(lab, '/proc')).rejects.toThrow(/not on btrfs/);
  });
});

it('serves an empty directory of a mounted btrfs as a pool', async () => {
  await using lab = await startStorageLab();
  const path = join(lab.mountPoint, 'sub');
  await mkdir(path);
  await using pool = await openPath(lab, path);
  const shape = {
    id: 'vol-0123456789abcdef01234567',
    sizeBytes: 32n * MIB,
    volumeMode: 'Filesystem',
    fsType: 'btrfs',
  } as const;
  await pool.backend.ensureVolume(shape, undefined);
  expect(await readdir(join(path, 'volumes'))).toEqual(['vol-0123456789abcdef01234567']);
  await pool.backend.discard('volume', 'vol-0123456789abcdef01234567');
  await pool.backend.collect();
});

describe('hostile input', () => {
  it('never becomes a path, whatever the id', async () => {
    await using lab = await startStorageLab();
    const outside = join(lab.directory, 'outside');
    await mkdir(outside);
    await create(lab, '../../../outside');
    for (const id of ['../../outside', outside, 'vol-\0', '.', '', 'volumes', 'x'.repeat(10_000)]) {
      await lab.storage.volumes.delete(id);
      await lab.storage.snapshots.delete(id);
      await lab.storage.staging.unpublish(id, join(lab.directory, 'nowhere'));
      await expect(lab.storage.staging.stats(id, outside)).rejects.toMatchObject({ kind: 'not-found' });
      await expect(lab.storage.snapshots.create('s', id)).rejects.toMatchObject({ kind: 'not-found' });
    }
    expect(await readdir(lab.directory)).toContain('outside');
  });

  it('does not follow a link in place of a volume or a target', async () => {
    await using lab = await startStorageLab();
    const volume = await create(lab, 'first');
    const outside = join(lab.directory, 'outside');
    await mkdir(outside);
    await symlink(outside, join(lab.directory, 'target'));
    await expect(lab.publish(volume.id)).rejects.toMatchObject({ kind: 'precondition' });
    const place = join(lab.mountPoint, 'volumes', volume.id);
    await runCommand('mv', [place, join(lab.mountPoint, 'aside')]);
    await symlink(outside, place);
    await expect(lab.publish(volume.id, 'other')).rejects.toMatchObject({ code: 'ELOOP' });
    await rm(place);
  });
});

it('mounts read-only on request, and refuses a target with a foreign mount', async () => {
  await using lab = await startStorageLab();
  const volume = await create(lab, 'first');
  const target = await lab.publish(volume.id, 'readonly', true);
  expect(await fill(join(target, 'data'), 1)).toBe('EROFS');
  const foreign = join(lab.directory, 'foreign');
  await mkdir(foreign);
  await runCommand('mount', ['-t', 'tmpfs', 'none', foreign]);
  await expect(lab.publish(volume.id, 'foreign')).rejects.toMatchObject({ kind: 'precondition' });
  await expect(lab.storage.staging.unpublish(volume.id, foreign)).rejects.toMatchObject({
    kind: 'precondition',
  });
  await runCommand('umount', [foreign]);
});

it('deletes a volume that was never unstaged', async () => {
  await using lab = await startStorageLab();
  const volume = await create(lab, 'first');
  const target = await lab.publish(volume.id);
  await lab.storage.staging.unpublish(volume.id, target);
  await lab.storage.volumes.delete(volume.id);
  expect(lab.storage.volumes.list()).toEqual([]);
});

it('creates 100 volumes at the same time without promising a byte twice, and deletes them', async () => {
  await using lab = await startStorageLab({ poolBytes: 4096n * MIB });
  const names = Array.from({ length: 100 }, (_, index) => `v${index}`);
  const volumes = await Promise.all(names.map((name) => create(lab, name, 16n)));
  expect(new Set(volumes.map(({ id }) => id)).size).toBe(100);
  const free = await lab.storage.pools.availableBytes({ pool: undefined });
  const half = free / MIB / 2n + 1n;
  const big = await Promise.allSettled(['a', 'b', 'c'].map((name) => create(lab, name, half)));
  expect(big.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  expect(big.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { kind: 'exhausted' } });
  await Promise.all(lab.storage.volumes.list().map(({ id }) => lab.storage.volumes.delete(id)));
  expect(await readdir(join(lab.stateDir, 'volumes'))).toEqual([]);
  expect((await lab.storage.health.report()).orphans).toEqual([]);
});

it('refuses a second operation on the same volume while one is in flight', async () => {
  await using lab = await startStorageLab();
  const volume = await create(lab, 'first');
  const outcomes = await Promise.allSettled([
    lab.storage.snapshots.create('a', volume.id),
    lab.storage.snapshots.create('b', volume.id),
  ]);
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
  expect(outcomes[1]).toMatchObject({ reason: { kind: 'busy' } });
});

function openPool({ stateDir, kernel }: StorageLab, name: string, file: string): Promise<OpenPool> {
  return openAnyPool({ ...filePool(name, file, 512n * MIB), stateDir }, { kernel, logger: silentLogger });
}

function openPath({ stateDir, kernel }: StorageLab, path: string): Promise<OpenPool> {
  const spec = { ...POOL_DEFAULTS, name: 'sub', backend: 'btrfs', source: { kind: 'path', path } } as const;
  return openAnyPool({ ...spec, stateDir }, { kernel, logger: silentLogger });
}

async function attachedLoops(file: string): Promise<string[]> {
  const { stdout } = await runCommand('losetup', ['--noheadings', '--output', 'NAME', '--associated', file]);
  return stdout
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}
