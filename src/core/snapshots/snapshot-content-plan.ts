import { DRIVER_NAME } from '../volumes/driver.ts';
import type { ContentStatus, ContentView } from './snapshot.ts';

/** The LocalVolume of a snapshot. */
export interface NodeSnapshotView {
  readonly name: string;
  readonly nodeName: string;
  readonly poolName: string;
  readonly isDeleting: boolean;
  readonly phase: 'Pending' | 'Ready' | 'Exhausted' | 'Failed' | 'Lost';
  readonly handle: string | undefined;
  readonly createdMs: number | undefined;
  readonly sizeBytes: bigint;
  readonly message: string;
  /** Its handle was told to others once: from then on only deleting its content, under policy Delete, may delete it. */
  readonly isPublished: boolean;
}

/** The volume that a snapshot is taken of. */
export interface NodeSnapshotSource {
  readonly volumeName: string;
  readonly nodeName: string;
  readonly poolName: string;
  readonly size: string;
  readonly volumeMode: 'Filesystem' | 'Block';
}

/** All that a decision about the driver's part of one VolumeSnapshotContent rests on. */
export interface ContentState {
  readonly content: ContentView;
  /** By handle where there is one, else by the name that it would have. */
  readonly nodeSnapshot: NodeSnapshotView | undefined;
  /** The volume that it is to be taken of; undefined when no node knows it. */
  readonly source: NodeSnapshotSource | undefined;
  /** Other contents with the same handle: the data is theirs as well. */
  readonly sharers: readonly string[];
  /** The node has just refused. */
  readonly isRefused: boolean;
  /** The cut's node is there. */
  readonly hasNode: boolean;
}

export type ContentPlan =
  | { readonly do: 'nothing' }
  /** Write the intent. */
  | { readonly do: 'create'; readonly source: NodeSnapshotSource }
  /** Note on the LocalVolume that its handle is about to be known. */
  | { readonly do: 'mark' }
  | { readonly do: 'report'; readonly status: ContentStatus }
  /** Delete the intent, which nobody has heard of; it is made again later. `status` says why. */
  | { readonly do: 'discard'; readonly status: ContentStatus }
  /** Delete the snapshot: the content is to go, and takes it along. */
  | { readonly do: 'delete-cut' }
  /** Its node is gone and will never say that it has cleaned up, and nobody has heard of it: take off the finalizers. */
  | { readonly do: 'abandon' }
  /** It should be deleted, and must not be. */
  | { readonly do: 'refuse'; readonly note: string }
  /** The content may go. */
  | { readonly do: 'remove-finalizer' };

const NOTHING = { do: 'nothing' } as const;

/**
 * The next step for a VolumeSnapshotContent in the part that is the driver's: the snapshot on its node and what is said of it. It is the
 * same whoever does the other part.
 */
export function planContent(state: ContentState): ContentPlan {
  const { content, nodeSnapshot } = state;
  if (content.driver !== DRIVER_NAME) return NOTHING;
  if (content.isDeleting) return planContentDeletion(state);
  if (nodeSnapshot?.isDeleting === true) {
    if (content.status.handle !== undefined) return recordEvent(content, 'its snapshot is being deleted');
    return nodeSnapshot.isPublished || state.hasNode ? NOTHING : { do: 'abandon' };
  }
  if (nodeSnapshot === undefined) return planMissing(state);
  switch (nodeSnapshot.phase) {
    case 'Pending':
      return nodeSnapshot.message === ''
        ? NOTHING
        : recordEvent(content, `${placeOf(nodeSnapshot)}: ${nodeSnapshot.message}`);
    case 'Ready': {
      const { handle, createdMs, sizeBytes } = nodeSnapshot;
      // Both come in one write of the agent, which says Ready last.
      if (handle === undefined) return NOTHING;
      // Crash window: marked, but not told. It is found by its name then.
      if (!nodeSnapshot.isPublished) return { do: 'mark' };
      return report(content, { handle, isReady: true, createdMs, sizeBytes, error: undefined });
    }
    case 'Exhausted':
    case 'Failed': {
      const what = nodeSnapshot.phase === 'Exhausted' ? 'has no room' : 'cannot take it';
      const why = nodeSnapshot.message === '' ? what : `${what}: ${nodeSnapshot.message}`;
      const status = failed(content, `${placeOf(nodeSnapshot)} ${why}`);
      return nodeSnapshot.isPublished || content.snapshotHandle !== undefined
        ? report(content, status)
        : { do: 'discard', status };
    }
    case 'Lost':
      return recordEvent(content, `${placeOf(nodeSnapshot)} has lost it: ${nodeSnapshot.message}`);
  }
}

function planMissing({ content, source, isRefused }: ContentState): ContentPlan {
  const { volumeHandle, snapshotHandle, status } = content;
  if (snapshotHandle !== undefined) return recordEvent(content, `no node knows a snapshot ${snapshotHandle}`);
  // Its handle is known: another one in its place would show another moment.
  if (status.handle !== undefined)
    return recordEvent(content, `no node knows its snapshot ${status.handle} any more`);
  // Without finalizer or UID it is not yet in the state that others rely on; they come in a moment.
  if (volumeHandle === undefined || !content.hasFinalizer || content.snapshot.uid === '') return NOTHING;
  if (content.isReleased || isRefused || content.isMember) return NOTHING;
  if (source === undefined) return recordEvent(content, `no node knows volume ${volumeHandle}`);
  return { do: 'create', source };
}

function planContentDeletion({ content, nodeSnapshot, sharers, hasNode }: ContentState): ContentPlan {
  if (!content.hasFinalizer) return NOTHING;
  // As long as its VolumeSnapshot lives, it does as well.
  const isUnbound = content.snapshotHandle !== undefined && content.snapshot.uid === '';
  if (!content.isReleased && !isUnbound) return NOTHING;
  const isUnheardOf = content.snapshotHandle === undefined && nodeSnapshot?.isPublished === false;
  if (nodeSnapshot === undefined || (content.deletionPolicy === 'Retain' && !isUnheardOf)) {
    return { do: 'remove-finalizer' };
  }
  if (nodeSnapshot.isDeleting) return isUnheardOf && !hasNode ? { do: 'abandon' } : NOTHING;
  const [sharer] = sharers;
  if (sharer === undefined) return { do: 'delete-cut' };
  return {
    do: 'refuse',
    note: `VolumeSnapshotContent ${sharer} has the same snapshot, so its data stays; delete that one, or set this one's deletionPolicy to Retain`,
  };
}

function placeOf({ poolName, nodeName }: NodeSnapshotView): string {
  return `pool ${poolName} on node ${nodeName}`;
}

function failed({ status }: ContentView, error: string): ContentStatus {
  return { ...status, isReady: false, error };
}

function recordEvent(content: ContentView, error: string): ContentPlan {
  return report(content, failed(content, error));
}

function report({ status: known }: ContentView, status: ContentStatus): ContentPlan {
  const same =
    known.handle === status.handle &&
    known.isReady === status.isReady &&
    known.createdMs === status.createdMs &&
    known.sizeBytes === status.sizeBytes &&
    known.error === status.error;
  return same ? NOTHING : { do: 'report', status };
}

export type OrphanPlan = { readonly do: 'nothing' } | { readonly do: 'delete' } | { readonly do: 'abandon' };

/** What becomes of the LocalVolume of a snapshot that no content stands for: it goes, unless somebody may know its handle. */
export function planOrphan(
  { isDeleting, isPublished }: Pick<NodeSnapshotView, 'isDeleting' | 'isPublished'>,
  hasNode: boolean,
): OrphanPlan {
  if (isPublished) return { do: 'nothing' };
  if (!isDeleting) return { do: 'delete' };
  return hasNode ? { do: 'nothing' } : { do: 'abandon' };
}
