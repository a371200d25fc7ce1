import { mkdir, open, rmdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../../../src/core/fault.ts';
import type { FsType, VolumeShape } from '../../../../src/core/volumes/volume.ts';
import type { MountPlan } from '../../../../src/core/volumes/volume-access.ts';
import type { Kernel } from '../../../linux/kernel/kernel.ts';
import { SysError } from '../../../linux/libc/libc.ts';
import { readMountTable } from '../../../linux/files/mount-table.ts';
import type { FileGroupChanger, FilesystemStats } from '../../contract/volume-mounts.ts';
import { ENCRYPTED_DIRECTORY, EncryptedDirectories, missingKey } from './encrypted-directory.ts';
import { filesystemStats } from '../../mounts/filesystem-stats.ts';
import { forPrograms } from '../../../linux/files/process-path.ts';
import type { ModeMounts } from '../../mounts/mounts-by-mode.ts';
import { absent } from '../../../linux/files/absent.ts';
import { TargetMounts } from '../../mounts/target-mounts.ts';
import {
  growFilesystem,
  growsMounted,
  growUnmounted,
  mountDataOf,
  readFilesystem,
} from './volume-filesystem.ts';
import type { VolumeKey } from '../../contract/volume-key.ts';

export interface ImageMountsOptions {
  /** Returns the path of a volume's file, through the pool's open root. */
  readonly fileOf: (id: string) => string;
  /** Directory in which each attached volume is mounted once, as the source of bind mounts. */
  readonly mountDir: string;
  /** Replaces an unmounted volume's file atomically by a copy that `work` has changed. */
  readonly replaceFile: (id: string, work: (file: string) => Promise<void>) => Promise<void>;
}

export interface ImageMountsDeps {
  readonly kernel: Kernel;
  readonly groups: FileGroupChanger;
}

const UMOUNT_NOFOLLOW = 8;

/**
 * Attaches Filesystem volumes in files as loop devices, mounts each once, and bind-mounts that
 * mount.
 */
export class ImageMounts implements ModeMounts {
  readonly #options: ImageMountsOptions;
  readonly #kernel: Kernel;
  readonly #groups: FileGroupChanger;
  readonly targets: TargetMounts;
  readonly #encrypted: EncryptedDirectories;

  constructor(options: ImageMountsOptions, { kernel, groups }: ImageMountsDeps) {
    this.#options = options;
    this.#kernel = kernel;
    this.#groups = groups;
    this.#encrypted = new EncryptedDirectories({ kernel });
    this.targets = new TargetMounts(
      {
        kind: 'directory',
        // The whole file system, or its encrypted directory: not a directory below.
        isMountOf: async ({ id, encryption }, _, { source, root }) =>
          root === (encryption === undefined ? '/' : `/${ENCRYPTED_DIRECTORY}`) &&
          source === (await kernel.call('findLoopPath', options.fileOf(id))),
        bind: (volume, place, plan) => this.#bind(volume, place, plan),
      },
      { kernel },
    );
  }

  async attach(volume: VolumeShape, key?: VolumeKey): Promise<void> {
    const place = this.#placeOf(volume);
    const isNew = !(await this.#isAttached(volume));
    const isEncrypted = volume.encryption !== undefined;
    if (isNew && isEncrypted && key === undefined) throw missingKey(volume.id);
    if (isNew) {
      await this.#mountFile(volume, place);
    } else {
      // Crash windows: killed while writers were frozen, and killed before the file system had
      // grown.
      await this.#kernel.call('thawFilesystem', place);
      if ((await this.#isTooSmall(volume)) && (await growsMounted(fsTypeOf(volume)))) await this.grow(volume);
    }
    if (!isEncrypted) return;
    try {
      await this.#encrypted.unlock(volume, place, key);
    } catch (error) {
      // Unmounting removes the key as well.
      if (isNew) await this.detach(volume);
      throw error;
    }
  }

  async #mountFile(volume: VolumeShape, place: string): Promise<void> {
    const type = fsTypeOf(volume);
    const file = this.#options.fileOf(volume.id);
    let isTooSmall = await this.#isTooSmall(volume);
    await mkdir(place, { recursive: true, mode: 0o700 });
    const isMounted = (await this.#kernel.call('findLoopPath', file)) !== undefined;
    if (isTooSmall && !isMounted && !(await growsMounted(type))) {
      await this.#options.replaceFile(volume.id, (copy) => growUnmounted(type, forPrograms(copy)));
      isTooSmall = false;
    }
    const device = await this.#kernel.call('attachLoop', file, { autoclear: true });
    try {
      await this.#mountDevice(volume, device, place);
      // Mounted in another mount namespace, which outlived its agent, it may still be frozen.
      if (device.reused) await this.#kernel.call('thawFilesystem', place);
      // Crash window: mounted, not grown. Attaching it again grows it.
      if (isTooSmall) await growFilesystem(type, device.path, place);
    } finally {
      await this.#kernel.call('closeLoop', { fd: device.fd });
    }
  }

  async #mountDevice(
    volume: VolumeShape,
    { path, reused }: { readonly path: string; readonly reused: boolean },
    place: string,
  ): Promise<void> {
    const type = fsTypeOf(volume);
    try {
      const data = mountDataOf(type, volume.selinuxContext);
      await this.#kernel.call('mountFilesystem', path, place, type, data);
    } catch (error) {
      const refusal = error instanceof SysError ? explainRefusal(error, volume, reused) : undefined;
      throw refusal ?? error;
    }
    if (reused && volume.selinuxContext === undefined) await this.#requireUnlabelled(volume, place);
  }

  /**
   * Requires a mount without a context. A btrfs that is mounted with a context elsewhere silently
   * gives it to a mount without one; other file systems refuse that mount.
   */
  async #requireUnlabelled({ id }: VolumeShape, place: string): Promise<void> {
    const entry = (await readMountTable()).findLast(({ mountPoint }) => mountPoint === place);
    if (entry?.filesystemOptions.some((option) => option.startsWith('context=')) !== true) return;
    await this.#kernel.call('umount', place, UMOUNT_NOFOLLOW);
    throw mountedElsewhere(id, 'without a context');
  }

  async detach(volume: VolumeShape): Promise<void> {
    const place = this.#placeOf(volume);
    if (await this.#isAttached(volume)) {
      // Crash window: key removed, still mounted. Detaching or attaching it again completes.
      await this.#encrypted.lock(volume, place);
      await this.#kernel.call('umount', place, UMOUNT_NOFOLLOW);
    }
    await rmdir(place).catch(absent);
  }

  async grow(volume: VolumeShape): Promise<void> {
    if (!(await this.#isAttached(volume))) return;
    const path = await this.#kernel.call('findLoopPath', this.#options.fileOf(volume.id));
    if (path === undefined) return;
    await this.#kernel.call('refreshLoopCapacity', path);
    await growFilesystem(fsTypeOf(volume), path, this.#placeOf(volume));
  }

  async flush(volume: VolumeShape): Promise<void> {
    if (!(await this.#isAttached(volume))) return;
    await using place = await open(this.#placeOf(volume), 'r');
    await this.#kernel.call('syncFilesystem', place.fd);
  }

  async freeze(volume: VolumeShape): Promise<AsyncDisposable> {
    const place = this.#placeOf(volume);
    const isFrozen = (await this.#isAttached(volume)) && (await this.#kernel.call('freezeFilesystem', place));
    return {
      [Symbol.asyncDispose]: async () => {
        if (isFrozen) await this.#kernel.call('thawFilesystem', place);
      },
    };
  }

  deviceOf({ id }: VolumeShape): Promise<string | undefined> {
    return this.#kernel.call('findLoopNumber', this.#options.fileOf(id));
  }

  async ensureGroup(volume: VolumeShape, group: number): Promise<void> {
    // Attached already, except after a reboot.
    await this.attach(volume);
    await using directory = await open(this.#options.mountDir, 'r');
    const files = { volumeId: volume.id, root: directory.fd, path: visiblePathOf(volume) };
    await this.#groups.ensure(files, group);
  }

  async stats(volume: VolumeShape): Promise<FilesystemStats | undefined> {
    if (!(await this.#isAttached(volume))) return undefined;
    return filesystemStats(await statfs(this.#placeOf(volume), { bigint: true }));
  }

  async #bind(volume: VolumeShape, place: string, plan: MountPlan): Promise<void> {
    await this.attach(volume);
    await using directory = await open(this.#options.mountDir, 'r');
    await this.#kernel.call('bindBeneath', directory.fd, visiblePathOf(volume), place, plan);
  }

  /**
   * Whether the file has grown and its file system has not. Throws `precondition` for another type.
   */
  async #isTooSmall(volume: VolumeShape): Promise<boolean> {
    const file = this.#options.fileOf(volume.id);
    const found = await readFilesystem(fsTypeOf(volume), volume.id, file);
    return found.sizeBytes < (await stat(file, { bigint: true })).size;
  }

  /** Whether the volume is mounted in `mountDir`. Throws `precondition` for a foreign mount. */
  async #isAttached(volume: VolumeShape): Promise<boolean> {
    const place = this.#placeOf(volume);
    const entry = (await readMountTable()).findLast(({ mountPoint }) => mountPoint === place);
    if (entry === undefined) return false;
    const path = await this.#kernel.call('findLoopPath', this.#options.fileOf(volume.id));
    if (path === entry.source) return true;
    throw new Fault('precondition', `${entry.source} at ${place} is not volume ${volume.id}; unmount it`, {
      fields: { volumeId: volume.id, mountPoint: place },
    });
  }

  #placeOf({ id }: VolumeShape): string {
    return join(this.#options.mountDir, id);
  }
}

/** Returns the directory that pods see of a volume, below `mountDir`. */
function visiblePathOf({ id, encryption }: VolumeShape): string {
  return encryption === undefined ? id : join(id, ENCRYPTED_DIRECTORY);
}

/**
 * Explains EINVAL of a mount with a context; undefined for other errors. The kernel logs the reason
 * only: the file system is mounted with another context or none, or the policy does not know it.
 */
function explainRefusal(
  error: SysError,
  { id, selinuxContext }: VolumeShape,
  isMounted: boolean,
): Fault | undefined {
  if (error.code !== 'EINVAL' || (selinuxContext === undefined && !isMounted)) return undefined;
  const requested = selinuxContext === undefined ? 'without a context' : `with context ${selinuxContext}`;
  if (isMounted) return mountedElsewhere(id, requested, error);
  return new Fault(
    'invalid',
    `volume ${id} cannot be mounted ${requested} (EINVAL): the SELinux policy of this node must define that context; see the kernel's log (dmesg)`,
    { fields: { volumeId: id }, cause: error },
  );
}

function mountedElsewhere(id: string, requested: string, cause?: SysError): Fault {
  return new Fault(
    'precondition',
    `volume ${id} cannot be mounted ${requested}: its file system is still mounted on this node, perhaps with another SELinux context; unmount it first`,
    { fields: { volumeId: id }, ...(cause === undefined ? {} : { cause }) },
  );
}

function fsTypeOf({ id, fsType }: VolumeShape): FsType {
  if (fsType !== undefined) return fsType;
  throw new Fault('bug', `volume ${id} has no file system type`);
}
