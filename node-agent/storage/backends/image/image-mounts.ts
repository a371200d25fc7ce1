import { mkdir, open, rmdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../../../src/core/fault.ts';
import type { FsType, VolumeShape } from '../../../../src/core/volumes/volume.ts';
import type { MountPlan } from '../../../../src/core/volumes/volume-access.ts';
import type { Kernel } from '../../../linux/kernel/kernel.ts';
import { SysError } from '../../../linux/libc/libc.ts';
import { readMountTable } from '../../../linux/files/mount-table.ts';
import type { FileGroupChanger, FilesystemStats } from '../../contract/volume-mounts.ts';
import { ENCRYPTED_DIRECTORY, EncryptedDirectories, lacksKey } from './encrypted-directory.ts';
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
  /** Path of the file with a volume's file system, through the pool's open root. */
  readonly fileOf: (id: string) => string;
  /**
   * A directory of ours: each attached volume is mounted in it once, and from there shown to
   * workloads.
   */
  readonly mountDir: string;
  /**
   * Gives a volume that nothing has mounted a file that `work` has changed, in one step: at any
   * moment the old one is whole, or the new one.
   */
  readonly rework: (id: string, work: (file: string) => Promise<void>) => Promise<void>;
}

export interface ImageMountsDeps {
  readonly kernel: Kernel;
  readonly groups: FileGroupChanger;
}

const UMOUNT_NOFOLLOW = 8;

/**
 * Filesystem volumes in files: a loop device, mounted once at a place of ours, and bind mounts of
 * that.
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
        // What pods see of its file system, and not some directory in it.
        isShown: async ({ id, encryption }, _, { source, root }) =>
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
    if (isNew && isEncrypted && key === undefined) throw lacksKey(volume.id);
    if (isNew) {
      await this.#mountFile(volume, place);
    } else {
      // Crash windows: killed while it held the writers for a copy, and before it had grown what it
      // mounted.
      await this.#kernel.call('thawFilesystem', place);
      if ((await this.#isBehind(volume)) && (await growsMounted(fsTypeOf(volume)))) await this.grow(volume);
    }
    if (!isEncrypted) return;
    try {
      await this.#encrypted.unlock(volume, place, key);
    } catch (error) {
      // With the file system goes the key.
      if (isNew) await this.detach(volume);
      throw error;
    }
  }

  async #mountFile(volume: VolumeShape, place: string): Promise<void> {
    const type = fsTypeOf(volume);
    const file = this.#options.fileOf(volume.id);
    let isBehind = await this.#isBehind(volume);
    await mkdir(place, { recursive: true, mode: 0o700 });
    const isMounted = (await this.#kernel.call('findLoopPath', file)) !== undefined;
    if (isBehind && !isMounted && !(await growsMounted(type))) {
      await this.#options.rework(volume.id, (copy) => growUnmounted(type, forPrograms(copy)));
      isBehind = false;
    }
    const device = await this.#kernel.call('attachLoop', file, { autoclear: true });
    try {
      await this.#mountDevice(volume, device, place);
      // Mounted elsewhere already (in a mount namespace that outlived its agent), it may still be
      // held.
      if (device.reused) await this.#kernel.call('thawFilesystem', place);
      // Crash window: mounted, and not grown. Attaching it again goes on from there.
      if (isBehind) await growFilesystem(type, device.path, place);
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
   * A btrfs that is mounted already takes a mount without a context for one with the context that
   * it has; other file systems refuse it.
   */
  async #requireUnlabelled({ id }: VolumeShape, place: string): Promise<void> {
    const entry = (await readMountTable()).findLast(({ mountPoint }) => mountPoint === place);
    if (entry?.filesystemOptions.some((option) => option.startsWith('context=')) !== true) return;
    await this.#kernel.call('umount', place, UMOUNT_NOFOLLOW);
    throw mountedStill(id, 'without a context');
  }

  async detach(volume: VolumeShape): Promise<void> {
    const place = this.#placeOf(volume);
    if (await this.#isAttached(volume)) {
      // Crash window: without its key, still mounted. Detaching and attaching go on from there.
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
    const held = (await this.#isAttached(volume)) && (await this.#kernel.call('freezeFilesystem', place));
    return {
      [Symbol.asyncDispose]: async () => {
        if (held) await this.#kernel.call('thawFilesystem', place);
      },
    };
  }

  deviceOf({ id }: VolumeShape): Promise<string | undefined> {
    return this.#kernel.call('findLoopNumber', this.#options.fileOf(id));
  }

  async ensureGroup(volume: VolumeShape, group: number): Promise<void> {
    // There already, but after a reboot.
    await this.attach(volume);
    await using directory = await open(this.#options.mountDir, 'r');
    const files = { volumeId: volume.id, root: directory.fd, path: shownPathOf(volume) };
    await this.#groups.ensure(files, group);
  }

  async stats(volume: VolumeShape): Promise<FilesystemStats | undefined> {
    if (!(await this.#isAttached(volume))) return undefined;
    return filesystemStats(await statfs(this.#placeOf(volume), { bigint: true }));
  }

  async #bind(volume: VolumeShape, place: string, plan: MountPlan): Promise<void> {
    await this.attach(volume);
    await using directory = await open(this.#options.mountDir, 'r');
    await this.#kernel.call('bindBeneath', directory.fd, shownPathOf(volume), place, plan);
  }

  /**
   * Whether its file has grown, and its file system has not. Throws `precondition` when it is not
   * the one that the record says.
   */
  async #isBehind(volume: VolumeShape): Promise<boolean> {
    const file = this.#options.fileOf(volume.id);
    const found = await readFilesystem(fsTypeOf(volume), volume.id, file);
    return found.sizeBytes < (await stat(file, { bigint: true })).size;
  }

  /** Whether our own mount of it is there, and no other one. */
  async #isAttached(volume: VolumeShape): Promise<boolean> {
    const place = this.#placeOf(volume);
    const entry = (await readMountTable()).findLast(({ mountPoint }) => mountPoint === place);
    if (entry === undefined) return false;
    const path = await this.#kernel.call('findLoopPath', this.#options.fileOf(volume.id));
    if (path === entry.source) return true;
    throw new Fault(
      'precondition',
      `${entry.source} is mounted at ${place}, and that is not volume ${volume.id}; unmount it`,
      { fields: { volumeId: volume.id, mountPoint: place } },
    );
  }

  #placeOf({ id }: VolumeShape): string {
    return join(this.#options.mountDir, id);
  }
}

/** What pods see of a volume, below the directory with the mounts. */
function shownPathOf({ id, encryption }: VolumeShape): string {
  return encryption === undefined ? id : join(id, ENCRYPTED_DIRECTORY);
}

/**
 * What the kernel has against a context is one errno, and its reason in its log alone: a file
 * system that is mounted already has another one, or none, or the policy does not know it.
 * Undefined for other errors.
 */
function explainRefusal(
  error: SysError,
  { id, selinuxContext }: VolumeShape,
  isMounted: boolean,
): Fault | undefined {
  if (error.code !== 'EINVAL' || (selinuxContext === undefined && !isMounted)) return undefined;
  const asked = selinuxContext === undefined ? 'without a context' : `with context ${selinuxContext}`;
  if (isMounted) return mountedStill(id, asked, error);
  return new Fault(
    'invalid',
    `volume ${id} cannot be mounted ${asked} (EINVAL): the SELinux policy of this node has to know that context; the kernel's log says more (dmesg)`,
    { fields: { volumeId: id }, cause: error },
  );
}

function mountedStill(id: string, asked: string, cause?: SysError): Fault {
  return new Fault(
    'precondition',
    `volume ${id} cannot be mounted ${asked}: something on this node has its file system open still, perhaps with another SELinux context; end that first`,
    { fields: { volumeId: id }, ...(cause === undefined ? {} : { cause }) },
  );
}

function fsTypeOf({ id, fsType }: VolumeShape): FsType {
  if (fsType !== undefined) return fsType;
  throw new Fault('bug', `volume ${id} has no file system type`);
}
