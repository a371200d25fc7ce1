import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { BackendKind } from '../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../src/core/fault.ts';
import type { PoolSpec } from '../../../src/core/pools/pool.ts';
import type { CapacityPolicy } from '../../../src/core/pools/pool-capacity.ts';
import { retry } from '../../../src/runtime/retry.ts';
import { type Kernel, startKernel } from '../../linux/kernel/kernel.ts';
import { SysError } from '../../linux/libc/libc.ts';
import { DIRECTORIES } from '../contract/volume-backend.ts';
import type { Pool } from '../contract/pool.ts';
import { openBtrfs } from '../backends/btrfs/btrfs-pool.ts';
import { openDirectories } from '../backends/directory/directory-pool.ts';
import { openImages } from '../backends/image/image-pool.ts';
import { FileGroups } from '../mounts/file-groups.ts';
import type {
  OpenPoolDeps,
  PoolContents,
  PoolContentsDeps,
  PoolDirectory,
} from '../contract/pool-contents.ts';
import { ensurePoolDevices } from './pool-devices.ts';
import { ensurePoolFile } from './pool-file.ts';
import {
  ensurePoolFileMounted,
  mountedAt,
  poolFilesystems,
  poolMountOptions,
  poolMountPoint,
} from './pool-filesystem.ts';
import { requirePermanence } from './pool-permanence.ts';
import { ensureIdentity, type PoolIdentity, readIdentityFile } from './pool-marker.ts';

/** An open pool. Disposing closes it and leaves it mounted for the pods that use it. */
export interface OpenPool extends Pool, AsyncDisposable {
  /** Unmounts a pool of source `file` or `devices`. Throws `busy` while volumes are mounted. */
  unmount(): Promise<void>;
  /** Applies a larger file, another reserve or more devices while the pool is in service. */
  update(spec: PoolSpec): Promise<void>;
  /** Why the pool serves its volumes but accepts no new ones; undefined if it accepts them. */
  readonly unfit: string | undefined;
}

const OPEN: Readonly<
  Record<BackendKind, (directory: PoolDirectory, deps: PoolContentsDeps) => Promise<PoolContents>>
> = { btrfs: openBtrfs, image: openImages, directory: openDirectories };

const UMOUNT_NOFOLLOW = 8;

/**
 * Opens a pool: creates a new one, or finds the one that was in service. Throws `precondition`,
 * with nothing written, for a file system or directory that is not this pool.
 */
export async function openPool(
  { stateDir, ...spec }: PoolSpec & { readonly stateDir: string },
  deps: OpenPoolDeps,
): Promise<OpenPool> {
  const { name, source } = spec;
  const { kernel } = deps;
  const records = await readPoolRecord(stateDir, name);
  await requirePermanence(spec, stateDir);
  const mountPoint = poolMountPoint(stateDir, name);
  await using mounted = new AsyncDisposableStack();
  // On failure, unmounts what turned out not to be this pool; an earlier mount stays.
  if (source.kind !== 'path' && (await mountedAt(mountPoint)) === undefined) {
    mounted.defer(() => unmountIfMounted(mountPoint, kernel));
  }
  await ensureMounted({ spec, mountPoint, recorded: records.recorded }, deps);
  const path = source.kind === 'path' ? source.path : mountPoint;
  await using opened = new AsyncDisposableStack();
  const root = opened.use(await openRoot(name, path)).fd;
  const groups = opened.use(new FileGroups({ ...deps, startKernel }));
  const { identity, contents } = await openContents(
    { spec, stateDir, path, root, ...records },
    { ...deps, groups },
  );
  mounted.move();
  const owned = opened.move();
  return servePool(contents, spec, {
    remount: (next) => ensureMounted({ spec: next, mountPoint, recorded: identity }, deps),
    unmount: async () => {
      if (source.kind !== 'path') await unmountIfMounted(mountPoint, kernel);
    },
    close: () => owned.disposeAsync(),
  });
}

/** The identity of a pool that was in service at an earlier start, and the file that records it. */
interface PoolRecord {
  readonly recordPath: string;
  readonly recorded: PoolIdentity | undefined;
}

async function readPoolRecord(stateDir: string, name: string): Promise<PoolRecord> {
  const directory = join(stateDir, 'pools');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const recordPath = join(directory, `${name}.json`);
  return { recordPath, recorded: await readIdentityFile(recordPath) };
}

async function openRoot(name: string, path: string): Promise<FileHandle> {
  return await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    throw new Fault(
      'precondition',
      `pool ${name}: ${path} does not exist; create it, mount a file system there, or correct the path`,
      { fields: { pool: name, path } },
    );
  });
}

/** Checks the pool's identity, marks a new pool, and opens its contents with the backend. */
async function openContents(
  { spec, stateDir, path, root, recordPath, recorded }: Omit<PoolDirectory, 'fsUuid'> & PoolRecord,
  deps: PoolContentsDeps,
): Promise<{ readonly identity: PoolIdentity; readonly contents: PoolContents }> {
  const { name, backend } = spec;
  const { kernel, logger } = deps;
  const fsUuid = await kernel.call('readFilesystemUuid', root);
  if (backend === 'btrfs' && (await kernel.call('readBtrfsUuid', root)) === undefined) {
    throw new Fault(
      'precondition',
      `pool ${name}: ${path} is not on btrfs; mount a btrfs there, or use {file, size}, or backend image`,
      { fields: { pool: name, path } },
    );
  }
  const inside = `/proc/self/fd/${root}`;
  const identity = await ensureIdentity(inside, { pool: name, fsUuid, recorded, recordPath });
  for (const directory of Object.values(DIRECTORIES)) {
    await mkdir(`${inside}/${directory}`, { recursive: true, mode: 0o700 });
  }
  const contents = await OPEN[backend]({ spec, stateDir, path, root, fsUuid }, deps);
  await kernel.call('syncFilesystem', root);
  const { features } = contents.backend;
  logger.info({ pool: name, poolUuid: identity.poolUuid, fsUuid, path, features }, 'pool opened');
  return { identity, contents };
}

interface PoolLifecycle {
  readonly remount: (spec: PoolSpec) => Promise<void>;
  readonly unmount: () => Promise<void>;
  readonly close: () => Promise<void>;
}

function servePool(
  { unenforced, ...contents }: PoolContents,
  spec: PoolSpec,
  { remount, unmount, close }: PoolLifecycle,
): OpenPool {
  let { enforce } = spec;
  let policy = policyOf(spec);
  const unfit = (): string | undefined =>
    enforce && unenforced !== undefined
      ? `${unenforced}; set "enforce: false" to create volumes without enforced sizes`
      : undefined;
  return {
    name: spec.name,
    ...contents,
    get policy() {
      return policy;
    },
    get unfit() {
      return unfit();
    },
    checkHealth: async () => unfit() ?? (await contents.checkHealth()),
    async update(next) {
      await remount(next);
      policy = policyOf(next);
      ({ enforce } = next);
    },
    async unmount() {
      await close();
      await unmount();
    },
    [Symbol.asyncDispose]: close,
  };
}

async function unmountIfMounted(mountPoint: string, kernel: Kernel): Promise<void> {
  if ((await mountedAt(mountPoint)) === undefined) return;
  // The kernel detaches loop devices of volumes asynchronously, after their last user.
  await retry(() => kernel.call('umount', mountPoint, UMOUNT_NOFOLLOW), {
    baseMs: 20,
    maxMs: 200,
    attempts: 10,
    shouldRetry: (error) => error instanceof SysError && error.code === 'EBUSY',
  });
}

function policyOf({ reserve, overcommitPercent }: PoolSpec): CapacityPolicy {
  return { reserve, overcommitPercent };
}

interface MountRequest {
  readonly spec: PoolSpec;
  readonly mountPoint: string;
  readonly recorded: { readonly fsUuid: string } | undefined;
}

async function ensureMounted(
  { spec, mountPoint, recorded }: MountRequest,
  deps: OpenPoolDeps,
): Promise<void> {
  const { name, backend, source } = spec;
  if (source.kind === 'path') return;
  const types = await poolFilesystems(backend, deps);
  const options = poolMountOptions(backend);
  if (source.kind === 'file') {
    const { file, sizeBytes } = source;
    const known = recorded !== undefined;
    const type = await ensurePoolFile({ pool: name, file, sizeBytes, known, types });
    await ensurePoolFileMounted({ pool: name, file, mountPoint, type, options }, deps);
    return;
  }
  await ensurePoolDevices(
    { pool: name, devices: source.devices, mountPoint, knownUuid: recorded?.fsUuid, types, options },
    deps,
  );
}
