import type { PoolUsage } from '../../src/core/pool-capacity.ts';
import type { ContentSource } from '../../src/core/volume.ts';
import type { MountPlan } from '../../src/core/volume-access.ts';
import type { QuotaMode } from '../../src/core/volume-quota.ts';

/**
 * Makes and removes the data of volumes and snapshots on one pool. Every method can be repeated; what one has done when it resolves
 * survives a power cut. Ids are ours (`isId`), never a caller's.
 */
export interface VolumeBackend {
  readonly quotaMode: QuotaMode;
  /** Ensures a volume, empty or as a writable copy of `source`. Its limit is not set yet. */
  ensureVolume(id: string, source: ContentSource | undefined): Promise<void>;
  /** Ensures a read-only copy of a volume; writes completed before the call are in it. */
  ensureSnapshot(id: string, volumeId: string): Promise<void>;
  /** Sets how many bytes may be charged to the volume. */
  setLimit(volumeId: string, limitBytes: bigint): Promise<void>;
  /** Takes the data out of sight, for `collect` to remove; absent is fine. */
  discard(kind: ContentSource['kind'], id: string): Promise<void>;
  /** Removes what was discarded. Resolves to how many. */
  collect(): Promise<number>;
  usage(): Promise<PoolUsage>;
  /** Everything that is there and not discarded, whether or not anybody knows it. */
  list(): Promise<{ readonly volumes: readonly string[]; readonly snapshots: readonly string[] }>;
}

/** Shows volumes of one pool at paths. */
export interface VolumeMounts {
  /** Ensures that `target`, a directory made if absent, shows the volume with exactly this plan. Throws `precondition` when something else is there. */
  mount(volumeId: string, target: string, plan: MountPlan): Promise<void>;
  /** Ensures that the volume is not mounted at `target`, and removes the empty directory. Throws `busy` while files are open. */
  unmount(volumeId: string, target: string): Promise<void>;
  /** Whether `target` shows the volume, by device and inode and not by what a path looks like. */
  isMounted(volumeId: string, target: string): Promise<boolean>;
}

/** A pool in service. */
export interface Pool {
  readonly name: string;
  readonly backend: VolumeBackend;
  readonly mounts: VolumeMounts;
  /** Whether what was written is still counted right; undefined when all is well, else why not. */
  checkHealth(): Promise<string | undefined>;
}
