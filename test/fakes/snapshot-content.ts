import type { ContentView } from '../../src/core/snapshots/snapshot.ts';

/** The content of snapshot `team/before` of volume `vol-1`, of which nothing is known yet. */
export const SNAPSHOT_CONTENT: ContentView = {
  name: 'snapcontent-1',
  driver: 'keelson.dev',
  isDeleting: false,
  hasFinalizer: true,
  isMember: false,
  isReleased: false,
  deletionPolicy: 'Delete',
  volumeHandle: 'vol-1',
  snapshotHandle: undefined,
  snapshot: { namespace: 'team', name: 'before', uid: '1' },
  status: { handle: undefined, isReady: false, createdMs: undefined, sizeBytes: undefined, error: undefined },
};
