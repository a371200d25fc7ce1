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
  /** Returns the path of a volume's directory, below `root`. */
  readonly pathOf: (id: string) => string;
  /**
   * Reads the usage of a volume's directory from the kernel; absent where the pool accounts for it.
   */
  readonly readStats?: (id: string) => Promise<FilesystemStats | undefined>;
}

export interface DirectoryMountsDeps {
  readonly kernel: Kernel;
  readonly groups: FileGroupChanger;
}

/** Bind-mounts directories of the pool at targets; there is no device to attach, grow or freeze. */
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
        async isMountOf({ id }, shown) {
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

  /** The volume's I/O goes through the device of the whole pool. */
  async deviceOf(): Promise<undefined> {
    return undefined;
  }

  /** A snapshot of a subvolume is atomic, and plain directories have no snapshots. */
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
