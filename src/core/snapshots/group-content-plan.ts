import { DRIVER_NAME } from '../volumes/driver.ts';
import type { PreProvisionedGroup, GroupContentStatus, GroupContentView } from './group-snapshot.ts';
import { MAX_GROUP_MEMBERS } from './snapshot-group.ts';
import { type ContentPlan, NO_STEP, type NodeSnapshotSource, type NodeSnapshotView } from './content-plan.ts';

/** One member of a group: its volume, and the LocalVolume of its snapshot. */
export interface GroupContentMember {
  /** Empty in a pre-provisioned group. */
  readonly volumeHandle: string;
  /** Handle of the snapshot in a pre-provisioned group. */
  readonly givenHandle?: string | undefined;
  /** Undefined when no LocalVolume has the volume's handle. */
  readonly source: NodeSnapshotSource | undefined;
  readonly nodeSnapshot: (NodeSnapshotView & { readonly groupHandle: string | undefined }) | undefined;
  /** Name of the VolumeSnapshotContent that has this snapshot. */
  readonly holder: string | undefined;
  /** The Node of `nodeSnapshot` exists. */
  readonly hasNode: boolean;
}

/** What the next step for one VolumeGroupSnapshotContent depends on. */
export interface GroupContentState {
  readonly content: GroupContentView;
  /** In the order of the content. */
  readonly members: readonly GroupContentMember[];
  /** Handles of members of a pre-provisioned group that the content does not list. */
  readonly unnamed: readonly string[];
  /** Names of other contents with the same group, which share the data. */
  readonly sharers: readonly string[];
  /** The node refused recently. */
  readonly isRefused: boolean;
}

type GroupContentPlan = ContentPlan<GroupContentStatus>;

/**
 * Returns the next step for a VolumeGroupSnapshotContent in the driver's part: snapshots of all
 * volumes on their node, or of none, and the content's status. It does not depend on which
 * controller does the binding.
 */
export function planGroupContent(state: GroupContentState): GroupContentPlan {
  const { content, members, isRefused } = state;
  if (content.driver !== DRIVER_NAME) return NO_STEP;
  if (content.isDeleting) return planDeletion(state);
  const nodeSnapshots = members.flatMap(({ nodeSnapshot }) =>
    nodeSnapshot === undefined ? [] : [nodeSnapshot],
  );
  if (nodeSnapshots.some(({ isDeleting }) => isDeleting)) {
    const isReported = content.status.handle !== undefined || content.given !== undefined;
    return isReported ? reportError(content, 'its snapshots are being deleted') : abandonLost(members);
  }
  if (content.given !== undefined) return planPreProvisioned(state, content.given, nodeSnapshots);
  const absent = members.filter(({ nodeSnapshot }) => nodeSnapshot === undefined);
  if (absent.length > 0) {
    if (content.status.handle !== undefined) {
      return reportError(
        content,
        `the snapshot of volume ${absent[0]?.volumeHandle ?? ''} no longer exists on any node`,
      );
    }
    if (!content.hasFinalizer || content.group.uid === '' || content.isReleased || isRefused) return NO_STEP;
    const why = describeIncompatibility(members);
    if (why !== undefined) return reportError(content, why);
    return { do: 'create', volumeHandles: absent.map(({ volumeHandle }) => volumeHandle) };
  }
  return planCreated(content, members, nodeSnapshots);
}

/**
 * Plans for a pre-provisioned group. Its VolumeSnapshots are created by its user, so the status
 * lists no members.
 */
function planPreProvisioned(
  { content, members, unnamed }: GroupContentState,
  given: PreProvisionedGroup,
  nodeSnapshots: readonly NodeSnapshotView[],
): GroupContentPlan {
  const who = `group snapshot ${given.handle}`;
  const stranger = members.find(({ nodeSnapshot }) => nodeSnapshot?.groupHandle !== given.handle);
  if (stranger !== undefined) {
    const { nodeSnapshot, givenHandle = '' } = stranger;
    return reportError(
      content,
      nodeSnapshot === undefined
        ? `snapshot ${givenHandle} of ${who} not found on any node`
        : `snapshot ${givenHandle} is a member of ${nodeSnapshot.groupHandle ?? 'no group'}, not of ${who}`,
    );
  }
  if (members.length === 0)
    return reportError(content, `volumeSnapshotHandles of ${who} is empty; list its snapshots`);
  if (unnamed.length > 0) {
    return reportError(content, `volumeSnapshotHandles lacks members of ${who}: ${unnamed.join(', ')}`);
  }
  const lost = nodeSnapshots.find(({ phase }) => phase !== 'Ready');
  if (lost !== undefined) {
    return reportError(
      content,
      `pool ${lost.poolName} on node ${lost.nodeName}: snapshot ${lost.handle ?? ''} is ${lost.phase}`,
    );
  }
  const unannotated = nodeSnapshots.filter(({ isPublished }) => !isPublished);
  if (unannotated.length > 0) return { do: 'annotate', names: unannotated.map(({ name }) => name) };
  const createdMs = nodeSnapshots[0]?.createdMs;
  return report(content, { handle: given.handle, isReady: true, createdMs, error: undefined, members: [] });
}

function planCreated(
  content: GroupContentView,
  members: readonly GroupContentMember[],
  nodeSnapshots: readonly NodeSnapshotView[],
): GroupContentPlan {
  const bad = nodeSnapshots.find(
    ({ phase }) => phase === 'Exhausted' || phase === 'Failed' || phase === 'Lost',
  );
  if (bad !== undefined) {
    const status = failed(content, `pool ${bad.poolName} on node ${bad.nodeName}: ${bad.message}`);
    const names = nodeSnapshots.map(({ name }) => name);
    const mayBePublished = bad.phase === 'Lost' || nodeSnapshots.some(({ isPublished }) => isPublished);
    return mayBePublished ? report(content, status) : { do: 'discard', names, status };
  }
  const pending = nodeSnapshots.find(({ phase }) => phase === 'Pending');
  if (pending !== undefined) return pending.message === '' ? NO_STEP : reportError(content, pending.message);
  const unannotated = nodeSnapshots.filter(({ isPublished }) => !isPublished);
  // Crash window: annotated, but not reported. The snapshots are then found by their names.
  if (unannotated.length > 0) return { do: 'annotate', names: unannotated.map(({ name }) => name) };
  const handle = members[0]?.nodeSnapshot?.groupHandle;
  const reported = members.flatMap(({ volumeHandle, nodeSnapshot }) =>
    nodeSnapshot?.handle === undefined
      ? []
      : [
          {
            volumeHandle,
            snapshotHandle: nodeSnapshot.handle,
            createdMs: nodeSnapshot.createdMs,
            sizeBytes: nodeSnapshot.sizeBytes,
          },
        ],
  );
  if (handle === undefined || reported.length < members.length) return NO_STEP;
  const createdMs = reported[0]?.createdMs;
  return report(content, { handle, isReady: true, createdMs, error: undefined, members: reported });
}

/** Returns why the volumes cannot be in one group; undefined when they can. */
function describeIncompatibility(members: readonly GroupContentMember[]): string | undefined {
  if (members.length > MAX_GROUP_MEMBERS) {
    return `volumeHandles lists ${members.length} volumes; a group has at most ${MAX_GROUP_MEMBERS}`;
  }
  const unknown = members.find(({ source }) => source === undefined);
  if (unknown !== undefined) return `volume ${unknown.volumeHandle} not found on any node`;
  const nodes = Map.groupBy(members, ({ source }) => source?.nodeName ?? '');
  if (nodes.size < 2) return undefined;
  const places = [...nodes]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([node, of]) => `${of.map(({ source }) => source?.volumeName ?? '').join(', ')} on ${node}`);
  return `the volumes of a group snapshot must be on one node; found ${places.join('; ')}`;
}

function planDeletion({ content, members, sharers }: GroupContentState): GroupContentPlan {
  if (!content.hasFinalizer) return NO_STEP;
  // A content that is bound stays for as long as its VolumeGroupSnapshot.
  const isUnbound = content.given !== undefined && content.group.uid === '';
  if (!content.isReleased && !isUnbound) return NO_STEP;
  const existing = members.flatMap(({ nodeSnapshot, holder }) =>
    nodeSnapshot === undefined ? [] : [{ nodeSnapshot, holder }],
  );
  const isUnpublished =
    content.given === undefined && existing.every(({ nodeSnapshot }) => !nodeSnapshot.isPublished);
  if (existing.length === 0 || (content.deletionPolicy === 'Retain' && !isUnpublished)) {
    return { do: 'remove-finalizer' };
  }
  const [sharer] = sharers;
  if (sharer !== undefined) {
    return {
      do: 'refuse',
      note: `VolumeGroupSnapshotContent ${sharer} has the same group, so its data stays; delete that content, or set the deletionPolicy of this one to Retain`,
    };
  }
  // A member that has a VolumeSnapshotContent is deleted with that content.
  const held = existing.find(({ holder }) => holder !== undefined);
  const free = existing.filter(
    ({ nodeSnapshot, holder }) => holder === undefined && !nodeSnapshot.isDeleting,
  );
  if (free.length > 0)
    return { do: 'delete-snapshots', names: free.map(({ nodeSnapshot }) => nodeSnapshot.name) };
  if (held?.holder === undefined) return isUnpublished ? abandonLost(members) : NO_STEP;
  return {
    do: 'refuse',
    note: `VolumeSnapshotContent ${held.holder} has a snapshot of this group; delete that content first`,
  };
}

/** Abandons unpublished snapshots that are being deleted on a node that does not exist. */
function abandonLost(members: readonly GroupContentMember[]): GroupContentPlan {
  const names = members.flatMap(({ nodeSnapshot, hasNode }) =>
    nodeSnapshot?.isDeleting === true && !nodeSnapshot.isPublished && !hasNode ? [nodeSnapshot.name] : [],
  );
  return names.length === 0 ? NO_STEP : { do: 'abandon', names };
}

function failed({ status }: GroupContentView, error: string): GroupContentStatus {
  return { ...status, isReady: false, error };
}

function reportError(content: GroupContentView, error: string): GroupContentPlan {
  return report(content, failed(content, error));
}

function report({ status: known }: GroupContentView, status: GroupContentStatus): GroupContentPlan {
  const seconds = (ms: number | undefined): number => Math.floor((ms ?? 0) / 1_000);
  const same =
    known.handle === status.handle &&
    known.isReady === status.isReady &&
    known.error === status.error &&
    seconds(known.createdMs) === seconds(status.createdMs) &&
    known.members.length === status.members.length;
  return same ? NO_STEP : { do: 'report', status };
}
