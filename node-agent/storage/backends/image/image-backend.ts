import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import type { BackendFeatures } from '../../../../src/core/volumes/backend-features.ts';
import { Fault } from '../../../../src/core/fault.ts';
import type { PoolUsage, VolumeUsage } from '../../../../src/core/pools/pool-capacity.ts';
import type { ContentSource, VolumeShape } from '../../../../src/core/volumes/volume.ts';
import { checkedId, isId } from '../../../../src/core/volumes/volume-name.ts';
import type { Logger } from '../../../../src/runtime/logger.ts';
import type { Kernel } from '../../../linux/kernel/kernel.ts';
import {
  DIRECTORIES,
  type VolumeBackend,
  type SnapshotCreation,
  type SnapshotRequest,
} from '../../contract/volume-backend.ts';
import { copyFileWhole, putInPlace } from '../../../linux/files/file-copy.ts';
import { ImageSnapshotCreation } from './image-snapshot-creation.ts';
import { type RemovalBudget, unlimitedRemoval } from '../../../linux/files/removal-budget.ts';
import { absent } from '../../../linux/files/absent.ts';
import { removeTrashFile } from '../../../linux/files/trash-file.ts';
import { forPrograms } from '../../../linux/files/process-path.ts';
import { makeFilesystem, renewFilesystem } from './volume-filesystem.ts';

export interface ImageBackendOptions {
  readonly pool: string;
  /** Open descriptor of the pool's directory, on any file system. */
  readonly root: number;
  readonly features: BackendFeatures;
  /** Aborts copies in progress. */
  readonly signal?: AbortSignal | undefined;
}

export interface ImageBackendDeps {
  readonly kernel: Kernel;
  readonly logger: Logger;
}

const SUFFIX = '.img';
/** Prefix of incomplete files; `collect` removes those that a crash left. */
const UNFINISHED = 'new-';
const TRASH = 'trash-';
const BLOCK_BYTES = 4096n;

/** Keeps volumes and snapshots as sparse files. A file with its final name is complete. */
export class ImageBackend implements VolumeBackend {
  readonly features: BackendFeatures;
  readonly #options: ImageBackendOptions;
  readonly #deps: ImageBackendDeps;
  /** Names of files that are being created, which `collect` must keep. */
  readonly #inProgress = new Set<string>();

  constructor(options: ImageBackendOptions, deps: ImageBackendDeps) {
    this.features = options.features;
    this.#options = options;
    this.#deps = deps;
  }

  async ensureVolume(volume: VolumeShape, source: ContentSource | undefined): Promise<void> {
    const to = this.fileOf(volume.id);
    if (await exists(to)) return;
    await this.#withUnfinished('volume', volume.id, async (unfinished) => {
      if (source === undefined) await this.#makeVolume(volume, unfinished, to);
      else await this.#copyVolume(volume, source, unfinished, to);
    });
  }

  async ensureSnapshot(id: string, volume: VolumeShape): Promise<void> {
    const to = this.#path('snapshot', id);
    if (await exists(to)) return;
    await this.#withUnfinished('snapshot', id, (unfinished) =>
      copyFileWhole(
        { from: this.fileOf(volume.id), to, unfinished, mode: 0o400, ...this.#copyOptions(id) },
        this.#deps,
      ),
    );
  }

  async prepareSnapshots(requests: readonly SnapshotRequest[]): Promise<SnapshotCreation> {
    const names = requests.map(({ id }) => `${UNFINISHED}${checkedId(id)}${SUFFIX}`);
    for (const name of names) this.#inProgress.add(name);
    return new ImageSnapshotCreation(
      requests.map(({ id, volume }, index) => ({
        from: this.fileOf(volume.id),
        to: this.#path('snapshot', id),
        unfinished: `${this.#directory('snapshot')}/${names[index] ?? ''}`,
        ...this.#copyOptions(id),
      })),
      {
        ...this.#deps,
        onEnd: () => {
          for (const name of names) this.#inProgress.delete(name);
        },
      },
    );
  }

  /** Creates an imported snapshot: `fill` writes the difference to `parentId`, or all content. */
  async receiveSnapshot(
    id: string,
    { sizeBytes, parentId }: { readonly sizeBytes: bigint; readonly parentId: string | undefined },
    fill: (file: FileHandle) => Promise<void>,
  ): Promise<void> {
    const to = this.#path('snapshot', id);
    await this.#withUnfinished('snapshot', id, async (unfinished) => {
      const finish = async (file: FileHandle): Promise<void> => {
        await file.truncate(Number(sizeBytes));
        await fill(file);
      };
      if (parentId !== undefined) {
        const from = this.#path('snapshot', parentId);
        await copyFileWhole(
          { from, to, unfinished, mode: 0o400, ...this.#copyOptions(id) },
          this.#deps,
          finish,
        );
        return;
      }
      await rm(unfinished, { force: true });
      {
        await using file = await open(unfinished, 'wx+', 0o600);
        await finish(file);
        await file.chmod(0o400);
        await file.sync();
      }
      await putInPlace(unfinished, to);
    });
  }

  /**
   * Replaces the volume's file atomically by a copy that `work` has changed; it must not be open.
   */
  async replaceFile(id: string, work: (file: string) => Promise<void>): Promise<void> {
    const file = this.fileOf(id);
    await this.#withUnfinished('volume', id, (unfinished) =>
      copyFileWhole(
        { from: file, to: file, unfinished, mode: 0o600, ...this.#copyOptions(id) },
        this.#deps,
        () => work(unfinished),
      ),
    );
  }

  /** Grows the file, which is the limit, by a hole. */
  async setLimit({ id, sizeBytes }: VolumeShape): Promise<void> {
    const limitBytes = fileBytes(sizeBytes);
    await using file = await open(this.fileOf(id), constants.O_RDWR | constants.O_NOFOLLOW).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
        throw new Fault('not-found', `the data of volume ${id} is not in its pool`, {
          fields: { volumeId: id },
        });
      },
    );
    const { size } = await file.stat({ bigint: true });
    if (size >= limitBytes) return;
    await file.truncate(Number(limitBytes));
    await file.sync();
  }

  async discard(kind: ContentSource['kind'], id: string): Promise<void> {
    const directory = this.#directory(kind);
    try {
      await rename(this.#path(kind, id), `${directory}/${TRASH}${id}${SUFFIX}`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    await using handle = await open(directory, 'r');
    await handle.sync();
  }

  async collect(budget: RemovalBudget = unlimitedRemoval()): Promise<number> {
    let removed = 0;
    const isInUse = async (path: string): Promise<boolean> =>
      (await this.#deps.kernel.call('findLoopPath', path)) !== undefined;
    for (const kind of ['volume', 'snapshot'] as const) {
      const directory = this.#directory(kind);
      for (const name of await readdir(directory)) {
        const isLeftover = name.startsWith(UNFINISHED) && !this.#inProgress.has(name);
        if (!isLeftover && !name.startsWith(TRASH)) continue;
        const isRemoved = await removeTrashFile(`${directory}/${name}`, budget, { isInUse });
        if (isRemoved && !isLeftover) removed += 1;
      }
    }
    return removed;
  }

  async usage(): Promise<PoolUsage> {
    const volumes = new Map<string, VolumeUsage>();
    let volumeBytes = 0n;
    let snapshotBytes = 0n;
    const { volumes: volumeIds, snapshots: snapshotIds } = await this.list();
    for (const id of volumeIds) {
      const found = await stat(this.fileOf(id), { bigint: true }).catch(absent);
      if (found === undefined) continue;
      volumes.set(id, { usedBytes: found.blocks * 512n, limitBytes: found.size });
      volumeBytes += found.blocks * 512n;
    }
    for (const id of snapshotIds) {
      const found = await stat(this.#path('snapshot', id), { bigint: true }).catch(absent);
      snapshotBytes += (found?.blocks ?? 0n) * 512n;
    }
    const { blocks, bfree, bavail, bsize } = await statfs(`/proc/self/fd/${this.#options.root}`, {
      bigint: true,
    });
    // Shared data counts for each file: any of them may be overwritten.
    const foreignBytes = (blocks - bfree) * bsize - volumeBytes - snapshotBytes;
    return {
      totalBytes: blocks * bsize,
      freeBytes: bavail * bsize,
      volumes,
      otherBytes: snapshotBytes + (foreignBytes > 0n ? foreignBytes : 0n),
    };
  }

  async list(): Promise<{ volumes: string[]; snapshots: string[] }> {
    const [volumes, snapshots] = await Promise.all(
      (['volume', 'snapshot'] as const).map(async (kind) =>
        (await readdir(this.#directory(kind)))
          .filter((name) => name.endsWith(SUFFIX))
          .map((name) => name.slice(0, -SUFFIX.length))
          .filter(isId),
      ),
    );
    return { volumes: volumes ?? [], snapshots: snapshots ?? [] };
  }

  /** Returns the path of a volume's or snapshot's file, through the open root. */
  fileOf(id: string, kind: ContentSource['kind'] = 'volume'): string {
    return this.#path(kind, id);
  }

  async #makeVolume(
    { fsType, sizeBytes, encryption }: VolumeShape,
    unfinished: string,
    to: string,
  ): Promise<void> {
    await rm(unfinished, { force: true });
    {
      await using file = await open(unfinished, 'wx', 0o600);
      await file.truncate(Number(fileBytes(sizeBytes)));
      const encryptable = encryption !== undefined;
      if (fsType !== undefined) await makeFilesystem(fsType, forPrograms(unfinished), { encryptable });
      await file.sync();
    }
    await putInPlace(unfinished, to);
  }

  async #copyVolume(
    { id, fsType, sizeBytes }: VolumeShape,
    source: ContentSource,
    unfinished: string,
    to: string,
  ): Promise<void> {
    const from = this.#path(source.kind, source.id);
    await copyFileWhole(
      { from, to, unfinished, mode: 0o600, ...this.#copyOptions(id) },
      this.#deps,
      async (file) => {
        const { size } = await file.stat({ bigint: true });
        if (size < fileBytes(sizeBytes)) await file.truncate(Number(fileBytes(sizeBytes)));
        if (fsType !== undefined) await renewFilesystem(fsType, forPrograms(unfinished));
      },
    );
  }

  #copyOptions(id: string): {
    onProgress: (copied: number, size: number) => void;
    signal: AbortSignal | undefined;
  } {
    const { pool, signal } = this.#options;
    return {
      signal,
      onProgress: (copiedBytes, sizeBytes) => {
        this.#deps.logger.info(
          { pool, id, copiedBytes, sizeBytes },
          'copying; the file system cannot share data',
        );
      },
    };
  }

  async #withUnfinished(
    kind: ContentSource['kind'],
    id: string,
    work: (path: string) => Promise<void>,
  ): Promise<void> {
    const name = `${UNFINISHED}${checkedId(id)}${SUFFIX}`;
    const path = `${this.#directory(kind)}/${name}`;
    this.#inProgress.add(name);
    try {
      await work(path);
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    } finally {
      this.#inProgress.delete(name);
    }
  }

  #directory(kind: ContentSource['kind']): string {
    return `/proc/self/fd/${this.#options.root}/${DIRECTORIES[kind]}`;
  }

  #path(kind: ContentSource['kind'], id: string): string {
    return `${this.#directory(kind)}/${checkedId(id)}${SUFFIX}`;
  }
}

/** Returns the size of a volume's file: whole blocks, so that its file system can use all of it. */
function fileBytes(sizeBytes: bigint): bigint {
  return ((sizeBytes + BLOCK_BYTES - 1n) / BLOCK_BYTES) * BLOCK_BYTES;
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(absent)) !== undefined;
}
