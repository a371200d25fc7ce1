import type { BackendFeatures } from '../../../src/core/volumes/backend-features.ts';
import type { PoolUsage } from '../../../src/core/pools/pool-capacity.ts';
import type { ContentSource, VolumeShape } from '../../../src/core/volumes/volume.ts';
import type { RemovalBudget } from '../../linux/files/removal-budget.ts';

/** Names the directories below a pool's root, by what they hold. */
export const DIRECTORIES = { volume: 'volumes', snapshot: 'snapshots' } as const;

/**
 * Creates and removes the data of volumes on one pool. Every method is idempotent, and its effect
 * survives a power cut once it has resolved. Ids satisfy `isId`; a caller's name never reaches it.
 */
export interface VolumeBackend extends SnapshotBackend {
  readonly features: BackendFeatures;
  /**
   * Ensures a volume, empty or as a writable copy of `source`, which has the same form. An empty
   * volume need not survive a power cut before its limit is set.
   */
  ensureVolume(volume: VolumeShape, source: ContentSource | undefined): Promise<void>;
  /** Allows the volume its size and a charge of `limitBytes`. Never shrinks a volume. */
  setLimit(volume: VolumeShape, limitBytes: bigint): Promise<void>;
  /** Renames the data for `collect` to remove; absent data is fine. */
  discard(kind: ContentSource['kind'], id: string): Promise<void>;
  /**
   * Removes discarded data within the budget (default: unlimited), and marks the budget when
   * something remains. Resolves to the number of removed volumes and snapshots.
   */
  collect(budget?: RemovalBudget): Promise<number>;
  /** Reads the pool's usage, with the charge and the limit of each volume. */
  usage(): Promise<PoolUsage>;
  /** Lists all data on the pool that is not discarded, with or without a record. */
  list(): Promise<{ readonly volumes: readonly string[]; readonly snapshots: readonly string[] }>;
}

/** Creates the data of snapshots on one pool. */
interface SnapshotBackend {
  /** Ensures a read-only copy of a volume, with all writes that completed before the call. */
  ensureSnapshot(id: string, volume: VolumeShape): Promise<void>;
  /**
   * Prepares snapshots of several volumes of this pool at one instant. No writer is held yet;
   * disposing the result removes what was not finished.
   */
  prepareSnapshots(requests: readonly SnapshotRequest[]): Promise<SnapshotCreation>;
}

/** A snapshot to be created, by its id, of a volume. */
export interface SnapshotRequest {
  readonly id: string;
  readonly volume: VolumeShape;
}

/** Snapshots of several volumes of one pool, prepared by `SnapshotBackend.prepareSnapshots`. */
export interface SnapshotCreation extends AsyncDisposable {
  /**
   * Takes all snapshots. They show one instant if the caller has frozen all writers that
   * `WriteBarrier.freeze` can freeze; `signal` aborts when that has lasted too long. Throws
   * `unavailable` when the attempt failed and a later one may succeed.
   */
  take(signal: AbortSignal): Promise<void>;
  /** Makes the taken snapshots visible and durable; the caller may have thawed all writers. */
  finish(): Promise<void>;
}
