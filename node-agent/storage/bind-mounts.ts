import { lstat, mkdir, realpath, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import type { MountPlan } from '../../src/core/volume-access.ts';
import type { Kernel } from '../linux/kernel.ts';
import { readMountTable } from '../linux/mount-table.ts';
import type { VolumeMounts } from './backend.ts';
import { pathOf, readIdentity } from './btrfs-backend.ts';

const UMOUNT_NOFOLLOW = 8;

/** What is mounted at a path: the volume in question, or something else. */
interface Sight {
  readonly ours: boolean;
  readonly readonly: boolean;
}

/** Bind mounts of subvolumes below the pool's open root directory. */
export class BindMounts implements VolumeMounts {
  readonly #root: number;
  readonly #kernel: Kernel;

  constructor({ root }: { readonly root: number }, { kernel }: { readonly kernel: Kernel }) {
    this.#root = root;
    this.#kernel = kernel;
  }

  async mount(volumeId: string, target: string, plan: MountPlan): Promise<void> {
    await mkdir(target, { mode: 0o750 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return;
      if (error.code !== 'ENOENT') throw error;
      throw new Fault('precondition', `the parent of ${target} does not exist; create it first`, {
        fields: { target },
      });
    });
    if (!(await lstat(target)).isDirectory()) {
      throw new Fault(
        'precondition',
        `${target} is no directory; a volume is not mounted over anything else`,
        {
          fields: { target, volumeId },
        },
      );
    }
    const place = await resolve(target);
    const seen = await this.#look(volumeId, place);
    if (seen?.ours === true && seen.readonly === plan.readonly) return;
    if (seen?.ours === false) {
      throw new Fault('precondition', `something else is mounted at ${target}`, {
        fields: { target, volumeId },
      });
    }
    if (seen?.ours === true) await this.#kernel.call('umount', place, UMOUNT_NOFOLLOW);
    await this.#kernel.call('bindBeneath', this.#root, pathOf({ kind: 'volume', id: volumeId }), place, plan);
  }

  async unmount(volumeId: string, target: string): Promise<void> {
    const place = await resolve(target).catch(absent);
    if (place === undefined) return;
    // An interrupted older version, or a person, may have mounted it twice.
    for (;;) {
      const seen = await this.#look(volumeId, place);
      if (seen === undefined) break;
      if (!seen.ours) {
        throw new Fault('precondition', `${target} shows something else than volume ${volumeId}`, {
          fields: { target, volumeId },
        });
      }
      await this.#kernel.call('umount', place, UMOUNT_NOFOLLOW);
    }
    await rmdir(place).catch(absent);
  }

  async isMounted(volumeId: string, target: string): Promise<boolean> {
    const place = await resolve(target).catch(absent);
    return place !== undefined && (await this.#look(volumeId, place))?.ours === true;
  }

  async #look(volumeId: string, place: string): Promise<Sight | undefined> {
    const entry = (await readMountTable()).findLast(({ mountPoint }) => mountPoint === place);
    if (entry === undefined) return undefined;
    const [shown, volume] = await Promise.all([
      stat(place, { bigint: true }),
      readIdentity(this.#root, volumeId).catch(absent),
    ]);
    return {
      ours: volume !== undefined && shown.dev === volume.dev && shown.ino === volume.ino,
      readonly: entry.options.includes('ro'),
    };
  }
}

/** The path as the mount table spells it; its last part may not be a link, for that one is mounted on. */
async function resolve(target: string): Promise<string> {
  return join(await realpath(dirname(target)), basename(target));
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
  throw error;
}
