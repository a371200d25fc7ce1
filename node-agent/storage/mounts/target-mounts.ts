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

/** What is shown at targets: a directory, or a device. */
export interface MountSource {
  readonly kind: 'directory' | 'device';
  /** Whether what a path shows is this volume. */
  isShown(volume: VolumeShape, shown: BigIntStats, entry: MountEntry): Promise<boolean>;
  /** Mounts it over `place`, which is of this kind and shows nothing yet. */
  bind(volume: VolumeShape, place: string, plan: MountPlan): Promise<void>;
}

/** What is mounted at a path: the volume in question, or something else. */
interface Sight {
  readonly ours: boolean;
  readonly readonly: boolean;
}

/** Mounts of volumes at the paths that an orchestrator names. */
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
    const seen = await this.#look(volume, place);
    if (seen?.ours === true && seen.readonly === plan.readonly) return;
    if (seen?.ours === false) {
      throw new Fault('precondition', `something else is mounted at ${target}`, {
        fields: { target, volumeId: volume.id },
      });
    }
    if (seen?.ours === true) await this.#kernel.call('umount', place, UMOUNT_NOFOLLOW);
    await this.#source.bind(volume, place, plan);
  }

  async unmount(volume: VolumeShape, target: string): Promise<void> {
    const place = await resolve(target).catch(absent);
    if (place === undefined) return;
    // An interrupted older version, or a person, may have mounted it twice.
    for (;;) {
      const seen = await this.#look(volume, place);
      if (seen === undefined) break;
      if (!seen.ours) {
        throw new Fault('precondition', `${target} shows something else than volume ${volume.id}`, {
          fields: { target, volumeId: volume.id },
        });
      }
      await this.#kernel.call('umount', place, UMOUNT_NOFOLLOW);
    }
    await this.#removeTarget(place);
  }

  async isMounted(volume: VolumeShape, target: string): Promise<boolean> {
    const place = await resolve(target).catch(absent);
    return place !== undefined && (await this.#look(volume, place))?.ours === true;
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
    // A file that was made by us or kubelet, or the device that is mounted over it.
    if (isDirectory ? found.isDirectory() : found.isFile() || found.isBlockDevice()) return;
    throw new Fault(
      'precondition',
      `${target} is no ${isDirectory ? 'directory' : 'file'}; a volume is not mounted over anything else`,
      { fields: { target, volumeId: id } },
    );
  }

  /** Whatever is in the way there is not ours to remove: only what is empty goes. */
  async #removeTarget(place: string): Promise<void> {
    if (this.#source.kind === 'directory') {
      await rmdir(place).catch(absent);
      return;
    }
    const found = await lstat(place).catch(absent);
    if (found?.isFile() === true && found.size === 0) await unlink(place).catch(absent);
  }

  async #look(volume: VolumeShape, place: string): Promise<Sight | undefined> {
    const entry = (await readMountTable()).findLast(({ mountPoint }) => mountPoint === place);
    if (entry === undefined) return undefined;
    const shown = await stat(place, { bigint: true });
    const ours = await this.#source.isShown(volume, shown, entry);
    return { ours, readonly: entry.options.includes('ro') };
  }
}

/**
 * The path as the mount table spells it; its last part may not be a link, for that one is mounted
 * on.
 */
async function resolve(target: string): Promise<string> {
  return join(await realpath(dirname(target)), basename(target));
}
