import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rename, statfs, unlink } from 'node:fs/promises';
import type { BackendFeatures } from '../../../../src/core/volumes/backend-features.ts';
import type { PoolUsage, VolumeUsage } from '../../../../src/core/pools/pool-capacity.ts';
import type { ContentSource, VolumeShape } from '../../../../src/core/volumes/volume.ts';
import { IO_ATTRIBUTES } from '../../../../src/core/volumes/volume-attributes.ts';
import { isId } from '../../../../src/core/volumes/volume-name.ts';
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
import { BtrfsCut, removeCut } from './btrfs-snapshot-creation.ts';

export interface BtrfsBackendOptions {
  /** An open directory on btrfs: everything is done relative to it. */
  readonly root: number;
  readonly quotaMode: QuotaMode;
  /**
   * Whether nobody else uses the filesystem, so that every unknown quota group is a leftover of
   * ours.
   */
  readonly ownsFilesystem: boolean;
}

/** In the subvolume of a Block volume: its bytes. */
const DEVICE_FILE = 'device';
/**
 * A read-only snapshot cannot move to another directory (the kernel would have to write its ".."),
 * so the trash is a name.
 */
const TRASH = 'trash-';
/**
 * A directory of snapshots with one that is being cut together with others; left by a crash,
 * `collect` removes it.
 */
const CUT = 'cut-';
/**
 * An empty file among the volumes, named for a subvolume that is gone: its quota groups are ours,
 * and go when they are empty.
 */
const RETIRED = 'retired-';
const LEVEL_ONE = 1n << 48n;

export interface BtrfsBackendDeps {
  readonly kernel: Kernel;
  /** Starts another thread: snapshots that are to be cut together have to be asked for together. */
  readonly startKernel: (options: { readonly name: string }) => Kernel;
}

/** Subvolumes and quota groups of one btrfs filesystem. */
export class BtrfsBackend implements VolumeBackend {
  readonly features: BackendFeatures;
  readonly #options: BtrfsBackendOptions;
  readonly #kernel: Kernel;
  readonly #deps: BtrfsBackendDeps;
  /** Directories of cuts that are being made: those are not left over. */
  readonly #cutting = new Set<string>();
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
      // A subvolume has no device that its I/O alone goes through.
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
    await this.#ignoringExisting(
      source === undefined
        ? this.#kernel.call('createSubvolume', root, DIRECTORIES.volume, id)
        : this.#kernel.call('snapshotSubvolume', root, pathOf(source), DIRECTORIES.volume, id, {
            readonly: false,
          }),
    );
    if (quotaMode === 'simple') {
      // A group of level 1 also counts the subvolumes that a pod nests in its volume: simple quotas
      // put them into it by themselves.
      const subvolume = await this.#subvolumeId(id);
      await this.#kernel.call('createQgroup', root, LEVEL_ONE | subvolume);
      await this.#kernel.call('assignQgroup', root, subvolume, LEVEL_ONE | subvolume);
    }
    if (volumeMode === 'Block') await this.#ensureDeviceFile(id);
    // To set its limit syncs an empty directory too. What a copy holds is counted when it is on the
    // disk.
    if (volumeMode === 'Block' || source !== undefined) await this.#sync.run();
  }

  async ensureSnapshot(id: string, volume: VolumeShape): Promise<void> {
    const source = pathOf({ kind: 'volume', id: volume.id });
    await this.#ignoringExisting(
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
      name: `${CUT}${id}`,
    }));
    for (const { name } of members) this.#cutting.add(name);
    const onEnd = (): void => {
      for (const { name } of members) this.#cutting.delete(name);
    };
    const { root } = this.#options;
    await using unready = new AsyncDisposableStack();
    const cut = unready.use(
      new BtrfsCut(
        { root, directory: DIRECTORIES.snapshot, members, sync: () => this.#sync.run() },
        { ...this.#deps, onEnd },
      ),
    );
    await cut.muster();
    unready.move();
    return cut;
  }

  /**
   * A Block volume has no limit but the size of its file: where a copy shares its extents, blocks
   * that are written anew can hold more than the device for a while, and an error of a disk is
   * worse than that. What it holds is counted.
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

  /** The file with the bytes of a Block volume or snapshot, through the open root. */
  deviceFileOf(id: string, kind: ContentSource['kind'] = 'volume'): string {
    return this.#path(`${pathOf({ kind, id })}/${DEVICE_FILE}`);
  }

  /**
   * Makes a snapshot of a device's content that comes from elsewhere: `fill` writes what differs
   * from `parentId`, or from nothing. What a failure leaves, `discard` takes away.
   */
  async receiveDevice(
    id: string,
    { sizeBytes, parentId }: { readonly sizeBytes: bigint; readonly parentId: string | undefined },
    fill: (file: FileHandle) => Promise<void>,
  ): Promise<void> {
    const { root } = this.#options;
    // It stays writable, and nobody ever shows it.
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
    // An id may come again before its last data is gone: an import that failed and is tried again.
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

  /**
   * The kernel frees a subvolume in the background, all of it: what the budget bounds is how many
   * are given to it.
   */
  async collect(budget: RemovalBudget = unlimitedRemoval()): Promise<number> {
    const { root } = this.#options;
    let removed = 0;
    for (const directory of Object.values(DIRECTORIES)) {
      for (const name of await readdir(this.#path(directory))) {
        if (name.startsWith(CUT) && !this.#cutting.has(name)) {
          await removeCut({ root, directory, name }, this.#deps);
        }
        if (!name.startsWith(TRASH)) continue;
        if (budget.isSpent) {
          budget.postpone();
          continue;
        }
        budget.spend(await this.#chargedTo(`${directory}/${name}`));
        // Crash window: marked, and not gone. Its groups are not empty then, and it is marked
        // again.
        await this.#retire(`${directory}/${name}`);
        await this.#kernel.call('destroySubvolume', root, `${directory}/${name}`);
        removed += 1;
      }
    }
    await this.#sync.run();
    await this.#removeEmptyQgroups();
    return removed;
  }

  /** What is charged to a subvolume by its path; nothing where that cannot be told. */
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

  /**
   * Where others use the file system: remembers whose quota groups will be left over, also after a
   * restart.
   */
  async #retire(path: string): Promise<void> {
    const { root, ownsFilesystem } = this.#options;
    if (ownsFilesystem) return;
    const subvolume = await this.#kernel.call('readSubvolumeId', root, path);
    const retired = subvolume === undefined ? [] : [subvolume];
    // Grows while it is walked: pods may have nested some.
    for (const id of retired) {
      retired.push(...(await this.#kernel.call('readNestedSubvolumes', root, id)));
      await (await open(this.#path(`${DIRECTORIES.volume}/${RETIRED}${id}`), 'a', 0o600)).close();
    }
    await this.#sync.run();
  }

  /**
   * A group can go only when the cleaner has freed the last extent; until then it says how much a
   * dead volume still holds.
   */
  async #removeEmptyQgroups(): Promise<void> {
    const { root, ownsFilesystem } = this.#options;
    const names = await readdir(this.#path(DIRECTORIES.volume));
    const retired = new Set(
      names.filter((name) => name.startsWith(RETIRED)).map((name) => BigInt(name.slice(RETIRED.length))),
    );
    // Whatever exists references its own root node; only a group that is being made right now can
    // be empty and wanted.
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

  async #ignoringExisting(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      if (!(error instanceof SysError && error.code === 'EEXIST')) throw error;
    }
  }
}

/** Where the data is below the pool's root. */
export function pathOf({ kind, id }: ContentSource): string {
  return `${DIRECTORIES[kind]}/${checkedId(id)}`;
}

function checkedId(id: string): string {
  if (!isId(id)) throw new Fault('bug', `${JSON.stringify(id)} reached the disk and is no id of ours`);
  return id;
}
