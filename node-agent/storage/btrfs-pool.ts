import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import type { QuotaMode } from '../../src/core/volume-quota.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import type { Kernel } from '../linux/kernel.ts';
import { SysError } from '../linux/libc.ts';
import type { Pool } from './backend.ts';
import { BindMounts } from './bind-mounts.ts';
import { BtrfsBackend } from './btrfs-backend.ts';
import { ensureIdentity, readIdentityFile } from './pool-marker.ts';
import { ensurePoolFile, ensurePoolMounted, mountedAt, poolMountPoint } from './pool-source.ts';

export interface BtrfsPoolOptions {
  readonly name: string;
  readonly source:
    | { readonly kind: 'path'; readonly path: string }
    | { readonly kind: 'file'; readonly file: string; readonly sizeBytes: bigint };
  readonly quota: 'auto' | QuotaMode;
  readonly stateDir: string;
}

/** A pool that is open; disposing closes it and leaves it mounted, for the pods that use it. */
export interface OpenPool extends Pool, AsyncDisposable {
  /** Unmounts a pool that has a file; its loop device goes with it. Throws `busy` while volumes are mounted. */
  unmount(): Promise<void>;
}

const UMOUNT_NOFOLLOW = 8;

/** Puts a pool into service: makes it if it is new, finds what an earlier run left, and refuses whatever is not this pool. */
export async function openBtrfsPool(
  { name, source, quota, stateDir }: BtrfsPoolOptions,
  { kernel, logger }: { readonly kernel: Kernel; readonly logger: Logger },
): Promise<OpenPool> {
  const records = join(stateDir, 'pools');
  await mkdir(records, { recursive: true, mode: 0o700 });
  const recordPath = join(records, `${name}.json`);
  const recorded = await readIdentityFile(recordPath);
  const mountPoint = source.kind === 'file' ? poolMountPoint(stateDir, name) : undefined;
  if (source.kind === 'file' && mountPoint !== undefined) {
    const { file, sizeBytes } = source;
    await ensurePoolFile({ pool: name, file, sizeBytes, known: recorded !== undefined });
    await ensurePoolMounted({ pool: name, file, mountPoint }, { kernel });
  }
  const path = source.kind === 'path' ? source.path : poolMountPoint(stateDir, name);
  await using cleanup = new AsyncDisposableStack();
  const handle = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    throw new Fault(
      'precondition',
      `pool ${name}: ${path} does not exist; mount a btrfs there, or correct the path`,
    );
  });
  cleanup.use(handle);
  const root = handle.fd;
  const fsUuid = await kernel.call('readBtrfsUuid', root);
  if (fsUuid === undefined) {
    throw new Fault(
      'precondition',
      `pool ${name}: ${path} is not on btrfs; mount one there, or use {file, size}`,
      {
        fields: { pool: name, path },
      },
    );
  }
  const identity = await ensureIdentity(`/proc/self/fd/${root}`, {
    pool: name,
    fsUuid,
    recorded,
    recordPath,
  });
  const quotaMode = await ensureQuota(root, fsUuid, { name, quota }, kernel);
  for (const directory of ['volumes', 'snapshots']) {
    await mkdir(`/proc/self/fd/${root}/${directory}`, { recursive: true, mode: 0o700 });
  }
  await kernel.call('syncFilesystem', root);
  const opened = cleanup.move();
  logger.info({ pool: name, poolUuid: identity.poolUuid, fsUuid, quotaMode, path }, 'pool opened');

  return {
    name,
    backend: new BtrfsBackend(
      { root, fsUuid, quotaMode, ownsFilesystem: source.kind === 'file' },
      { kernel },
    ),
    mounts: new BindMounts({ root }, { kernel }),
    async checkHealth() {
      const state = await kernel.call('readQuotaState', fsUuid);
      if (state === undefined)
        return `quotas are off on pool ${name}: sizes are not enforced; restart the agent`;
      if (state.inconsistent)
        return `quotas of pool ${name} are inconsistent: run "btrfs quota rescan ${path}"`;
      return undefined;
    },
    async unmount() {
      await opened.disposeAsync();
      if (mountPoint !== undefined && (await mountedAt(mountPoint)) !== undefined) {
        await kernel.call('umount', mountPoint, UMOUNT_NOFOLLOW);
      }
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

/** What a kernel or filesystem without simple quotas answers. */
const NOT_SUPPORTED = ['EINVAL', 'ENOTTY', 'EOPNOTSUPP'];

async function ensureQuota(
  root: number,
  fsUuid: string,
  { name, quota }: Pick<BtrfsPoolOptions, 'name' | 'quota'>,
  kernel: Kernel,
): Promise<QuotaMode> {
  const state = await kernel.call('readQuotaState', fsUuid);
  if (state !== undefined) {
    if (quota === 'auto' || quota === state.mode) return state.mode;
    throw new Fault(
      'precondition',
      `pool ${name} asks for ${quota} quotas, but its filesystem has ${state.mode} ones; they cannot be changed while it holds volumes`,
      { fields: { pool: name, quota, found: state.mode } },
    );
  }
  if (quota !== 'classic') {
    try {
      await kernel.call('enableQuota', root, 'simple');
      return 'simple';
    } catch (error) {
      if (!(error instanceof SysError && NOT_SUPPORTED.includes(error.code))) throw error;
      if (quota === 'simple') {
        throw new Fault('unsupported', `pool ${name} asks for simple quotas, which need Linux 6.7 or newer`, {
          fields: { pool: name },
          cause: error,
        });
      }
    }
  }
  await kernel.call('enableQuota', root, 'classic');
  await kernel.call('waitForQuotaRescan', root);
  return 'classic';
}
