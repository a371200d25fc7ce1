import type { BackendFeatures } from '../../../src/core/volumes/backend-features.ts';
import type { CapacityPolicy, PoolUsage } from '../../../src/core/pools/pool-capacity.ts';
import type { RemovalBudget } from '../../linux/files/removal-budget.ts';
import type { ContentSource, VolumeShape } from '../../../src/core/volumes/volume.ts';
import type { MountPlan } from '../../../src/core/volumes/volume-access.ts';
import type { BlockMaps } from '../content/file-block-maps.ts';
import type { TransfersByMode } from './content-transfer.ts';
import type { VolumeKey } from './volume-key.ts';

/**
 * Makes and removes the data of volumes and snapshots on one pool. Every method can be repeated; what one has done when it resolves
 * survives a power cut. Ids are ours (`isId`), never a caller's.
 */
export interface VolumeBackend {
  readonly features: BackendFeatures;
  /**
   * Ensures a volume, empty or as a writable copy of `source`, which has the same form. Its limit is not set yet: an empty one need not
   * survive a power cut before that is.
   */
  ensureVolume(volume: VolumeShape, source: ContentSource | undefined): Promise<void>;
  /** Ensures a read-only copy of a volume; writes completed before the call are in it. */
  ensureSnapshot(id: string, volume: VolumeShape): Promise<void>;
  /** Gets ready to copy several volumes of this pool at one instant. Nothing is held yet; disposing undoes what was not finished. */
  prepareCut(orders: readonly SnapshotOrder[]): Promise<SnapshotCut>;
  /** Lets the volume hold its size, and `limitBytes` be charged to it. It never shrinks what is there. */
  setLimit(volume: VolumeShape, limitBytes: bigint): Promise<void>;
  /** Takes the data out of sight, for `collect` to remove; absent is fine. */
  discard(kind: ContentSource['kind'], id: string): Promise<void>;
  /** Removes what was discarded, as far as the budget goes (default: all), and says in it when something is left. Resolves to how many. */
  collect(budget?: RemovalBudget): Promise<number>;
  usage(): Promise<PoolUsage>;
  /** Everything that is there and not discarded, whether or not anybody knows it. */
  list(): Promise<{ readonly volumes: readonly string[]; readonly snapshots: readonly string[] }>;
}

/** Where a pool's directory has its volumes and snapshots. */
export const DIRECTORIES = { volume: 'volumes', snapshot: 'snapshots' } as const;

/** A read-only copy that is wanted of a volume. */
export interface SnapshotOrder {
  readonly id: string;
  readonly of: VolumeShape;
}

/** Copies of several volumes of one pool, being made. */
export interface SnapshotCut extends AsyncDisposable {
  /**
   * Takes them all. They show one instant if writers that `VolumeMounts.freeze` can hold are held meanwhile. The signal says that they are held
   * for too long. Throws `unavailable` when it did not come off and may the next time.
   */
  take(signal: AbortSignal): Promise<void>;
  /** Makes what was taken visible and lasting; writers may go on by then. */
  finish(): Promise<void>;
}

/** Gets volumes of one pool ready to be shown, and holds them still. */
export interface VolumeAttachment {
  /**
   * Ensures that the volume can be shown: its device is attached, its file system mounted and as large as the volume. Without its key, an
   * encrypted one must have it already: else it throws `precondition`.
   */
  attach(volume: VolumeShape, key?: VolumeKey): Promise<void>;
  /**
   * Undoes that; absent is fine. What still shows the volume keeps working until it is unmounted, but an encrypted one loses its key: throws
   * `busy` while its files are open.
   */
  detach(volume: VolumeShape): Promise<void>;
  /** Makes an attached volume as large as its limit has become; nothing to do for one that is not attached. */
  grow(volume: VolumeShape): Promise<void>;
  /** Writes what is dirty of an attached volume to the disk, so that holding its writers is short. */
  flush(volume: VolumeShape): Promise<void>;
  /** Holds writers with all that they wrote on the disk, so that a copy is consistent, until the result is disposed. */
  freeze(volume: VolumeShape): Promise<AsyncDisposable>;
  /** The block device, as `MAJOR:MINOR`, that all I/O of an attached volume goes through and no other; undefined where there is none. */
  deviceOf(volume: VolumeShape): Promise<string | undefined>;
  /** Ensures that all that is in an attached Filesystem volume is this group's, before anything shows it to who needs that. */
  ensureGroup(volume: VolumeShape, group: number): Promise<void>;
  /** What its own file system says of an attached volume; undefined where the pool counts. */
  stats(volume: VolumeShape): Promise<FilesystemStats | undefined>;
}

/** Shows volumes that can be attached at paths. */
export interface VolumeTargets {
  /**
   * Ensures that `target`, made if absent, shows the volume with exactly this plan: a directory, or a device for a Block volume. Throws
   * `precondition` when something else is there.
   */
  mount(volume: VolumeShape, target: string, plan: MountPlan): Promise<void>;
  /** Ensures that the volume is not mounted at `target`, and removes the empty directory or file. Throws `busy` while files are open. */
  unmount(volume: VolumeShape, target: string): Promise<void>;
  /** Whether `target` shows the volume, by device and inode and not by what a path looks like. */
  isMounted(volume: VolumeShape, target: string): Promise<boolean>;
}

/** Volumes of one pool, ready and shown. */
export interface VolumeMounts extends VolumeAttachment, VolumeTargets {}

/** What a file system says of itself. */
export interface FilesystemStats {
  readonly totalBytes: bigint;
  readonly usedBytes: bigint;
  readonly availableBytes: bigint;
  /** Absent where inodes are made as needed. */
  readonly inodes?: { readonly total: bigint; readonly used: bigint; readonly available: bigint };
}

/** A pool in service. */
export interface Pool {
  readonly name: string;
  readonly backend: VolumeBackend;
  readonly mounts: VolumeMounts;
  readonly policy: CapacityPolicy;
  /** Absent where there are no Block volumes. */
  readonly blockMaps?: BlockMaps;
  /** Absent where contents cannot leave and come as streams. */
  readonly transfers?: TransfersByMode;
  /** Whether what was written is still counted right; undefined when all is well, else why not. */
  checkHealth(): Promise<string | undefined>;
}
