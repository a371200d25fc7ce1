import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { PoolReport } from '../../../node-agent/storage/health/pool-report.ts';
import { POOL_DEFAULTS, type PoolSpec } from '../../../src/core/pools/pool.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { MIB, requireRoot, startStorageLab, type StorageLab } from './storage-lab.ts';

beforeEach((context) => requireRoot(context));

const range = { requiredBytes: 32n * MIB, limitBytes: 0n };
const plain = { name: 'plain', pool: 'plain', range, source: undefined };

interface DirectoryLab extends AsyncDisposable {
  readonly lab: StorageLab;
  readonly path: string;
  pool(): Promise<PoolReport | undefined>;
  want(change: Partial<PoolSpec>): Promise<void>;
}

/** Starts a lab with another pool `plain`: directories on an XFS that is mounted without quotas. */
async function startDirectoryLab(): Promise<DirectoryLab> {
  await using cleanup = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'keelson-directory-'));
  cleanup.defer(() => rm(directory, { recursive: true }));
  const [file, path] = [join(directory, 'xfs.img'), join(directory, 'xfs')];
  await runCommand('truncate', ['--size', String(1024n * MIB), file]);
  await runCommand('mkfs.xfs', ['-q', file]);
  await runCommand('mount', ['--mkdir', '--options', 'loop', file, path]);
  cleanup.defer(async () => {
    await runCommand('umount', [path]);
  });
  const lab = cleanup.use(await startStorageLab());
  const end = new AbortController();
  const service = lab.storage.run(end.signal);
  cleanup.defer(async () => {
    end.abort(new DOMException('end', 'AbortError'));
    await service;
  });
  const owned = cleanup.move();
  const source = { kind: 'path', path } as const;
  return {
    lab,
    path,
    pool: async () => (await lab.storage.health.report()).pools.find(({ name }) => name === 'plain'),
    want: (change) =>
      lab.storage.pools.request([
        { ...POOL_DEFAULTS, name: 'plain', backend: 'directory', source, ...change },
      ]),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

describe('a directory pool without enforced sizes', () => {
  it('accepts no volumes and reports why, until "enforce: false" is set', async () => {
    await using world = await startDirectoryLab();
    const { lab } = world;
    await world.want({});
    await expect.poll(() => world.pool()).toMatchObject({ isAccepting: false, quota: 'none' });
    expect((await world.pool())?.problem).toMatch(
      /sizes are not enforced: .*xfs \(xfs\).*prjquota.*"enforce: false"/,
    );
    await expect(lab.storage.volumes.create(plain)).rejects.toMatchObject({
      kind: 'exhausted',
      message: expect.stringMatching(
        /^pool plain does not accept new volumes: sizes are not enforced/,
      ) as string,
    });
    expect(await readdir(join(world.path, 'volumes'))).toEqual([]);

    await world.want({ enforce: false });
    await expect.poll(() => world.pool()).toMatchObject({ isAccepting: true, problem: undefined });
    expect((await world.pool())?.features).toEqual(['expand', 'fs-xfs']);
    const { id } = await lab.storage.volumes.create(plain);
    expect(lab.storage.health.conditionMessage(id)).toBe(
      'volume size is not enforced: pool plain has no quota',
    );
    const target = await lab.publish(id);
    await writeFile(join(target, 'kept'), 'kept');

    await world.want({});
    await expect.poll(() => world.pool()).toMatchObject({ isAccepting: false });
    // Existing volumes stay usable, and their condition reports it.
    expect(await readFile(join(await lab.publish(id, 'second'), 'kept'), 'utf8')).toBe('kept');
    expect(await lab.storage.health.checkVolume(id)).toMatchObject([{ status: 'degraded' }]);
  });

  it('reports the usage of the whole file system, and counts volumes with their size', async () => {
    await using world = await startDirectoryLab();
    await world.want({ enforce: false });
    await expect.poll(() => world.pool()).toMatchObject({ isAccepting: true });
    const before = (await world.pool())?.capacity;
    const { id } = await world.lab.storage.volumes.create(plain);
    const after = (await world.pool())?.capacity;
    const taken = (before?.availableBytes ?? 0n) - (after?.availableBytes ?? 0n);
    expect(taken).toBeGreaterThanOrEqual(range.requiredBytes);
    expect(taken).toBeLessThan(range.requiredBytes + MIB);
    const stats = await world.lab.storage.staging.stats(id, await world.lab.publish(id));
    expect(stats.totalBytes).toBeGreaterThan(900n * MIB);
    expect(stats.inodes?.total).toBeGreaterThan(0n);
  });
});

it('a volume is removed with all files that a pod created, and nothing else', async () => {
  await using world = await startDirectoryLab();
  const { lab, path } = world;
  await world.want({ enforce: false });
  await expect.poll(() => world.pool()).toMatchObject({ isAccepting: true });
  const { id } = await lab.storage.volumes.create(plain);
  const target = await lab.publish(id);
  const outside = join(lab.directory, 'outside');
  await mkdir(outside);
  await writeFile(join(outside, 'kept'), 'kept');
  // Paths beyond PATH_MAX, links out of the tree, and an immutable file.
  const script = [
    'cd "$1"; ln -s "$2" way-out; ln -s / root; touch stuck; chattr +i stuck',
    'for i in $(seq 60); do n=$(printf "%0100d" $i); mkdir $n; cd $n; done; touch deep',
  ].join('; ');
  await runCommand('bash', ['-ec', script, 'bash', target, outside]);
  await lab.storage.staging.unpublish(id, target);
  await lab.storage.staging.unstage(id, join(lab.directory, 'staging'));
  await lab.storage.volumes.delete(id);
  await expect.poll(() => readdir(join(path, 'volumes'))).toEqual([]);
  expect(await readFile(join(outside, 'kept'), 'utf8')).toBe('kept');
  await stat('/etc/passwd');
});

it('an incomplete directory is removed after a crash, without following links in it', async () => {
  await using world = await startDirectoryLab();
  const { lab, path } = world;
  await world.want({ enforce: false });
  await expect.poll(() => world.pool()).toMatchObject({ isAccepting: true });
  const { id } = await lab.storage.volumes.create(plain);
  await mkdir(join(path, 'volumes', 'new-vol-0000000000000000000000aa', 'data'), { recursive: true });
  await lab.storage.volumes.delete(id);
  await expect.poll(() => readdir(join(path, 'volumes'))).toEqual([]);
});
