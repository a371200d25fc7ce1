import { DRIVER_NAME } from '../volumes/driver.ts';
import { type ContentPlan, NO_STEP, type NodeSnapshotSource, type NodeSnapshotView } from './content-plan.ts';
import type { ContentStatus, ContentView } from './snapshot.ts';

/** What the next step for one VolumeSnapshotContent depends on. */
export interface SnapshotContentState {
  readonly content: ContentView;
  /** Found by its handle where the content has one, else by its name. */
  readonly nodeSnapshot: NodeSnapshotView | undefined;
  /** The volume to snapshot; undefined when no LocalVolume has its handle. */
  readonly source: NodeSnapshotSource | undefined;
  /** Names of other contents with the same handle, which share the data. */
  readonly sharers: readonly string[];
  /** The node refused recently. */
  readonly isRefused: boolean;
  /** The Node of `nodeSnapshot` exists. */
  readonly hasNode: boolean;
}

type SnapshotContentPlan = ContentPlan<ContentStatus>;

/**
 * Returns the next step for a VolumeSnapshotContent in the driver's part: the snapshot on its node
 * and the content's status. It does not depend on which controller does the binding.
 */
export function planSnapshotContent(state: SnapshotContentState): SnapshotContentPlan {
  const { content, nodeSnapshot } = state;
  if (content.driver !== DRIVER_NAME) return NO_STEP;
  if (content.isDeleting) return planDeletion(state);
  if (nodeSnapshot?.isDeleting === true) {
    if (content.status.handle !== undefined) return reportError(content, 'its snapshot is being deleted');
    return nodeSnapshot.isPublished || state.hasNode
      ? NO_STEP
      : { do: 'abandon', names: [nodeSnapshot.name] };
  }
  return nodeSnapshot === undefined ? planAbsent(state) : planExisting(content, nodeSnapshot);
}

function planExisting(content: ContentView, nodeSnapshot: NodeSnapshotView): SnapshotContentPlan {
  const { name, phase, message, handle, createdMs, sizeBytes, isPublished } = nodeSnapshot;
  const place = `pool ${nodeSnapshot.poolName} on node ${nodeSnapshot.nodeName}`;
  switch (phase) {
    case 'Pending':
      return message === '' ? NO_STEP : reportError(content, `${place}: ${message}`);
    case 'Ready':
      // The agent writes the handle together with the phase.
      if (handle === undefined) return NO_STEP;
      // Crash window: annotated, but not reported. The snapshot is then found by its name.
      if (!isPublished) return { do: 'annotate', names: [name] };
      return report(content, { handle, isReady: true, createdMs, sizeBytes, error: undefined });
    case 'Exhausted':
    case 'Failed': {
      const what = phase === 'Exhausted' ? 'has not enough free space' : 'failed to create the snapshot';
      const status = failed(content, `${place} ${message === '' ? what : `${what}: ${message}`}`);
      return isPublished || content.snapshotHandle !== undefined
        ? report(content, status)
        : { do: 'discard', names: [name], status };
    }
    case 'Lost':
      return reportError(content, `${place} lost the snapshot: ${message}`);
  }
}

function planAbsent({ content, source, isRefused }: SnapshotContentState): SnapshotContentPlan {
  const { volumeHandle, snapshotHandle, status } = content;
  if (snapshotHandle !== undefined) {
    return reportError(content, `snapshot ${snapshotHandle} not found on any node`);
  }
  // The handle is published: another snapshot in its place would hold data of another time.
  if (status.handle !== undefined) {
    return reportError(content, `snapshot ${status.handle} no longer exists on any node`);
  }
  // Its creator has not set the finalizer or the UID yet, which other controllers rely on.
  if (volumeHandle === undefined || !content.hasFinalizer || content.snapshot.uid === '') return NO_STEP;
  if (content.isReleased || isRefused || content.isMember) return NO_STEP;
  if (source === undefined) return reportError(content, `volume ${volumeHandle} not found on any node`);
  return { do: 'create', volumeHandles: [volumeHandle] };
}

function planDeletion({
  content,
  nodeSnapshot,
  sharers,
  hasNode,
}: SnapshotContentState): SnapshotContentPlan {
  if (!content.hasFinalizer) return NO_STEP;
  // A content that is bound stays for as long as its VolumeSnapshot.
  const isUnbound = content.snapshotHandle !== undefined && content.snapshot.uid === '';
  if (!content.isReleased && !isUnbound) return NO_STEP;
  const isUnpublished = content.snapshotHandle === undefined && nodeSnapshot?.isPublished === false;
  if (nodeSnapshot === undefined || (content.deletionPolicy === 'Retain' && !isUnpublished)) {
    return { do: 'remove-finalizer' };
  }
  const names = [nodeSnapshot.name];
  if (nodeSnapshot.isDeleting) return isUnpublished && !hasNode ? { do: 'abandon', names } : NO_STEP;
  const [sharer] = sharers;
  if (sharer === undefined) return { do: 'delete-snapshots', names };
  return {
    do: 'refuse',
    note: `VolumeSnapshotContent ${sharer} has the same snapshot, so its data stays; delete that content, or set the deletionPolicy of this one to Retain`,
  };
}

function failed({ status }: ContentView, error: string): ContentStatus {
  return { ...status, isReady: false, error };
}

function reportError(content: ContentView, error: string): SnapshotContentPlan {
  return report(content, failed(content, error));
}

function report({ status: known }: ContentView, status: ContentStatus): SnapshotContentPlan {
  const same =
    known.handle === status.handle &&
    known.isReady === status.isReady &&
    known.createdMs === status.createdMs &&
    known.sizeBytes === status.sizeBytes &&
    known.error === status.error;
  return same ? NO_STEP : { do: 'report', status };
}
