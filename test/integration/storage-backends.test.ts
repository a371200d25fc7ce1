import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe } from 'vitest';
import { type Kernel, startKernel } from '../../node-agent/linux/kernel.ts';
import { openPool, type OpenPool } from '../../node-agent/storage/open-pool.ts';
import type { ContentForm, VolumeShape } from '../../src/core/volume.ts';
import { runCommand } from '../../src/runtime/child-process.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { describeBackend } from '../contracts/volume-backend.ts';
import { filePool, MIB, requireRoot } from './storage-lab.ts';

beforeEach((context) => requireRoot(context));

/** Growing a mounted ext4 needs CAP_SYS_RESOURCE (24), which some sandboxes keep even from root. */
const mayGrowExt4 = await (async () => {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1];
  const has = (BigInt(`0x${effective ?? '0'}`) & (1n << 24n)) !== 0n;
  if (!has) console.log('no CAP_SYS_RESOURCE here: ext4 is grown while it is detached');
  return has;
})();

const files = (fsType: 'btrfs' | 'ext4' | 'xfs'): ContentForm => ({ volumeMode: 'Filesystem', fsType });
const devices: ContentForm = { volumeMode: 'Block', fsType: undefined };

describe.each([
  ['btrfs with simple quotas', { quota: 'simple' }, files('btrfs'), undefined],
  ['btrfs with classic quotas', { quota: 'classic' }, files('btrfs'), undefined],
  ['btrfs, block', {}, devices, undefined],
  ['image on xfs, ext4', { backend: 'image' }, files('ext4'), 'mkfs.xfs'],
  ['image on xfs, xfs', { backend: 'image' }, files('xfs'), 'mkfs.xfs'],
  ['image on xfs, btrfs', { backend: 'image' }, files('btrfs'), 'mkfs.xfs'],
  ['image on xfs, block', { backend: 'image' }, devices, 'mkfs.xfs'],
  ['image on ext4 (full copies), ext4', { backend: 'image' }, files('ext4'), 'mkfs.ext4'],
  ['image on ext4 (full copies), block', { backend: 'image' }, devices, 'mkfs.ext4'],
  ['image on btrfs, xfs', { backend: 'image' }, files('xfs'), 'mkfs.btrfs'],
] as const)('%s keeps the contract of a volume backend', (_, over, form, mkfs) => {
  let kernel: Kernel;
  let pool: OpenPool;
  let directory: string;
  /** Volumes that were shown, and where. */
  const shown = new Map<string, VolumeShape>();

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'keelson-backend-'));
    kernel = startKernel({ name: 'backend-test' });
    const file = join(directory, 'pool.img');
    if (mkfs !== undefined) {
      await writeFile(file, '');
      await runCommand('truncate', ['--size', String(6144n * MIB), file]);
      await runCommand(mkfs, [file]);
    }
    const spec = { ...filePool('contract', file, 6144n * MIB), ...over };
    pool = await openPool({ ...spec, stateDir: join(directory, 'state') }, { kernel, logger: silentLogger });
  });

  afterAll(async () => {
    for (const [target, volume] of shown) {
      await pool.mounts.unmount(volume, target);
      await pool.mounts.detach(volume);
    }
    await pool.unmount();
    await kernel[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  });

  const show = async (volume: VolumeShape): Promise<string> => {
    const target = join(directory, `target-${volume.id}`);
    await pool.mounts.attach(volume);
    await pool.mounts.mount(volume, target, { readonly: false, set: 0n, clear: 0n });
    shown.set(target, volume);
    return target;
  };

  describeBackend(() => ({
    pool,
    form,
    growsInUse: form.fsType !== 'ext4' || mayGrowExt4,
    async write(volume, text) {
      const target = await show(volume);
      if (volume.volumeMode === 'Block') {
        await runCommand('dd', [`of=${target}`, 'bs=4096', 'conv=notrunc,fsync', 'iflag=fullblock'], {
          input: Buffer.concat([Buffer.from(text)], 4096),
        });
      } else {
        await writeFile(join(target, 'text'), text);
      }
      await pool.mounts.unmount(volume, target);
    },
    async read(volume) {
      const target = await show(volume);
      const isBlock = volume.volumeMode === 'Block';
      const text = isBlock
        ? (await runCommand('dd', [`if=${target}`, 'bs=4096', 'count=1'])).stdout.replace(/\0.*$/s, '')
        : await readFile(join(target, 'text'), 'utf8');
      await pool.mounts.unmount(volume, target);
      return text;
    },
  }));
});
