import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { type Kernel, startKernel } from '../../../node-agent/linux/kernel/kernel.ts';
import { openPool, type OpenPool } from '../../../node-agent/storage/pools/open-pool.ts';
import { growsMounted } from '../../../node-agent/storage/backends/image/volume-filesystem.ts';
import type { PoolSpec } from '../../../src/core/pools/pool.ts';
import type { ContentForm, VolumeShape } from '../../../src/core/volumes/volume.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { type BackendTraits, describeBackend } from '../../contracts/volume-backend.ts';
import { filePool, fillAsPod, MIB } from './storage-lab.ts';

const mayGrowExt4 = await growsMounted('ext4');
if (!mayGrowExt4) console.log('no CAP_SYS_RESOURCE here: ext4 is grown while it is detached');

/** A pool for the contract suite. */
export interface RealBackend {
  readonly spec: Partial<PoolSpec>;
  readonly form: ContentForm;
  /** Creates the file system in the pool's file; absent: the pool does. */
  readonly mkfs?: string | undefined;
  /**
   * Mount options of a file system that is mounted outside, with the pool as a path; absent: the
   * pool is the file.
   */
  readonly mountedWith?: string | undefined;
  readonly traits?: Partial<BackendTraits>;
}

const POOL_BYTES = 6144n * MIB;

/** Runs the contract of a volume backend on a real pool in a sparse file. */
export function describeRealBackend({ spec: over, form, mkfs, mountedWith, traits }: RealBackend): void {
  let kernel: Kernel;
  let pool: OpenPool;
  let directory: string;
  /** Mounted volumes and their targets. */
  const shown = new Map<string, VolumeShape>();

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'keelson-backend-'));
    kernel = startKernel({ name: 'backend-test' });
    const file = join(directory, 'pool.img');
    if (mkfs !== undefined) {
      await writeFile(file, '');
      await runCommand('truncate', ['--size', String(POOL_BYTES), file]);
      const [program = '', ...options] = mkfs.split(' ');
      await runCommand(program, [...options, file]);
    }
    const spec = { ...filePool('contract', file, POOL_BYTES), ...over };
    const path = join(directory, 'mounted');
    if (mountedWith !== undefined) {
      const options = ['loop', mountedWith].filter((option) => option !== '').join(',');
      await runCommand('mount', ['--mkdir', '--options', options, file, path]);
    }
    const source = mountedWith === undefined ? spec.source : { kind: 'path' as const, path };
    const stateDir = join(directory, 'state');
    pool = await openPool({ ...spec, source, stateDir }, { kernel, logger: silentLogger });
  });

  afterAll(async () => {
    for (const [target, volume] of shown) {
      await pool.mounts.unmount(volume, target);
      await pool.mounts.detach(volume);
    }
    await pool.unmount();
    if (mountedWith !== undefined) await runCommand('umount', [join(directory, 'mounted')]);
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

  const isBlock = form.volumeMode === 'Block';
  describeBackend(
    () => ({
      pool,
      form,
      growsInUse: form.fsType !== 'ext4' || pool.backend.features.backend !== 'image' || mayGrowExt4,
      async write(volume, text) {
        const target = await show(volume);
        if (isBlock) {
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
        const text = isBlock
          ? (await runCommand('dd', [`if=${target}`, 'bs=4096', 'count=1'])).stdout.replace(/\0.*$/s, '')
          : await readFile(join(target, 'text'), 'utf8');
        await pool.mounts.unmount(volume, target);
        return text;
      },
      async fill(volume, mebibytes) {
        const target = await show(volume);
        const outcome = await fillAsPod(join(target, 'filling'), mebibytes);
        await pool.mounts.unmount(volume, target);
        return outcome;
      },
    }),
    { copies: true, ...(isBlock ? {} : { holdsSize: true }), ...traits },
  );
}
