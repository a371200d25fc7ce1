import { mkdir, open } from 'node:fs/promises';
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
import { ensureIdentity, readIdentityFile } from './pool-marker.ts';

/** A pool that is open; disposing closes it and leaves it mounted, for the pods that use it. */
export interface OpenPool extends Pool, AsyncDisposable {
  /**
   * Unmounts a pool that was mounted by us; its loop device goes with it. Throws `busy` while
   * volumes are mounted.
   */
  unmount(): Promise<void>;
  /**
   * Makes a pool in service what `spec` says: larger, with another reserve, with more devices. Its
   * kind stays.
   */
  update(spec: PoolSpec): Promise<void>;
  /** Why it takes no new volumes, and serves those that it has; undefined when it takes them. */
  readonly unfit: string | undefined;
}

const OPEN: Readonly<
  Record<BackendKind, (directory: PoolDirectory, deps: PoolContentsDeps) => Promise<PoolContents>>
> = { btrfs: openBtrfs, image: openImages, directory: openDirectories };

const UMOUNT_NOFOLLOW = 8;

/**
 * Puts a pool into service: makes it if it is new, finds what an earlier run left, and refuses
 * whatever is not this pool.
 */
export async function openPool(
  { stateDir, ...spec }: PoolSpec & { readonly stateDir: string },
  deps: OpenPoolDeps,
): Promise<OpenPool> {
  const { name, backend } = spec;
  const { kernel, logger } = deps;
  const recordDirectory = join(stateDir, 'pools');
  await mkdir(recordDirectory, { recursive: true, mode: 0o700 });
  const recordPath = join(recordDirectory, `${name}.json`);
  const recorded = await readIdentityFile(recordPath);
  await requirePermanence(spec, stateDir);
  const mountPoint = poolMountPoint(stateDir, name);
  await using cleanup = new AsyncDisposableStack();
  const before = await mountedAt(mountPoint);
  // What turns out not to be this pool does not stay mounted; what was mounted before is left as it
  // was.
  if (spec.source.kind !== 'path' && before === undefined) {
    cleanup.defer(() => unmountIfMounted(mountPoint, kernel));
  }
  await ensureMounted({ spec, mountPoint, recorded }, deps);
  const path = spec.source.kind === 'path' ? spec.source.path : mountPoint;
  const handle = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    throw new Fault(
      'precondition',
      `pool ${name}: ${path} does not exist; make it or mount it there, or correct the path`,
      { fields: { pool: name, path } },
    );
  });
  cleanup.use(handle);
  const root = handle.fd;
  const fsUuid = await kernel.call('readFilesystemUuid', root);
  if (backend === 'btrfs' && (await kernel.call('readBtrfsUuid', root)) === undefined) {
    throw new Fault(
      'precondition',
      `pool ${name}: ${path} is not on btrfs; mount one there, or use {file, size}, or backend image`,
      { fields: { pool: name, path } },
    );
  }
  const inside = `/proc/self/fd/${root}`;
  const identity = await ensureIdentity(inside, { pool: name, fsUuid, recorded, recordPath });
  for (const directory of Object.values(DIRECTORIES)) {
    await mkdir(`${inside}/${directory}`, { recursive: true, mode: 0o700 });
  }
  const directory: PoolDirectory = { spec, stateDir, path, root, fsUuid };
  const groups = cleanup.use(new FileGroups({ kernel, startKernel, logger }));
  const { unenforced, ...contents } = await OPEN[backend](directory, { ...deps, groups });
  await kernel.call('syncFilesystem', root);
  cleanup.move();
  const { features } = contents.backend;
  logger.info({ pool: name, poolUuid: identity.poolUuid, fsUuid, path, features }, 'pool opened');
  let { enforce } = spec;
  let policy = policyOf(spec);
  const unfit = (): string | undefined =>
    enforce && unenforced !== undefined
      ? `${unenforced}; "enforce: false" makes volumes without that`
      : undefined;
  let isOpen = true;
  const close = async (): Promise<void> => {
    if (!isOpen) return;
    isOpen = false;
    await groups[Symbol.asyncDispose]();
    await handle.close();
  };
  return {
    name,
    ...contents,
    get policy() {
      return policy;
    },
    get unfit() {
      return unfit();
    },
    checkHealth: async () => unfit() ?? (await contents.checkHealth()),
    async update(next) {
      await ensureMounted({ spec: next, mountPoint, recorded: identity }, deps);
      policy = policyOf(next);
      ({ enforce } = next);
    },
    async unmount() {
      await close();
      if (spec.source.kind !== 'path') await unmountIfMounted(mountPoint, kernel);
    },
    [Symbol.asyncDispose]: close,
  };
}

async function unmountIfMounted(mountPoint: string, kernel: Kernel): Promise<void> {
  if ((await mountedAt(mountPoint)) === undefined) return;
  // The kernel lets go of the loop devices of volumes a moment after their last user.
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
