import { DRIVER_NAME } from '../volumes/driver.ts';
import type { PreProvisionedGroup, GroupContentStatus, GroupContentView } from './group-snapshot.ts';
import { MAX_GROUP_MEMBERS } from './snapshot-group.ts';
import type { NodeSnapshotSource, NodeSnapshotView } from './snapshot-content-plan.ts';

/** One member of a group: what is known of its volume, and the LocalVolume of its snapshot. */
export interface GroupContentMember {
  /** Empty in a group that was there before. */
  readonly volumeHandle: string;
  /** Of the member of a group that was there before. */
  readonly givenHandle?: string | undefined;
  /** Undefined when no node knows the volume. */
  readonly source: NodeSnapshotSource | undefined;
  readonly nodeSnapshot: (NodeSnapshotView & { readonly groupHandle: string | undefined }) | undefined;
  /** A VolumeSnapshotContent that has it. */
  readonly holder: string | undefined;
  /** The cut's node is there. */
  readonly hasNode: boolean;
}

/** All that a decision about the driver's part of one VolumeGroupSnapshotContent rests on. */
export interface GroupContentState {
  readonly content: GroupContentView;
  /** In the order of the content. */
  readonly members: readonly GroupContentMember[];
  /** Handles of members of a group that was there before, which the content does not name. */
  readonly unnamed: readonly string[];
  /** Other contents with the same group: the data is theirs as well. */
  readonly sharers: readonly string[];
  /** The node has just refused. */
  readonly isRefused: boolean;
}

export type GroupContentPlan =
  | { readonly do: 'nothing' }
  /** Write the intents that are not there yet. */
  | { readonly do: 'create'; readonly volumeHandles: readonly string[] }
  /** Note on the LocalVolumes that their handles are about to be known. */
  | { readonly do: 'mark'; readonly names: readonly string[] }
  | { readonly do: 'report'; readonly status: GroupContentStatus }
  /** Delete the intents, which nobody has heard of; they are made again later. */
  | { readonly do: 'discard'; readonly names: readonly string[]; readonly status: GroupContentStatus }
  /** Delete the snapshots: the content is to go, and takes them along. */
  | { readonly do: 'delete-cuts'; readonly names: readonly string[] }
  /** Their node is gone and will never say that it has cleaned up, and nobody has heard of them: take off the finalizers. */
  | { readonly do: 'abandon'; readonly names: readonly string[] }
  | { readonly do: 'refuse'; readonly note: string }
  /** The content may go. */
  | { readonly do: 'remove-finalizer' };

const NOTHING = { do: 'nothing' } as const;

/**
 * The next step for a VolumeGroupSnapshotContent in the part that is the driver's: snapshots of all volumes on their node, or of none, and
 * what is said of them. It is the same whoever does the other part.
 */
export function planGroupContent(state: GroupContentState): GroupContentPlan {
  const { content, members, isRefused } = state;
  if (content.driver !== DRIVER_NAME) return NOTHING;
  if (content.isDeleting) return planDeletion(state);
  const nodeSnapshots = members.flatMap(({ nodeSnapshot }) =>
    nodeSnapshot === undefined ? [] : [nodeSnapshot],
  );
  if (nodeSnapshots.some(({ isDeleting }) => isDeleting)) {
    const isReported = content.status.handle !== undefined || content.given !== undefined;
    return isReported ? recordEvent(content, 'its snapshots are being deleted') : abandoned(members);
  }
  if (content.given !== undefined) return planPreProvisioned(state, content.given, nodeSnapshots);
  const absent = members.filter(({ nodeSnapshot }) => nodeSnapshot === undefined);
  if (absent.length > 0) {
    if (content.status.handle !== undefined) {
      return recordEvent(
        content,
        `no node knows its snapshot of volume ${absent[0]?.volumeHandle ?? ''} any more`,
      );
    }
    if (!content.hasFinalizer || content.group.uid === '' || content.isReleased || isRefused) return NOTHING;
    const why = describeIncompatibility(members);
    if (why !== undefined) return recordEvent(content, why);
    return { do: 'create', volumeHandles: absent.map(({ volumeHandle }) => volumeHandle) };
  }
  return planCreated(content, members, nodeSnapshots);
}

/** A group that was there before. Its VolumeSnapshots are made by whoever wants it, so nothing is told of its members. */
function planPreProvisioned(
  { content, members, unnamed }: GroupContentState,
  given: PreProvisionedGroup,
  nodeSnapshots: readonly NodeSnapshotView[],
): GroupContentPlan {
  const who = `group snapshot ${given.handle}`;
  const stranger = members.find(({ nodeSnapshot }) => nodeSnapshot?.groupHandle !== given.handle);
  if (stranger !== undefined) {
    const { nodeSnapshot, givenHandle = '' } = stranger;
    return recordEvent(
      content,
      nodeSnapshot === undefined
        ? `no node knows snapshot ${givenHandle} of ${who}`
        : `snapshot ${givenHandle} is not a member of ${who}, but of ${nodeSnapshot.groupHandle ?? 'no group'}`,
    );
  }
  if (members.length === 0) return recordEvent(content, `${who} is to be bound without any snapshot`);
  if (unnamed.length > 0) {
    return recordEvent(content, `${who} has more members; name them as well: ${unnamed.join(', ')}`);
  }
  const lost = nodeSnapshots.find(({ phase }) => phase !== 'Ready');
  if (lost !== undefined) {
    return recordEvent(
      content,
      `pool ${lost.poolName} on node ${lost.nodeName}: snapshot ${lost.handle ?? ''} is ${lost.phase}`,
    );
  }
  const unannotated = nodeSnapshots.filter(({ isPublished }) => !isPublished);
  if (unannotated.length > 0) return { do: 'mark', names: unannotated.map(({ name }) => name) };
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
    const isHeardOf = bad.phase === 'Lost' || nodeSnapshots.some(({ isPublished }) => isPublished);
    return isHeardOf ? report(content, status) : { do: 'discard', names, status };
  }
  const pending = nodeSnapshots.find(({ phase }) => phase === 'Pending');
  if (pending !== undefined) return pending.message === '' ? NOTHING : recordEvent(content, pending.message);
  const unannotated = nodeSnapshots.filter(({ isPublished }) => !isPublished);
  // Crash window: marked, and not told. They are found by their names then.
  if (unannotated.length > 0) return { do: 'mark', names: unannotated.map(({ name }) => name) };
  const handle = members[0]?.nodeSnapshot?.groupHandle;
  const told = members.flatMap(({ volumeHandle, nodeSnapshot }) =>
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
  if (handle === undefined || told.length < members.length) return NOTHING;
  const createdMs = told[0]?.createdMs;
  return report(content, { handle, isReady: true, createdMs, error: undefined, members: told });
}

/** Why the volumes cannot be in one group; undefined when they can. */
function describeIncompatibility(members: readonly GroupContentMember[]): string | undefined {
  if (members.length > MAX_GROUP_MEMBERS) {
    return `it names ${members.length} volumes; a group has at most ${MAX_GROUP_MEMBERS}`;
  }
  const unknown = members.find(({ source }) => source === undefined);
  if (unknown !== undefined) return `no node knows volume ${unknown.volumeHandle}`;
  const nodes = Map.groupBy(members, ({ source }) => source?.nodeName ?? '');
  if (nodes.size < 2) return undefined;
  const places = [...nodes]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([node, of]) => `${of.map(({ source }) => source?.volumeName ?? '').join(', ')} on ${node}`);
  return `a group snapshot is of volumes of one node; these are ${places.join('; ')}`;
}

function planDeletion({ content, members, sharers }: GroupContentState): GroupContentPlan {
  if (!content.hasFinalizer) return NOTHING;
  // As long as its VolumeGroupSnapshot lives, it does as well.
  const isUnbound = content.given !== undefined && content.group.uid === '';
  if (!content.isReleased && !isUnbound) return NOTHING;
  const there = members.flatMap(({ nodeSnapshot, holder }) =>
    nodeSnapshot === undefined ? [] : [{ nodeSnapshot, holder }],
  );
  const isUnheardOf =
    content.given === undefined && there.every(({ nodeSnapshot }) => !nodeSnapshot.isPublished);
  if (there.length === 0 || (content.deletionPolicy === 'Retain' && !isUnheardOf)) {
    return { do: 'remove-finalizer' };
  }
  const [sharer] = sharers;
  if (sharer !== undefined) {
    return {
      do: 'refuse',
      note: `VolumeGroupSnapshotContent ${sharer} has the same group, so its data stays; delete that one, or set this one's deletionPolicy to Retain`,
    };
  }
  // Members that have a VolumeSnapshotContent go with that one.
  const held = there.find(({ holder }) => holder !== undefined);
  const free = there.filter(({ nodeSnapshot, holder }) => holder === undefined && !nodeSnapshot.isDeleting);
  if (free.length > 0) return { do: 'delete-cuts', names: free.map(({ nodeSnapshot }) => nodeSnapshot.name) };
  if (held?.holder === undefined) return isUnheardOf ? abandoned(members) : NOTHING;
  return {
    do: 'refuse',
    note: `VolumeSnapshotContent ${held.holder} has a snapshot of this group; its data goes with it`,
  };
}

/** Snapshots that are to go, and were not told of: those of a node that is gone wait for nobody. */
function abandoned(members: readonly GroupContentMember[]): GroupContentPlan {
  const names = members.flatMap(({ nodeSnapshot, hasNode }) =>
    nodeSnapshot?.isDeleting === true && !nodeSnapshot.isPublished && !hasNode ? [nodeSnapshot.name] : [],
  );
  return names.length === 0 ? NOTHING : { do: 'abandon', names };
}

function failed({ status }: GroupContentView, error: string): GroupContentStatus {
  return { ...status, isReady: false, error };
}

function recordEvent(content: GroupContentView, error: string): GroupContentPlan {
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
  return same ? NOTHING : { do: 'report', status };
}
