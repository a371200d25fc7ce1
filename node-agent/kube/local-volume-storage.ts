import type { Snapshot } from '../../src/core/volumes/volume.ts';
import type { VolumeIdentifier } from '../../src/core/volumes/volume-request.ts';
import type { SnapshotGroupService } from '../storage/snapshots/snapshot-groups.ts';
import type { SnapshotService } from '../storage/snapshots/snapshots.ts';
import type { VolumeService } from '../storage/volumes/volumes.ts';

/** The storage services that LocalVolumes need. */
export interface LocalVolumeStorage {
  readonly volumes: Pick<VolumeService, 'create' | 'expand' | 'modify' | 'delete' | 'find'>;
  readonly snapshots: SnapshotService;
  readonly groups: Pick<SnapshotGroupService, 'create' | 'delete'>;
  /** Reports unreadable records. */
  readonly health: {
    report(): Promise<{
      readonly quarantined: readonly { readonly file: string; readonly reason: string }[];
    }>;
  };
}

/** Returns the snapshot with this id or name; undefined when it does not exist. */
export function findSnapshot(
  storage: Pick<LocalVolumeStorage, 'snapshots'>,
  wanted: VolumeIdentifier,
): Snapshot | undefined {
  return storage.snapshots
    .list()
    .find(({ id, name }) => ('id' in wanted ? id === wanted.id : name === wanted.name));
}
