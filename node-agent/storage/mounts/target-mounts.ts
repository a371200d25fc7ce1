import { lstat, mkdir, open, realpath, rmdir, stat, unlink } from 'node:fs/promises';
import type { BigIntStats } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Fault } from '../../../src/core/fault.ts';
import type { VolumeShape } from '../../../src/core/volumes/volume.ts';
import type { MountPlan } from '../../../src/core/volumes/volume-access.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';
import type { MountEntry } from '../../../src/core/volumes/mount-table.ts';
import { readMountTable } from '../../linux/files/mount-table.ts';
import { absent } from '../../linux/files/absent.ts';
import type { VolumeTargets } from '../contract/volume-mounts.ts';

const UMOUNT_NOFOLLOW = 8;

/** The source of mounts at targets: a directory or a block device. */
export interface MountSource {
  readonly kind: 'directory' | 'device';
  /** Whether the mount at a path is of this volume. */
  isMountOf(volume: VolumeShape, shown: BigIntStats, entry: MountEntry): Promise<boolean>;
  /** Mounts the volume at `place`, an existing path of this kind without a mount. */
  bind(volume: VolumeShape, place: string, plan: MountPlan): Promise<void>;
}

/** A mount at a path: of the volume in question, or foreign. */
interface FoundMount {
  readonly isOfVolume: boolean;
  readonly readonly: boolean;
}

/** Mounts volumes at the target paths of an orchestrator. */
export class TargetMounts implements VolumeTargets {
  readonly #source: MountSource;
  readonly #kernel: Kernel;

  constructor(source: MountSource, { kernel }: { readonly kernel: Kernel }) {
    this.#source = source;
    this.#kernel = kernel;
  }

  async mount(volume: VolumeShape, target: string, plan: MountPlan): Promise<void> {
    await this.#makeTarget(volume, target);
    const place = await resolve(target);
    const seen = await this.#find(volume, place);
    if (seen?.isOfVolume === true && seen.readonly === plan.readonly) return;
    if (seen?.isOfVolume === false) {
      throw new Fault('precondition', `another file system is mounted at ${target}`, {
        fields: { target, volumeId: volume.id },
      });
    }
    if (seen?.isOfVolume === true) await this.#kernel.call('umount', place, UMOUNT_NOFOLLOW);
    await this.#source.bind(volume, place, plan);
  }

  async unmount(volume: VolumeShape, target: string): Promise<void> {
    const place = await resolve(target).catch(absent);
    if (place === undefined) return;
    // An older version or an administrator may have mounted it twice.
    for (;;) {
      const seen = await this.#find(volume, place);
      if (seen === undefined) break;
      if (!seen.isOfVolume) {
        throw new Fault('precondition', `the mount at ${target} is not of volume ${volume.id}`, {
          fields: { target, volumeId: volume.id },
        });
      }
      await this.#kernel.call('umount', place, UMOUNT_NOFOLLOW);
    }
    await this.#removeTarget(place);
  }

  async isMounted(volume: VolumeShape, target: string): Promise<boolean> {
    const place = await resolve(target).catch(absent);
    return place !== undefined && (await this.#find(volume, place))?.isOfVolume === true;
  }

  async #makeTarget({ id }: VolumeShape, target: string): Promise<void> {
    const isDirectory = this.#source.kind === 'directory';
    try {
      if (isDirectory) await mkdir(target, { mode: 0o750 });
      else await (await open(target, 'wx', 0o640)).close();
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') {
        throw new Fault('precondition', `the parent of ${target} does not exist; create it first`, {
          fields: { target },
        });
      }
      if (code !== 'EEXIST') throw error;
    }
    const found = await lstat(target);
    // A file that the agent or kubelet created, or the device that is mounted over it.
    if (isDirectory ? found.isDirectory() : found.isFile() || found.isBlockDevice()) return;
    throw new Fault(
      'precondition',
      `${target} is not a ${isDirectory ? 'directory' : 'file'}; remove it, or use another target`,
      { fields: { target, volumeId: id } },
    );
  }

  /** Removes only an empty target: other content does not belong to the agent. */
  async #removeTarget(place: string): Promise<void> {
    if (this.#source.kind === 'directory') {
      await rmdir(place).catch(absent);
      return;
    }
    const found = await lstat(place).catch(absent);
    if (found?.isFile() === true && found.size === 0) await unlink(place).catch(absent);
  }

  async #find(volume: VolumeShape, place: string): Promise<FoundMount | undefined> {
    const entry = (await readMountTable()).findLast(({ mountPoint }) => mountPoint === place);
    if (entry === undefined) return undefined;
    const shown = await stat(place, { bigint: true });
    const isOfVolume = await this.#source.isMountOf(volume, shown, entry);
    return { isOfVolume, readonly: entry.options.includes('ro') };
  }
}

/** Resolves all links but in the last part, which is the mount point itself. */
async function resolve(target: string): Promise<string> {
  return join(await realpath(dirname(target)), basename(target));
}
