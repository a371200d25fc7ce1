import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'vitest';
import type { IoCgroups } from '../../../node-agent/linux/process/io-cgroups.ts';
import { type Kernel, startKernel } from '../../../node-agent/linux/kernel/kernel.ts';
import { openStorage, type Storage } from '../../../node-agent/storage/open-storage.ts';
import type { BackendKind } from '../../../src/core/volumes/backend-features.ts';
import { POOL_DEFAULTS, type PoolSpec } from '../../../src/core/pools/pool.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';

export const MIB = 1n << 20n;

export interface StorageLabOptions {
  readonly quota?: 'auto' | 'simple' | 'classic';
  readonly backend?: BackendKind;
  readonly poolBytes?: bigint;
}

/**
 * A storage service on a real btrfs in a sparse file. Disposing unmounts and removes everything.
 */
export interface StorageLab extends AsyncDisposable {
  readonly directory: string;
  readonly stateDir: string;
  readonly poolFile: string;
  readonly mountPoint: string;
  readonly kernel: Kernel;
  storage: Storage;
  /** Called after every operation that may have changed a pool's usage. */
  onUsageChange: () => void;
  /** Restarts the service as after a crash or an update; `between` changes the disk meanwhile. */
  restart(between?: () => Promise<void>): Promise<void>;
  /** Stages and publishes the volume at its own directory, and returns that. */
  publish(volumeId: string, name?: string, readonly?: boolean): Promise<string>;
}

export async function startStorageLab({
  quota = 'auto',
  backend = 'btrfs',
  poolBytes = 1024n * MIB,
}: StorageLabOptions = {}): Promise<StorageLab> {
  await using cleanup = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'keelson-storage-'));
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  const kernel = cleanup.use(startKernel({ name: 'storage-test' }));
  const stateDir = join(directory, 'state');
  const poolFile = join(directory, 'pool.img');
  const mountPoint = join(stateDir, 'pools', 'default');
  const hooks = { onUsageChange: (): void => undefined };
  const start = (): Promise<Storage> =>
    openStorage(
      {
        stateDir,
        // Not every kernel supports the project quotas that enforce directories' sizes.
        pools: [
          {
            ...filePool('default', poolFile, poolBytes),
            ...{ backend, quota, enforce: backend !== 'directory' },
          },
        ],
      },
      { kernel, logger: silentLogger, onUsageChange: () => hooks.onUsageChange() },
    );
  const lab = Object.assign(hooks, {
    directory,
    stateDir,
    poolFile,
    mountPoint,
    kernel,
    storage: await start(),
    async restart(between?: () => Promise<void>) {
      await lab.storage[Symbol.asyncDispose]();
      await between?.();
      lab.storage = await start();
    },
    async publish(volumeId: string, name = 'target', readonly = false) {
      const target = join(directory, name);
      const stagingPath = join(directory, 'staging');
      await mkdir(stagingPath, { recursive: true });
      await lab.storage.staging.stage(volumeId, stagingPath);
      await lab.storage.staging.publish({
        volumeId,
        stagingPath,
        target,
        readonly,
        flags: [],
        accessMode: 'SINGLE_NODE_MULTI_WRITER',
      });
      return target;
    },
  });
  const kept = cleanup.move();
  return Object.assign(lab, {
    async [Symbol.asyncDispose]() {
      for (const { id, published, staged } of (await lab.storage.health.report()).volumes) {
        for (const { target } of published) await lab.storage.staging.unpublish(id, target);
        for (const path of staged) await lab.storage.staging.unstage(id, path);
      }
      await lab.storage.pools.unmount();
      await kept.disposeAsync();
    },
  });
}

/** Returns a btrfs pool in a file, with defaults. */
export function filePool(name: string, file: string, sizeBytes: bigint): PoolSpec {
  return { ...POOL_DEFAULTS, name, backend: 'btrfs', source: { kind: 'file', file, sizeBytes } };
}

/** A host that supports I/O limits, without any cgroup. */
export const NO_CGROUPS: IoCgroups = { isFlat: false, list: async () => [], limit: async () => undefined };

/** Skips the test if it cannot mount. */
export function requireRoot(context: TestContext): void {
  if (process.getuid?.() !== 0) context.skip('needs root: loop devices and mounts');
}

/**
 * Runs a command as an unprivileged pod; resolves to `ok` or the name of the error. With
 * CAP_SYS_RESOURCE, ext4 would ignore the quota.
 */
export async function asPod(...command: readonly string[]): Promise<string> {
  const args = ['--bounding-set', '-sys_resource', '--', ...command];
  const { code, stderr } = await runCommand('setpriv', args, { accept: [1], timeoutMs: 600_000 });
  if (code === 0) return 'ok';
  const known = REASONS.find(([text]) => stderr.includes(text));
  return known?.[1] ?? stderr;
}

const REASONS = [
  ['No space left on device', 'ENOSPC'],
  ['Disk quota exceeded', 'EDQUOT'],
] as const;

/** Writes and syncs the given MiB as a pod does; resolves as `asPod` does. */
export function fillAsPod(file: string, mebibytes: number): Promise<string> {
  return asPod(
    'dd',
    'if=/dev/zero',
    `of=${file}`,
    'bs=1M',
    `count=${mebibytes}`,
    'conv=fsync',
    'status=none',
  );
}

const NAME_BY_ERRNO: Readonly<Record<number, string>> = { [-28]: 'ENOSPC', [-122]: 'EDQUOT', [-30]: 'EROFS' };

/**
 * Writes and syncs the given MiB; resolves to `ok` or the name of the error. Node has no name for
 * EDQUOT.
 */
export async function fill(file: string, mebibytes: number): Promise<string> {
  try {
    await using handle = await open(file, 'w');
    for (let count = 0; count < mebibytes; count += 1) await handle.write(Buffer.alloc(1 << 20, count + 1));
    await handle.sync();
    return 'ok';
  } catch (error) {
    const { errno = 0, code = 'unknown' } = error as NodeJS.ErrnoException;
    return NAME_BY_ERRNO[errno] ?? code;
  }
}
