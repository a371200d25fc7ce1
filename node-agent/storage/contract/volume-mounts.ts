import type { VolumeShape } from '../../../src/core/volumes/volume.ts';
import type { MountPlan } from '../../../src/core/volumes/volume-access.ts';
import type { VolumeKey } from './volume-key.ts';

/** Attaches volumes of one pool to the node, so that they can be mounted at targets. */
export interface VolumeAttachment {
  /**
   * Ensures that the volume can be mounted: its device is attached, and its file system is mounted
   * and as large as the volume. Throws `precondition` for an encrypted volume without `key` that
   * does not have its key in the kernel already.
   */
  attach(volume: VolumeShape, key?: VolumeKey): Promise<void>;
  /**
   * Ensures that the volume is not attached. Its mounts at targets keep working until they are
   * unmounted, except that an encrypted volume loses its key: throws `busy` while its files are
   * open.
   */
  detach(volume: VolumeShape): Promise<void>;
  /** Grows an attached volume to its recorded size; does nothing for a volume that is detached. */
  grow(volume: VolumeShape): Promise<void>;
  /**
   * Returns the block device, as `MAJOR:MINOR`, that carries all I/O of an attached volume and no
   * other I/O; undefined for a volume without such a device.
   */
  deviceOf(volume: VolumeShape): Promise<string | undefined>;
  /** Ensures that all files of an attached Filesystem volume belong to `group`. */
  ensureGroup(volume: VolumeShape, group: number): Promise<void>;
  /**
   * Returns the usage by the volume's own file system; undefined where the pool accounts for it.
   */
  stats(volume: VolumeShape): Promise<FilesystemStats | undefined>;
}

/** Holds the writers of attached volumes, for consistent copies. */
export interface WriteBarrier {
  /** Writes dirty pages of an attached volume to disk, so that a following `freeze` is short. */
  flush(volume: VolumeShape): Promise<void>;
  /** Blocks writers, with all completed writes on disk, until the result is disposed. */
  freeze(volume: VolumeShape): Promise<AsyncDisposable>;
}

/** Mounts attached volumes at target paths. */
export interface VolumeTargets {
  /**
   * Ensures that the volume is mounted at `target` with exactly this plan: at a directory, or for a
   * Block volume at a file. Creates the target. Throws `precondition` when `target` is taken.
   */
  mount(volume: VolumeShape, target: string, plan: MountPlan): Promise<void>;
  /**
   * Ensures that the volume is not mounted at `target`, and removes the empty directory or file.
   * Throws `busy` while files are open.
   */
  unmount(volume: VolumeShape, target: string): Promise<void>;
  /** Whether the volume is mounted at `target`, by device and inode. */
  isMounted(volume: VolumeShape, target: string): Promise<boolean>;
}

/** Attaches volumes of one pool, mounts them at targets, and freezes them. */
export interface VolumeMounts extends VolumeAttachment, WriteBarrier, VolumeTargets {}

/** Usage of a file system as statfs(2) reports it. */
export interface FilesystemStats {
  readonly totalBytes: bigint;
  readonly usedBytes: bigint;
  readonly availableBytes: bigint;
  /** Absent where the file system allocates inodes on demand. */
  readonly inodes?: { readonly total: bigint; readonly used: bigint; readonly available: bigint };
}

/** Where the files of a volume are. */
export interface VolumeFiles {
  readonly volumeId: string;
  /** An open directory; it stays open until the call has ended. */
  readonly root: number;
  /** Path of the directory with the files, below `root`. */
  readonly path: string;
}

/** Changes the group of volumes' files (CSI `volume_mount_group`). */
export interface FileGroupChanger {
  /**
   * Ensures that all files belong to `group`. Throws with the path of the first file that cannot.
   */
  ensure(files: VolumeFiles, group: number): Promise<void>;
}
