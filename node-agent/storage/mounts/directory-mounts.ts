import { stat } from 'node:fs/promises';
import type { VolumeShape } from '../../../src/core/volumes/volume.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';
import type { FileGroupChanger, FilesystemStats } from '../contract/volume-mounts.ts';
import type { ModeMounts } from './mounts-by-mode.ts';
import { absent } from '../../linux/files/absent.ts';
import { TargetMounts } from './target-mounts.ts';

export interface DirectoryMountsOptions {
  /** The pool's open root directory. */
  readonly root: number;
  /** Where a volume's directory is below it. */
  readonly pathOf: (id: string) => string;
  /** What the kernel says of a volume's directory; absent where the pool counts. */
  readonly readStats?: (id: string) => Promise<FilesystemStats | undefined>;
}

export interface DirectoryMountsDeps {
  readonly kernel: Kernel;
  readonly groups: FileGroupChanger;
}

/**
 * Bind mounts of directories of the pool itself: there is nothing to attach, to grow or to hold.
 */
export class DirectoryMounts implements ModeMounts {
  readonly #options: DirectoryMountsOptions;
  readonly #groups: FileGroupChanger;
  readonly targets: TargetMounts;

  constructor(options: DirectoryMountsOptions, { kernel, groups }: DirectoryMountsDeps) {
    const { root, pathOf } = options;
    this.#options = options;
    this.#groups = groups;
    this.targets = new TargetMounts(
      {
        kind: 'directory',
        async isShown({ id }, shown) {
          const own = await stat(`/proc/self/fd/${root}/${pathOf(id)}`, { bigint: true }).catch(absent);
          return own !== undefined && own.dev === shown.dev && own.ino === shown.ino;
        },
        bind: ({ id }, place, plan) => kernel.call('bindBeneath', root, pathOf(id), place, plan),
      },
      { kernel },
    );
  }

  async attach(): Promise<void> {}
  async detach(): Promise<void> {}
  async grow(): Promise<void> {}
  async flush(): Promise<void> {}

  /** Its I/O goes through the device of the whole pool. */
  async deviceOf(): Promise<undefined> {
    return undefined;
  }

  /**
   * A subvolume is copied at one instant by itself, and of a plain directory no copies are made.
   */
  async freeze(): Promise<AsyncDisposable> {
    return { async [Symbol.asyncDispose]() {} };
  }

  async ensureGroup({ id }: VolumeShape, group: number): Promise<void> {
    const { root, pathOf } = this.#options;
    await this.#groups.ensure({ volumeId: id, root, path: pathOf(id) }, group);
  }

  async stats({ id }: VolumeShape): Promise<FilesystemStats | undefined> {
    return await this.#options.readStats?.(id);
  }
}
