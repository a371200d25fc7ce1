/**
 * Runs in an emulated machine, whose kernel has project quotas: `node directory-quota.ts`. The
 * runner is Node's own, because a larger one takes minutes to start there.
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Kernel, startKernel } from '../../../node-agent/linux/kernel/kernel.ts';
import { openPool } from '../../../node-agent/storage/pools/open-pool.ts';
import { RemovalBudget } from '../../../node-agent/linux/files/removal-budget.ts';
import { POOL_DEFAULTS, type PoolSpec } from '../../../src/core/pools/pool.ts';
import { isVolumeProject } from '../../../src/core/volumes/project-id.ts';
import type { VolumeShape } from '../../../src/core/volumes/volume.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { asPod, fillAsPod, MIB } from '../../integration/storage/storage-lab.ts';

const POOL_MIB = 1024n;
const shape = (number: number, fsType: 'xfs' | 'ext4', mebibytes = 16n): VolumeShape => ({
  id: `vol-${number.toString(16).padStart(24, '0')}`,
  sizeBytes: mebibytes * MIB,
  volumeMode: 'Filesystem',
  fsType,
});

/**
 * What the kernel holds these projects to. Nothing is open afterwards: the pool can be unmounted.
 */
async function readQuotas(root: string, projects: readonly number[], kernel: Kernel) {
  await using probe = await open(root, 'r');
  return await kernel.call('readProjectQuotas', probe.fd, projects);
}

/**
 * A directory of the test, with a file system mounted on `mounted` unless the pool makes its own.
 */
async function withPlace(
  mount: { readonly mkfs: readonly string[]; readonly options: string } | undefined,
  work: (place: { readonly directory: string; readonly spec: PoolSpec }) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp('/var/tmp/quota-');
  const [file, path] = [join(directory, 'pool.img'), join(directory, 'mounted')];
  const common = { ...POOL_DEFAULTS, name: 'held', backend: 'directory' } as const;
  if (mount === undefined) {
    await work({ directory, spec: { ...common, source: { kind: 'file', file, sizeBytes: POOL_MIB * MIB } } });
  } else {
    await runCommand('truncate', ['--size', String(POOL_MIB * MIB), file]);
    const [program = '', ...options] = mount.mkfs;
    await runCommand(program, [...options, file]);
    await mkdir(path);
    await runCommand('mount', ['--options', ['loop', mount.options].filter(Boolean).join(','), file, path]);
    await work({ directory, spec: { ...common, source: { kind: 'path', path } } });
    await runCommand('umount', [path]);
  }
  await rm(directory, { recursive: true });
}

const EXT4 = ['mkfs.ext4', '-q', '-F', '-O', 'quota,project'];
const PLACES = [
  ['xfs', 'a file of its own', undefined],
  ['xfs', 'a path', { mkfs: ['mkfs.xfs', '-q'], options: 'prjquota' }],
  ['ext4', 'a path', { mkfs: EXT4, options: 'prjquota' }],
] as const;

for (const [fsType, what, mount] of PLACES) {
  void test(`a volume on ${fsType} (${what}) is held to its size and to its inodes`, () =>
    withPlace(mount, async ({ directory, spec }) => {
      await using kernel = startKernel({ name: 'quota' });
      const stateDir = join(directory, 'state');
      const pool = await openPool({ ...spec, stateDir }, { kernel, logger: silentLogger });
      const { backend, mounts } = pool;
      assert.equal(backend.features.enforcement, 'project');
      assert.equal(pool.unfit, undefined);
      assert.equal(await pool.checkHealth(), undefined);

      const [first, second] = [shape(1, fsType), shape(2, fsType)];
      for (const volume of [first, second, first]) {
        await backend.ensureVolume(volume, undefined);
        await backend.setLimit(volume, volume.sizeBytes);
      }
      const target = join(directory, 'target');
      await mounts.mount(first, target, { readonly: false, set: 0n, clear: 0n });
      const full = await fillAsPod(join(target, 'large'), 24);
      console.log(`# beyond the size, ${fsType} answers ${full}`);
      assert.equal(full, fsType === 'xfs' ? 'ENOSPC' : 'EDQUOT');

      const { volumes } = await backend.usage();
      const usage = volumes.get(first.id);
      assert.equal(usage?.limitBytes, first.sizeBytes);
      assert.ok(usage.usedBytes > 12n * MIB && usage.usedBytes <= 16n * MIB, String(usage.usedBytes));
      assert.ok((volumes.get(second.id)?.usedBytes ?? MIB) < MIB, 'the other volume is charged with nothing');
      const stats = await mounts.stats(first);
      assert.equal(stats?.totalBytes, first.sizeBytes);
      const df = await runCommand('df', ['--block-size=1', '--output=size', target]);
      assert.equal(BigInt(df.stdout.split('\n')[1]?.trim() ?? ''), first.sizeBytes, 'a pod sees its size');

      const grown: VolumeShape = { ...first, sizeBytes: 64n * MIB, attributes: { quotaInodes: 20n } };
      await backend.setLimit(grown, grown.sizeBytes);
      assert.equal(await fillAsPod(join(target, 'large'), 24), 'ok');
      // The root of the volume and the large file are two of them.
      const names = Array.from({ length: 18 }, (_, number) => join(target, `f${number}`));
      assert.equal(await asPod('touch', ...names), 'ok');
      assert.equal(await asPod('touch', join(target, 'one-more')), fsType === 'xfs' ? 'ENOSPC' : 'EDQUOT');
      assert.equal((await backend.usage()).volumes.get(first.id)?.limitInodes, 20n);

      // Its files cannot be moved to another volume by a rename: that would take them out of their
      // project.
      const other = join(directory, 'other');
      await mounts.mount(second, other, { readonly: false, set: 0n, clear: 0n });
      const root = spec.source.kind === 'path' ? spec.source.path : join(stateDir, 'pools', 'held');
      const link = await runCommand(
        'ln',
        [join(root, 'volumes', first.id, 'data/f0'), join(root, 'volumes', second.id, 'data/f0')],
        { accept: [1] },
      );
      assert.match(link.stderr, /Invalid cross-device link/);
      await mounts.unmount(second, other);
      await mounts.unmount(first, target);

      // Projects are of Keelson's range, each its own, and free again when the volume is deleted.
      const projects = await Promise.all(
        [first, second].map(async ({ id }) => {
          const { stdout } = await runCommand('lsattr', ['-p', '-d', join(root, 'volumes', id)]);
          return Number(stdout.trim().split(/\s+/)[0]);
        }),
      );
      assert.ok(projects.every(isVolumeProject), projects.join());
      assert.notEqual(projects[0], projects[1]);
      for (const { id } of [first, second]) await backend.discard('volume', id);
      // The first of them holds more than the first run may free.
      const budget = new RemovalBudget(8n * MIB);
      const removed = await backend.collect(budget);
      assert.ok(budget.hasPostponed && removed < 2, String(removed));
      assert.equal(removed + (await backend.collect()), 2);
      assert.deepEqual(await readdir(join(root, 'volumes')), []);
      for (const { project, ...rest } of await readQuotas(root, projects, kernel)) {
        const nothing = { usedBytes: 0n, usedInodes: 0n, limitBytes: undefined, limitInodes: undefined };
        assert.deepEqual(rest, nothing, String(project));
      }
      await pool.unmount();
    }));
}

for (const [fsType, mkfs] of [['xfs', ['mkfs.xfs', '-q']] as const, ['ext4', EXT4] as const]) {
  void test(`a pool on ${fsType} without prjquota takes no volumes and says why`, () =>
    withPlace({ mkfs, options: '' }, async ({ directory, spec }) => {
      await using kernel = startKernel({ name: 'quota' });
      const stateDir = join(directory, 'state');
      const pool = await openPool({ ...spec, stateDir }, { kernel, logger: silentLogger });
      assert.equal(pool.backend.features.enforcement, 'none');
      assert.match(pool.unfit ?? '', /sizes are not enforced: .*prjquota/);
      await pool.unmount();
    }));
}
