import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rename, statfs, unlink } from 'node:fs/promises';
import type { BackendFeatures } from '../../../../src/core/volumes/backend-features.ts';
import type { PoolUsage, VolumeUsage } from '../../../../src/core/pools/pool-capacity.ts';
import type { ContentSource, VolumeShape } from '../../../../src/core/volumes/volume.ts';
import { IO_ATTRIBUTES } from '../../../../src/core/volumes/volume-attributes.ts';
import { checkedId, isId } from '../../../../src/core/volumes/volume-name.ts';
import type { QuotaMode } from '../../../../src/core/volumes/volume-quota.ts';
import { Fault } from '../../../../src/core/fault.ts';
import { SharedRun } from '../../../../src/runtime/shared-run.ts';
import type { Kernel } from '../../../linux/kernel/kernel.ts';
import { SysError } from '../../../linux/libc/libc.ts';
import {
  DIRECTORIES,
  type VolumeBackend,
  type SnapshotCreation,
  type SnapshotRequest,
} from '../../contract/volume-backend.ts';
import { type RemovalBudget, unlimitedRemoval } from '../../../linux/files/removal-budget.ts';
import { BtrfsSnapshotCreation, removeUnfinished } from './btrfs-snapshot-creation.ts';

export interface BtrfsBackendOptions {
  /** Open descriptor of the pool's directory, on btrfs. */
  readonly root: number;
  readonly quotaMode: QuotaMode;
  /**
   * Whether the file system is the pool's alone, so that every unknown quota group is a leftover.
   */
  readonly ownsFilesystem: boolean;
}

/** File with the content of a Block volume, in its subvolume. */
const DEVICE_FILE = 'device';
/** Prefix of discarded subvolumes: a read-only one cannot move to another directory (its ".."). */
const TRASH = 'trash-';
/** Prefix of directories of unfinished snapshots; `collect` removes those that a crash left. */
const UNFINISHED = 'cut-';
/**
 * Prefix of marker files named for deleted subvolumes: their quota groups are removed once empty.
 */
const RETIRED = 'retired-';
const LEVEL_ONE = 1n << 48n;

export interface BtrfsBackendDeps {
  readonly kernel: Kernel;
  /** Starts a further worker: snapshots in one commit must be requested in parallel. */
  readonly startKernel: (options: { readonly name: string }) => Kernel;
}

/** Keeps volumes and snapshots as subvolumes, with quota groups, on one btrfs. */
export class BtrfsBackend implements VolumeBackend {
  readonly features: BackendFeatures;
  readonly #options: BtrfsBackendOptions;
  readonly #kernel: Kernel;
  readonly #deps: BtrfsBackendDeps;
  /** Directories of unfinished snapshots in progress, which `collect` must keep. */
  readonly #inProgress = new Set<string>();
  readonly #subvolumeIds = new Map<string, bigint>();
  readonly #sync: SharedRun<void>;
  readonly #measurements: SharedRun<PoolUsage>;

  constructor(options: BtrfsBackendOptions, deps: BtrfsBackendDeps) {
    this.features = {
      backend: 'btrfs',
      enforcement: options.quotaMode,
      volumeModes: ['Filesystem', 'Block'],
      fsTypes: ['btrfs'],
      copies: 'constant',
      // A subvolume has no device of its own whose I/O could be limited.
      attributes: { Filesystem: [], Block: IO_ATTRIBUTES },
    };
    this.#options = options;
    this.#deps = deps;
    const { kernel } = deps;
    this.#kernel = kernel;
    this.#sync = new SharedRun(() => kernel.call('syncFilesystem', options.root));
    this.#measurements = new SharedRun(() => this.#measure());
  }

  async ensureVolume({ id, volumeMode }: VolumeShape, source: ContentSource | undefined): Promise<void> {
    const { root, quotaMode } = this.#options;
    await this.#ignoreExisting(
      source === undefined
        ? this.#kernel.call('createSubvolume', root, DIRECTORIES.volume, id)
        : this.#kernel.call('snapshotSubvolume', root, pathOf(source), DIRECTORIES.volume, id, {
            readonly: false,
          }),
    );
    if (quotaMode === 'simple') {
      // A level 1 group also counts nested subvolumes of a pod: simple quotas assign them to it.
      const subvolume = await this.#subvolumeId(id);
      await this.#kernel.call('createQgroup', root, LEVEL_ONE | subvolume);
      await this.#kernel.call('assignQgroup', root, subvolume, LEVEL_ONE | subvolume);
    }
    if (volumeMode === 'Block') await this.#ensureDeviceFile(id);
    // Setting the limit syncs an empty subvolume as well. A copy's charge is known once it is on
    // disk.
    if (volumeMode === 'Block' || source !== undefined) await this.#sync.run();
  }

  async ensureSnapshot(id: string, volume: VolumeShape): Promise<void> {
    const source = pathOf({ kind: 'volume', id: volume.id });
    await this.#ignoreExisting(
      this.#kernel.call('snapshotSubvolume', this.#options.root, source, DIRECTORIES.snapshot, id, {
        readonly: true,
      }),
    );
    await this.#sync.run();
  }

  async prepareSnapshots(requests: readonly SnapshotRequest[]): Promise<SnapshotCreation> {
    const members = requests.map(({ id, volume }) => ({
      id: checkedId(id),
      source: pathOf({ kind: 'volume', id: volume.id }),
      name: `${UNFINISHED}${id}`,
    }));
    for (const { name } of members) this.#inProgress.add(name);
    const onEnd = (): void => {
      for (const { name } of members) this.#inProgress.delete(name);
    };
    const { root } = this.#options;
    await using unready = new AsyncDisposableStack();
    const creation = unready.use(
      new BtrfsSnapshotCreation(
        { root, directory: DIRECTORIES.snapshot, members, sync: () => this.#sync.run() },
        { ...this.#deps, onEnd },
      ),
    );
    await creation.startWorkers();
    unready.move();
    return creation;
  }

  /**
   * A Block volume's limit is the size of its file only: while a copy shares its extents, rewritten
   * blocks can exceed the device's size, and a quota error would look like a disk error. Its charge
   * counts as usage.
   */
  async setLimit({ id, volumeMode, sizeBytes }: VolumeShape, limitBytes: bigint): Promise<void> {
    const qgroup = this.#qgroupOf(await this.#subvolumeId(id));
    if (volumeMode === 'Block') {
      await using file = await open(this.deviceFileOf(id), constants.O_RDWR | constants.O_NOFOLLOW);
      if ((await file.stat({ bigint: true })).size >= sizeBytes) return;
      await file.truncate(Number(sizeBytes));
    } else {
      await this.#kernel.call('limitQgroup', this.#options.root, qgroup, limitBytes);
    }
    await this.#sync.run();
  }

  /** Returns the path of a Block volume's or snapshot's file, through the open root. */
  deviceFileOf(id: string, kind: ContentSource['kind'] = 'volume'): string {
    return this.#path(`${pathOf({ kind, id })}/${DEVICE_FILE}`);
  }

  /**
   * Creates an imported Block snapshot: `fill` writes the difference to `parentId`, or all content.
   * After a failure the caller calls `discard`.
   */
  async receiveDevice(
    id: string,
    { sizeBytes, parentId }: { readonly sizeBytes: bigint; readonly parentId: string | undefined },
    fill: (file: FileHandle) => Promise<void>,
  ): Promise<void> {
    const { root } = this.#options;
    // The subvolume stays writable; snapshots are never mounted.
    if (parentId === undefined) {
      await this.#kernel.call('createSubvolume', root, DIRECTORIES.snapshot, id);
      await this.#ensureDeviceFile(id, 'snapshot');
    } else {
      const parent = pathOf({ kind: 'snapshot', id: parentId });
      await this.#kernel.call('snapshotSubvolume', root, parent, DIRECTORIES.snapshot, id, {
        readonly: false,
      });
    }
    await using file = await open(this.deviceFileOf(id, 'snapshot'), constants.O_RDWR | constants.O_NOFOLLOW);
    await file.truncate(Number(sizeBytes));
    await fill(file);
    await file.sync();
    await this.#sync.run();
  }

  async #ensureDeviceFile(id: string, kind: ContentSource['kind'] = 'volume'): Promise<void> {
    await using directory = await open(this.#path(pathOf({ kind, id })), constants.O_DIRECTORY);
    await this.#kernel.call('disableCopyOnWrite', directory.fd);
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
    await (await open(this.deviceFileOf(id, kind), flags, 0o600)).close();
  }

  async discard(kind: ContentSource['kind'], id: string): Promise<void> {
    const directory = this.#path(DIRECTORIES[kind]);
    // An id can be discarded twice before its data is freed: a retried import has the same id.
    try {
      await rename(
        `${directory}/${checkedId(id)}`,
        `${directory}/${TRASH}${id}-${randomBytes(12).toString('hex')}`,
      );
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    this.#subvolumeIds.delete(id);
    await this.#sync.run();
  }

  /** The budget limits how many subvolumes the kernel frees in the background, each as a whole. */
  async collect(budget: RemovalBudget = unlimitedRemoval()): Promise<number> {
    const { root } = this.#options;
    let removed = 0;
    for (const directory of Object.values(DIRECTORIES)) {
      for (const name of await readdir(this.#path(directory))) {
        if (name.startsWith(UNFINISHED) && !this.#inProgress.has(name)) {
          await removeUnfinished({ root, directory, name }, this.#deps);
        }
        if (!name.startsWith(TRASH)) continue;
        if (budget.isSpent) {
          budget.postpone();
          continue;
        }
        budget.spend(await this.#chargedTo(`${directory}/${name}`));
        // Crash window: marked, not destroyed. Its groups are not empty, and it is marked again.
        await this.#markForRemoval(`${directory}/${name}`);
        await this.#kernel.call('destroySubvolume', root, `${directory}/${name}`);
        removed += 1;
      }
    }
    await this.#sync.run();
    await this.#removeEmptyQgroups();
    return removed;
  }

  /** Returns the charge of a subvolume by path; 0 if it is unknown. */
  async #chargedTo(path: string): Promise<bigint> {
    const { root } = this.#options;
    const subvolume = await this.#kernel.call('readSubvolumeId', root, path);
    if (subvolume === undefined) return 0n;
    const qgroups = await this.#kernel.call('readQgroups', root);
    return qgroups.find(({ id }) => id === subvolume)?.referencedBytes ?? 0n;
  }

  async usage(): Promise<PoolUsage> {
    return await this.#measurements.run();
  }

  async #measure(): Promise<PoolUsage> {
    const { root } = this.#options;
    const { volumes: ids } = await this.list();
    for (const id of ids) await this.#subvolumeId(id).catch(() => undefined);
    const [qgroups, filesystem] = await Promise.all([
      this.#kernel.call('readQgroups', root),
      statfs(`/proc/self/fd/${root}`, { bigint: true }),
    ]);
    const byId = new Map(qgroups.map((qgroup) => [qgroup.id, qgroup]));
    const volumes = new Map<string, VolumeUsage>();
    let otherBytes = qgroups.reduce(
      (sum, { id, referencedBytes }) => (id < LEVEL_ONE ? sum + referencedBytes : sum),
      0n,
    );
    for (const id of ids) {
      const subvolume = this.#subvolumeIds.get(id);
      const qgroup = subvolume === undefined ? undefined : byId.get(this.#qgroupOf(subvolume));
      if (qgroup === undefined) continue;
      volumes.set(id, { usedBytes: qgroup.referencedBytes, limitBytes: qgroup.limitBytes });
      otherBytes -= qgroup.referencedBytes;
    }
    return {
      totalBytes: filesystem.blocks * filesystem.bsize,
      freeBytes: filesystem.bavail * filesystem.bsize,
      volumes,
      otherBytes: otherBytes > 0n ? otherBytes : 0n,
    };
  }

  async list(): Promise<{ volumes: string[]; snapshots: string[] }> {
    const [volumes, snapshots] = await Promise.all(
      Object.values(DIRECTORIES).map(async (directory) =>
        (await readdir(this.#path(directory))).filter(isId),
      ),
    );
    return { volumes: volumes ?? [], snapshots: snapshots ?? [] };
  }

  /** On a shared file system, marks a subvolume's quota groups for removal, durably. */
  async #markForRemoval(path: string): Promise<void> {
    const { root, ownsFilesystem } = this.#options;
    if (ownsFilesystem) return;
    const subvolume = await this.#kernel.call('readSubvolumeId', root, path);
    const retired = subvolume === undefined ? [] : [subvolume];
    // The list grows while it is walked: pods may have nested subvolumes.
    for (const id of retired) {
      retired.push(...(await this.#kernel.call('readNestedSubvolumes', root, id)));
      await (await open(this.#path(`${DIRECTORIES.volume}/${RETIRED}${id}`), 'a', 0o600)).close();
    }
    await this.#sync.run();
  }

  /** Removes groups whose last extent the kernel's cleaner has freed; others still hold space. */
  async #removeEmptyQgroups(): Promise<void> {
    const { root, ownsFilesystem } = this.#options;
    const names = await readdir(this.#path(DIRECTORIES.volume));
    const retired = new Set(
      names.filter((name) => name.startsWith(RETIRED)).map((name) => BigInt(name.slice(RETIRED.length))),
    );
    // A subvolume references its own root node, so only the group of one being created can be
    // empty.
    const known = new Set(this.#subvolumeIds.values());
    const left = new Set<bigint>();
    for (const { id, referencedBytes } of await this.#kernel.call('readQgroups', root)) {
      const subvolume = id & (LEVEL_ONE - 1n);
      left.add(subvolume);
      if (subvolume < 256n || referencedBytes > 0n || known.has(subvolume)) continue;
      if (!ownsFilesystem && !retired.has(subvolume)) continue;
      await this.#kernel.call('removeQgroup', root, id);
    }
    for (const id of retired)
      if (!left.has(id)) await unlink(this.#path(`${DIRECTORIES.volume}/${RETIRED}${id}`));
  }

  async #subvolumeId(volumeId: string): Promise<bigint> {
    const known = this.#subvolumeIds.get(volumeId);
    if (known !== undefined) return known;
    const path = pathOf({ kind: 'volume', id: volumeId });
    const found = await this.#kernel.call('readSubvolumeId', this.#options.root, path);
    if (found === undefined)
      throw new Fault('not-found', `the data of volume ${volumeId} is not in its pool`);
    this.#subvolumeIds.set(volumeId, found);
    return found;
  }

  #qgroupOf(subvolume: bigint): bigint {
    return this.#options.quotaMode === 'simple' ? LEVEL_ONE | subvolume : subvolume;
  }

  #path(relative: string): string {
    return `/proc/self/fd/${this.#options.root}/${relative}`;
  }

  async #ignoreExisting(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      if (!(error instanceof SysError && error.code === 'EEXIST')) throw error;
    }
  }
}

/** Returns the path of a volume's or snapshot's subvolume, below the pool's root. */
export function pathOf({ kind, id }: ContentSource): string {
  return `${DIRECTORIES[kind]}/${checkedId(id)}`;
}
