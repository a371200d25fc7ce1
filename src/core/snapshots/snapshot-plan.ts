import type { EventReason } from '../reasons/event-reasons.ts';
import { DRIVER_NAME } from '../volumes/driver.ts';
import { Fault, isFault } from '../fault.ts';
import { IN_GROUP_FINALIZER } from './group-snapshot.ts';
import {
  contentNameOf,
  type ContentView,
  describeSnapshot,
  SNAPSHOT_FINALIZERS,
  type SnapshotClassView,
  type SnapshotStatus,
  type SnapshotView,
} from './snapshot.ts';
import { chooseSnapshotClass } from './snapshot-class.ts';

/** The volume of a claim to snapshot. */
export interface SnapshotSource {
  readonly driver: string;
  readonly volumeHandle: string;
  readonly volumeMode: string;
}

/** What a decision about one VolumeSnapshot depends on. */
export interface SnapshotState {
  readonly snapshot: SnapshotView;
  /** The pre-provisioned content, or the one created for it. */
  readonly content: ContentView | undefined;
  /**
   * The volume of its claim, or why it cannot be used; undefined for a pre-provisioned snapshot.
   */
  readonly source: SnapshotSource | Fault | undefined;
  readonly classes: readonly SnapshotClassView[];
  /** Names of volumes that are being restored from it. */
  readonly restoring: readonly string[];
}

/** The next step for a VolumeSnapshot. */
export type SnapshotPlan =
  | { readonly do: 'nothing' }
  /** Something else has to change first; `fault` says what. */
  | { readonly do: 'wait'; readonly reason: EventReason; readonly fault: Fault }
  /** It is being deleted, and volumes are being restored from it. */
  | { readonly do: 'hold'; readonly fault: Fault }
  /** Set the default class. */
  | { readonly do: 'set-class'; readonly className: string }
  | { readonly do: 'add-finalizers'; readonly finalizers: readonly string[] }
  | { readonly do: 'create-content'; readonly content: NewContent }
  /** Record its UID in the pre-provisioned content. */
  | { readonly do: 'bind'; readonly className: string | undefined }
  | { readonly do: 'report'; readonly status: SnapshotStatus }
  /** Allow the driver's part to delete the content. */
  | { readonly do: 'release-content' }
  | { readonly do: 'delete-content' }
  /** Nothing blocks its deletion any more. */
  | { readonly do: 'remove-finalizers' };

/** The VolumeSnapshotContent to create. */
export interface NewContent {
  readonly name: string;
  readonly className: string;
  readonly deletionPolicy: SnapshotClassView['deletionPolicy'];
  readonly volumeHandle: string;
  readonly volumeMode: string;
}

const NOTHING = { do: 'nothing' } as const;

/**
 * Returns the next step for a VolumeSnapshot in the part that is common to all drivers. It leaves
 * the same objects as snapshot-controller does, so that either can take over at any time. Snapshots
 * of other drivers are left alone.
 */
export function planSnapshot(state: SnapshotState): SnapshotPlan {
  const { snapshot, content } = state;
  if (isForeign(state)) return NOTHING;
  // Its group keeps it, also when it is deleted by itself, and creates its content.
  if (snapshot.isMember && snapshot.finalizers.includes(IN_GROUP_FINALIZER) && snapshot.isDeleting)
    return NOTHING;
  if (snapshot.isMember && content === undefined && !snapshot.isDeleting) return NOTHING;
  if (snapshot.isDeleting) return planDeletion(state);
  if (content !== undefined) return planBound(snapshot, content);
  const who = describeSnapshot(snapshot);
  const missing = snapshot.contentName ?? snapshot.status.contentName;
  if (missing !== undefined) {
    // A content that existed once is not re-created: it would hold data of another time under the
    // same name.
    const fault = new Fault('not-found', `${who}: VolumeSnapshotContent ${missing} does not exist`);
    return { do: 'wait', reason: 'SnapshotContentMissing', fault };
  }
  try {
    return planNew(state);
  } catch (error) {
    if (!isFault(error) || error.kind === 'bug') throw error;
    const fault = new Fault(error.kind, `${who}: ${error.message}`);
    return { do: 'wait', reason: 'SnapshotContentCreationFailed', fault };
  }
}

function isForeign({ snapshot, content, source, classes }: SnapshotState): boolean {
  if (content !== undefined) return content.driver !== DRIVER_NAME;
  const driver = classes.find(({ name }) => name === snapshot.className)?.driver;
  // A Keelson class for a volume of another driver is an error to report.
  if (driver !== undefined) return driver !== DRIVER_NAME && !isOurs(source);
  return source !== undefined && !(source instanceof Fault) && !isOurs(source);
}

function isOurs(source: SnapshotState['source']): boolean {
  return source !== undefined && !(source instanceof Fault) && source.driver === DRIVER_NAME;
}

function planNew({ snapshot, source, classes }: SnapshotState): SnapshotPlan {
  if (source === undefined || source instanceof Fault) {
    throw source ?? new Fault('bug', `${describeSnapshot(snapshot)}: its source was not looked up`);
  }
  const { name, deletionPolicy } = chooseSnapshotClass(snapshot.className, source.driver, classes);
  if (snapshot.className === undefined) return { do: 'set-class', className: name };
  // Set before its content exists, so that it cannot be deleted between two steps.
  const finalizers = withFinalizers(snapshot);
  if (finalizers !== undefined) return { do: 'add-finalizers', finalizers };
  const { volumeHandle, volumeMode } = source;
  const content = { name: contentNameOf(snapshot.uid), className: name, deletionPolicy };
  return { do: 'create-content', content: { ...content, volumeHandle, volumeMode } };
}

function planBound(snapshot: SnapshotView, content: ContentView): SnapshotPlan {
  const why = misbound(snapshot, content);
  if (why !== undefined) {
    const fault = new Fault('conflict', `${describeSnapshot(snapshot)}: ${why}`);
    return { do: 'wait', reason: 'SnapshotContentMisbound', fault };
  }
  const finalizers = withFinalizers(snapshot);
  if (finalizers !== undefined) return { do: 'add-finalizers', finalizers };
  if (content.snapshot.uid === '') return { do: 'bind', className: snapshot.className };
  const { isReady, createdMs, sizeBytes, error } = content.status;
  const status = { contentName: content.name, isReady, createdMs, sizeBytes, error };
  return sameStatus(status, snapshot.status) ? NOTHING : { do: 'report', status };
}

/**
 * Returns why the two do not belong together; undefined when they do, or may. Both must refer to
 * each other: contents decide who reads what.
 */
export function misbound(
  snapshot: Pick<SnapshotView, 'uid' | 'namespace' | 'name' | 'contentName'>,
  content: ContentView,
): string | undefined {
  const { namespace, name, uid } = content.snapshot;
  const it = `VolumeSnapshotContent ${content.name}`;
  if (namespace !== snapshot.namespace || name !== snapshot.name) {
    return `${it} is for snapshot ${namespace}/${name} (spec.volumeSnapshotRef)`;
  }
  if (uid !== '' && uid !== snapshot.uid) return `${it} is bound to an earlier snapshot of this name`;
  const isGiven = snapshot.contentName !== undefined;
  if (isGiven && content.snapshotHandle === undefined) {
    return `${it} is not pre-provisioned: it has no spec.source.snapshotHandle`;
  }
  if (!isGiven && (content.volumeHandle === undefined || uid === '')) {
    return `${it} has the name of the content to be created; delete it`;
  }
  return undefined;
}

function planDeletion({ snapshot, content, restoring }: SnapshotState): SnapshotPlan {
  if (!snapshot.finalizers.some(isOurFinalizer)) return NOTHING;
  const [volume] = restoring;
  if (volume !== undefined) {
    const text = `${describeSnapshot(snapshot)} is deleted once volume ${volume}, which is being restored from it, is ready`;
    return { do: 'hold', fault: new Fault('busy', text) };
  }
  // A content that was never bound to it is not its own.
  const isBound =
    content !== undefined && content.snapshot.uid !== '' && misbound(snapshot, content) === undefined;
  if (!isBound) return { do: 'remove-finalizers' };
  if (!content.isReleased) return { do: 'release-content' };
  if (content.deletionPolicy === 'Retain') return { do: 'remove-finalizers' };
  return content.isDeleting ? NOTHING : { do: 'delete-content' };
}

function withFinalizers({ finalizers }: SnapshotView): readonly string[] | undefined {
  const missing = SNAPSHOT_FINALIZERS.filter((finalizer) => !finalizers.includes(finalizer));
  return missing.length === 0 ? undefined : [...finalizers, ...missing];
}

function isOurFinalizer(finalizer: string): boolean {
  return SNAPSHOT_FINALIZERS.some((each) => each === finalizer);
}

function sameStatus(a: SnapshotStatus, b: SnapshotStatus): boolean {
  const seconds = ({ createdMs }: SnapshotStatus): number => Math.floor((createdMs ?? 0) / 1_000);
  return (
    a.contentName === b.contentName &&
    a.isReady === b.isReady &&
    a.sizeBytes === b.sizeBytes &&
    a.error === b.error &&
    seconds(a) === seconds(b)
  );
}

/** The next step for the binding of a VolumeSnapshotContent. */
export type ContentBindingPlan =
  | { readonly do: 'nothing' }
  | { readonly do: 'add-finalizer' }
  /**
   * Its VolumeSnapshot was deleted without requesting the content's deletion. The data stays until
   * the content is deleted.
   */
  | { readonly do: 'release-content' };

/**
 * Returns the next step for the binding of a VolumeSnapshotContent. `snapshot` is the one of the
 * name that it refers to.
 */
export function planContentBinding(
  content: ContentView,
  snapshot: Pick<SnapshotView, 'uid'> | undefined,
): ContentBindingPlan {
  if (content.driver !== DRIVER_NAME || content.snapshot.uid === '') return NOTHING;
  if (!content.hasFinalizer && !content.isDeleting) return { do: 'add-finalizer' };
  const isGone = snapshot?.uid !== content.snapshot.uid;
  return isGone && !content.isReleased ? { do: 'release-content' } : NOTHING;
}
