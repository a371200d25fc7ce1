import { mkdir, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { openPool, type OpenPool } from '../../../node-agent/storage/pools/open-pool.ts';
import { POOL_DEFAULTS, type PoolSpec } from '../../../src/core/pools/pool.ts';
import { parsePoolSelector } from '../../../src/core/volumes/pool-selector.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { fill, filePool, MIB, requireRoot, startStorageLab, type StorageLab } from './storage-lab.ts';

beforeEach((context) => requireRoot(context));

const exactly = (mebibytes: bigint) => ({ requiredBytes: mebibytes * MIB, limitBytes: mebibytes * MIB });
const create = (lab: StorageLab, name: string, pool: string) =>
  lab.storage.volumes.create({ name, pool, range: exactly(32n), source: undefined });
const poolOf = async (lab: StorageLab, name: string) =>
  (await lab.storage.health.report()).pools.find((pool) => pool.name === name);

/** Runs the lab's storage, which opens and closes pools, until the callback ends. */
async function running(lab: StorageLab, work: () => Promise<void>): Promise<void> {
  const end = new AbortController();
  const service = lab.storage.run(end.signal);
  try {
    await work();
  } finally {
    end.abort(new DOMException('end', 'AbortError'));
    await service;
  }
}

describe('pools that the API requests', () => {
  it('open without a restart, open again after one, and close when they are empty', async () => {
    await using lab = await startStorageLab();
    const extra = {
      ...filePool('extra', join(lab.directory, 'extra.img'), 512n * MIB),
      backend: 'image',
    } as const;
    let id = '';
    await running(lab, async () => {
      await lab.storage.pools.request([extra]);
      await expect.poll(() => poolOf(lab, 'extra')).toMatchObject({ isAccepting: true, origin: 'api' });
      id = (await create(lab, 'v', 'extra')).id;
    });
    await lab.restart();
    expect(await poolOf(lab, 'extra')).toMatchObject({ isAccepting: true, origin: 'api' });
    expect(lab.storage.volumes.get(id)).toMatchObject({ pool: 'extra', fsType: 'ext4' });
    await running(lab, async () => {
      await lab.storage.pools.request([]);
      await expect.poll(() => poolOf(lab, 'extra')).toMatchObject({ isAccepting: false });
      await expect(create(lab, 'w', 'extra')).rejects.toMatchObject({ kind: 'exhausted' });
      await lab.publish(id);
      await lab.storage.staging.unpublish(id, join(lab.directory, 'target'));
      await lab.storage.volumes.delete(id);
      await expect.poll(() => poolOf(lab, 'extra')).toBeUndefined();
    });
    // Its data stays: requesting it again opens the same pool.
    await stat(join(lab.directory, 'extra.img'));
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(
      join(lab.stateDir, 'pools', 'extra'),
    );
  });

  it('do not replace a pool of the configuration, and do not affect other pools when they fail', async () => {
    await using lab = await startStorageLab();
    const missing: PoolSpec = {
      ...POOL_DEFAULTS,
      name: 'missing',
      backend: 'image',
      source: { kind: 'path', path: join(lab.directory, 'nowhere') },
    };
    await running(lab, async () => {
      await lab.storage.pools.request([{ ...missing, name: 'default' }, missing]);
      await expect
        .poll(async () => (await poolOf(lab, 'missing'))?.problem ?? '')
        .toMatch(/nowhere does not exist/);
      expect(await poolOf(lab, 'default')).toMatchObject({ origin: 'config', isAccepting: true });
      await create(lab, 'v', 'default');
      await expect(create(lab, 'w', 'missing')).rejects.toMatchObject({ kind: 'unavailable' });
      await mkdir(join(lab.directory, 'nowhere'));
      await expect.poll(() => poolOf(lab, 'missing')).toMatchObject({ isAccepting: true });
    });
  });

  it('are selected by their labels, which may change, and are recorded for the next start', async () => {
    await using lab = await startStorageLab();
    const labelled = (name: string, labels: Readonly<Record<string, string>>): PoolSpec => ({
      ...filePool(name, join(lab.directory, `${name}.img`), 512n * MIB),
      labels,
    });
    const fast = labelled('fast', { media: 'ssd' });
    const select = (text: string) => ({
      name: text,
      pool: undefined,
      poolSelector: parsePoolSelector(text, 'poolSelector'),
      range: exactly(16n),
      source: undefined,
    });
    await running(lab, async () => {
      await lab.storage.pools.request([fast, labelled('slow', { media: 'hdd' })]);
      await expect.poll(() => poolOf(lab, 'slow')).toMatchObject({ isAccepting: true });
    });
    await lab.restart();
    expect(await lab.storage.volumes.create(select('media=hdd'))).toMatchObject({ pool: 'slow' });
    const { pool } = await lab.storage.volumes.create(select('media'));
    expect(['fast', 'slow']).toContain(pool);
    await expect(lab.storage.volumes.create(select('media=tape'))).rejects.toMatchObject({
      kind: 'exhausted',
    });
    await running(lab, async () => {
      await lab.storage.pools.request([
        { ...fast, labels: { media: 'tape' } },
        labelled('slow', { media: 'hdd' }),
      ]);
      await expect.poll(() => poolOf(lab, 'fast')).toMatchObject({ labels: { media: 'tape' } });
      expect(await lab.storage.volumes.create(select('media=tape'))).toMatchObject({ pool: 'fast' });
    });
  });

  it('grow when their size is raised, and refuse other changes', async () => {
    await using lab = await startStorageLab();
    const file = join(lab.directory, 'extra.img');
    for (const backend of ['btrfs', 'image'] as const) {
      const name = `grown-${backend}`;
      const small = { ...filePool(name, `${file}.${backend}`, 600n * MIB), backend };
      await running(lab, async () => {
        await lab.storage.pools.request([small]);
        await expect.poll(() => poolOf(lab, name)).toMatchObject({ isAccepting: true });
        await lab.storage.pools.request([
          { ...small, source: { ...small.source, sizeBytes: 1200n * MIB } as never },
        ]);
        await expect
          .poll(async () => (await poolOf(lab, name))?.capacity?.totalBytes ?? 0n)
          .toBeGreaterThan(1000n * MIB);
        const changed = { ...small, backend: backend === 'btrfs' ? ('image' as const) : ('btrfs' as const) };
        await lab.storage.pools.request([changed]);
        await expect.poll(async () => (await poolOf(lab, name))?.problem).toMatch(/cannot be changed/);
        await lab.storage.pools.request([]);
        await expect.poll(() => poolOf(lab, name)).toBeUndefined();
      });
    }
  });
});

describe('devices', () => {
  it('are formatted when they are empty, recognised later, and joined by further empty ones', async () => {
    await using lab = await startStorageLab();
    await using first = await attach(lab, 'disk-1');
    await using second = await attach(lab, 'disk-2');
    {
      const pool = await openDevices(lab, 'disks', [first.path]);
      expect((await pool.backend.usage()).totalBytes).toBe(512n * MIB);
      await pool.unmount();
    }
    const pool = await openDevices(lab, 'disks', [first.path, second.path]);
    expect((await pool.backend.usage()).totalBytes).toBe(1024n * MIB);
    await pool.unmount();
  });

  it('are refused with any content, and not changed', async () => {
    await using lab = await startStorageLab();
    await using empty = await attach(lab, 'disk-1');
    const foreign: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
      ext4: (path) => runCommand('mkfs.ext4', ['-q', path]),
      'foreign file system': (path) => runCommand('mkfs.xfs', ['-q', '-L', 'theirs', path]),
      swap: (path) => runCommand('mkswap', [path]),
      'one byte at the end': async (path) => {
        await using handle = await open(path, 'r+');
        await handle.write(Buffer.from([1]), 0, 1, Number(512n * MIB) - 1);
        await handle.sync();
      },
    };
    for (const [what, mark] of Object.entries(foreign)) {
      const file = join(lab.directory, 'marked');
      await rm(file, { force: true });
      await using device = await attach(lab, 'marked');
      await mark(device.path);
      const before = await readEnds(file);
      await expect(openDevices(lab, 'marked', [empty.path, device.path]), what).rejects.toMatchObject({
        kind: 'precondition',
      });
      expect((await readEnds(file)).equals(before), what).toBe(true);
    }
    expect((await runCommand('blkid', ['--probe', empty.path], { accept: [2] })).code).toBe(2);
  });
});

describe('volumes on backend image', () => {
  it('have enforced sizes, and are attached again after a reboot', async () => {
    await using lab = await startStorageLab({ backend: 'image', poolBytes: 2048n * MIB });
    const volume = await create(lab, 'v', 'default');
    const target = await lab.publish(volume.id);
    expect(await fill(join(target, 'data'), 8)).toBe('ok');
    expect(await fill(join(target, 'more'), 40)).toBe('ENOSPC');
    expect((await lab.storage.staging.stats(volume.id, target)).inodes?.used).toBeGreaterThan(0n);
    const mounted = join(lab.stateDir, 'mounts', 'default', volume.id);
    await lab.restart(async () => {
      for (const place of [target, mounted, lab.mountPoint]) await lab.kernel.call('umount', place, 0);
    });
    // Attached again without a call.
    expect(await readFile('/proc/self/mountinfo', 'utf8')).toContain(mounted);
    await lab.publish(volume.id);
    expect(await readFile(join(target, 'data'))).toHaveLength(8 << 20);
    const used = async () => (await poolOf(lab, 'default'))?.capacity?.allocatedBytes ?? 0n;
    const snapshot = await lab.storage.snapshots.create('s', volume.id);
    expect(await used()).toBeGreaterThan(32n * MIB);
    await lab.storage.snapshots.delete(snapshot.id);
  });

  it('are thawed after a kill that left them frozen', async () => {
    await using lab = await startStorageLab({ backend: 'image', poolBytes: 1024n * MIB });
    const volume = await create(lab, 'v', 'default');
    const target = await lab.publish(volume.id);
    await lab.restart(async () => {
      expect(await lab.kernel.call('freezeFilesystem', target)).toBe(true);
    });
    expect(await fill(join(target, 'data'), 1)).toBe('ok');
  });

  it('are not formatted when their file has other content', async () => {
    await using lab = await startStorageLab({ backend: 'image', poolBytes: 1024n * MIB });
    const volume = await create(lab, 'v', 'default');
    const file = join(lab.mountPoint, 'volumes', `${volume.id}.img`);
    await writeFile(file, Buffer.alloc(1 << 20, 7));
    await expect(lab.publish(volume.id)).rejects.toThrow(
      /has no known file system in its file, expected ext4/,
    );
    expect((await readFile(file))[0]).toBe(7);
  });
});

it('a read-only Block volume does not leave a read-only device to its next user', async () => {
  await using lab = await startStorageLab();
  const request = {
    name: 'v',
    pool: 'default',
    range: exactly(32n),
    source: undefined,
    volumeMode: 'Block',
  } as const;
  const volume = await lab.storage.volumes.create(request);
  const target = await lab.publish(volume.id, 'target', true);
  expect(await fill(target, 1)).toMatch(/EPERM|EACCES|EROFS/);
  const writable = lab.publish(volume.id, 'writable');
  await expect(writable).rejects.toThrow(/is published read-only at/);
  await lab.storage.staging.unpublish(volume.id, target);
  const again = await lab.publish(volume.id, 'writable');
  expect(await fill(again, 1)).toBe('ok');
  await lab.storage.staging.unpublish(volume.id, again);
  await lab.publish(volume.id, 'target', true);
  const device = await lab.kernel.call('findLoopPath', join(lab.mountPoint, 'volumes', volume.id, 'device'));
  await lab.storage.staging.unpublish(volume.id, target);
  await lab.storage.volumes.delete(volume.id);
  expect((await runCommand('blockdev', ['--getro', device ?? ''])).stdout.trim()).toBe('0');
});

function openDevices(lab: StorageLab, name: string, devices: readonly string[]): Promise<OpenPool> {
  const spec: PoolSpec = { ...POOL_DEFAULTS, name, backend: 'btrfs', source: { kind: 'devices', devices } };
  return openPool({ ...spec, stateDir: lab.stateDir }, { kernel: lab.kernel, logger: silentLogger });
}

/** Places of signatures: the first and the last MiB. */
async function readEnds(file: string): Promise<Buffer> {
  const ends = Buffer.alloc(2 << 20);
  await using handle = await open(file, 'r');
  await handle.read(ends, 0, 1 << 20, 0);
  await handle.read(ends, 1 << 20, 1 << 20, Number(512n * MIB) - (1 << 20));
  return ends;
}

/** Creates a disk of 512 MiB: a loop device on a file of the lab. */
async function attach(lab: StorageLab, name: string): Promise<AsyncDisposable & { readonly path: string }> {
  const file = join(lab.directory, name);
  await runCommand('truncate', ['--size', String(512n * MIB), file]);
  const { stdout } = await runCommand('losetup', ['--find', '--show', file]);
  const path = stdout.trim();
  return {
    path,
    async [Symbol.asyncDispose]() {
      await runCommand('losetup', ['--detach', path]);
    },
  };
}
