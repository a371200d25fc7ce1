import { DRIVER_NAME } from '../volumes/driver.ts';
import { Fault } from '../fault.ts';
import {
  describeGroup,
  type GroupContentView,
  groupContentNameOf,
  type GroupMember,
  type GroupStatus,
  type GroupView,
} from './group-snapshot.ts';
import type { DeletionPolicy, SnapshotClassView } from './snapshot.ts';
import type { SnapshotSource } from './snapshot-plan.ts';

/** A selected claim, and its volume or why it has none. */
interface GroupSource {
  readonly claim: string;
  /** It is protected until the group is created. */
  readonly isProtected: boolean;
  readonly source: SnapshotSource | Fault;
}

/** The VolumeSnapshot of one member and its content, if they exist. */
interface GroupMemberState {
  readonly member: GroupMember;
  readonly isMade: boolean;
  /** Names of volumes that are being restored from it. */
  readonly restoring: readonly string[];
}

/** What a decision about one VolumeGroupSnapshot depends on. */
export interface GroupState {
  readonly group: GroupView;
  readonly content: GroupContentView | undefined;
  readonly sources: readonly GroupSource[];
  readonly classes: readonly SnapshotClassView[];
  /** The members that its content lists. */
  readonly members: readonly GroupMemberState[];
  /** Names of VolumeSnapshots that it owns, and that it holds or that are not being deleted. */
  readonly held: readonly string[];
}

/** The next step for a VolumeGroupSnapshot. */
export type GroupPlan =
  | { readonly do: 'nothing' }
  | { readonly do: 'wait'; readonly fault: Fault }
  /** It is being deleted, and volumes are being restored from a member. */
  | { readonly do: 'hold'; readonly fault: Fault }
  | { readonly do: 'set-class'; readonly className: string }
  | { readonly do: 'add-finalizer' }
  /** Protect these claims until the group is created. */
  | { readonly do: 'protect'; readonly claims: readonly string[] }
  /** Record in the content which group snapshot it belongs to. */
  | { readonly do: 'bind'; readonly className: string | undefined }
  | { readonly do: 'create-content'; readonly content: NewGroupContent }
  /** Create the VolumeSnapshot and the VolumeSnapshotContent of each member. */
  | { readonly do: 'create-members'; readonly members: readonly GroupMember[] }
  | { readonly do: 'report'; readonly status: GroupStatus }
  /** Delete these VolumeSnapshots and remove their finalizers. */
  | { readonly do: 'release-members'; readonly names: readonly string[] }
  | { readonly do: 'release-content' }
  | { readonly do: 'delete-content' }
  | { readonly do: 'remove-finalizer' };

/** The VolumeGroupSnapshotContent to create. */
export interface NewGroupContent {
  readonly name: string;
  readonly className: string;
  readonly deletionPolicy: DeletionPolicy;
  readonly volumeHandles: readonly string[];
}

const NOTHING = { do: 'nothing' } as const;

/**
 * Returns the next step for a VolumeGroupSnapshot in the part that is common to all drivers. Those
 * of other drivers are left alone.
 */
export function planGroup(state: GroupState): GroupPlan {
  const { group, content } = state;
  if (isForeign(state)) return NOTHING;
  if (group.isDeleting) return planDeletion(state);
  const who = describeGroup(group);
  if (content !== undefined) return planBound(state, content);
  const missing = group.contentName ?? group.status.contentName;
  if (missing !== undefined) {
    // A content that existed once is not re-created: it would hold data of another time under the
    // same name.
    const text = `${who}: VolumeGroupSnapshotContent ${missing} does not exist`;
    return { do: 'wait', fault: new Fault('not-found', text) };
  }
  return planNew(state);
}

function isForeign({ group, content, sources, classes }: GroupState): boolean {
  if (content !== undefined) return content.driver !== DRIVER_NAME;
  const driver = classes.find(({ name }) => name === group.className)?.driver;
  if (driver !== undefined) return driver !== DRIVER_NAME;
  const known = sources.flatMap(({ source }) => (source instanceof Fault ? [] : [source.driver]));
  return known.length > 0 && !known.includes(DRIVER_NAME);
}

function planNew({ group, sources, classes }: GroupState): GroupPlan {
  const who = describeGroup(group);
  const wait = (text: string): GroupPlan => ({
    do: 'wait',
    fault: new Fault('precondition', `${who}: ${text}`),
  });
  if (sources.length === 0) return wait('no claim of its namespace matches spec.source.selector');
  const volumeHandles: string[] = [];
  for (const { claim, source } of sources) {
    if (source instanceof Fault) return wait(source.message);
    if (source.driver !== DRIVER_NAME) {
      return wait(
        `claim ${claim} has a volume of driver ${source.driver}; expected ${DRIVER_NAME} for all claims`,
      );
    }
    volumeHandles.push(source.volumeHandle);
  }
  const chosen = chooseClass(group.className, classes);
  if (typeof chosen === 'string') return wait(chosen);
  if (group.className === undefined) return { do: 'set-class', className: chosen.name };
  if (!group.hasFinalizer) return { do: 'add-finalizer' };
  const { name: className, deletionPolicy } = chosen;
  const name = groupContentNameOf(group.uid);
  return { do: 'create-content', content: { name, className, deletionPolicy, volumeHandles } };
}

/**
 * Returns the class, or what is wrong. The messages about default classes contain the words that
 * Kubernetes' own tests expect.
 */
function chooseClass(
  className: string | undefined,
  classes: readonly SnapshotClassView[],
): SnapshotClassView | string {
  const ours = classes.filter(({ driver, isDefault }) => driver === DRIVER_NAME && isDefault);
  const [only, ...more] = className === undefined ? ours : classes.filter(({ name }) => name === className);
  if (only === undefined) {
    return className === undefined
      ? `cannot find default group snapshot class: no VolumeGroupSnapshotClass of driver ${DRIVER_NAME} is marked as default; set spec.volumeGroupSnapshotClassName`
      : `VolumeGroupSnapshotClass ${className} does not exist`;
  }
  if (more.length > 0) {
    const names = [only, ...more].map(({ name }) => name).sort();
    return `${names.length} default snapshot classes were found: VolumeGroupSnapshotClasses ${names.join(', ')} of driver ${DRIVER_NAME}; set spec.volumeGroupSnapshotClassName`;
  }
  const unknown = Object.keys(only.parameters).find(
    // Some classes, in Kubernetes' own tests among others, repeat the policy as a parameter.
    (key) =>
      !key.startsWith('csi.storage.k8s.io/') &&
      !(key === 'deletionPolicy' && only.parameters[key] === only.deletionPolicy),
  );
  if (unknown === undefined) return only;
  return `VolumeGroupSnapshotClass ${only.name}: unknown parameter ${JSON.stringify(unknown)}; ${DRIVER_NAME} takes none`;
}

function planBound({ group, members, sources }: GroupState, content: GroupContentView): GroupPlan {
  const why = misboundGroup(group, content);
  if (why !== undefined) {
    return { do: 'wait', fault: new Fault('conflict', `${describeGroup(group)}: ${why}`) };
  }
  if (!group.hasFinalizer) return { do: 'add-finalizer' };
  if (content.group.uid === '') return { do: 'bind', className: group.className };
  const claims = sources.filter((each) => isTaken(each, content)).map(({ claim }) => claim);
  if (claims.length > 0) return { do: 'protect', claims };
  const missing = members.filter(({ isMade }) => !isMade).map(({ member }) => member);
  if (content.status.isReady && missing.length > 0) return { do: 'create-members', members: missing };
  const { isReady, createdMs, error } = content.status;
  const status = { contentName: content.name, isReady, createdMs, error };
  return sameStatus(status, group.status) ? NOTHING : { do: 'report', status };
}

/** Whether a claim could be deleted while its volume is being snapshotted. */
function isTaken(
  { source, isProtected }: GroupSource,
  { status, volumeHandles = [] }: GroupContentView,
): boolean {
  return (
    !status.isReady &&
    !isProtected &&
    !(source instanceof Fault) &&
    volumeHandles.includes(source.volumeHandle)
  );
}

/** Returns why the two do not belong together; undefined when they do. */
function misboundGroup(
  { uid, namespace, name, contentName }: GroupView,
  { name: content, group, volumeHandles, given }: GroupContentView,
): string | undefined {
  const it = `VolumeGroupSnapshotContent ${content}`;
  if (group.namespace !== namespace || group.name !== name) {
    return `${it} is for group snapshot ${group.namespace}/${group.name} (spec.volumeGroupSnapshotRef)`;
  }
  if (group.uid !== '' && group.uid !== uid)
    return `${it} is bound to an earlier group snapshot of this name`;
  if (contentName !== undefined && given === undefined) {
    return `${it} is not pre-provisioned: it has no spec.source.groupSnapshotHandles`;
  }
  if (contentName === undefined && (volumeHandles === undefined || group.uid === '')) {
    return `${it} has the name of the content to be created; delete it`;
  }
  return undefined;
}

function planDeletion({ group, content, members, held }: GroupState): GroupPlan {
  if (!group.hasFinalizer) return NOTHING;
  const volume = members.flatMap(({ restoring }) => restoring)[0];
  if (volume !== undefined) {
    const text = `${describeGroup(group)} is deleted once volume ${volume}, which is being restored from a member, is ready`;
    return { do: 'hold', fault: new Fault('busy', text) };
  }
  // A content that was never bound to it is not its own.
  const isBound =
    content !== undefined && content.group.uid !== '' && misboundGroup(group, content) === undefined;
  // First, so that the driver's part does not delete the data of members whose deletion was not
  // requested.
  if (held.length > 0) return { do: 'release-members', names: held };
  if (!isBound) return { do: 'remove-finalizer' };
  if (!content.isReleased) return { do: 'release-content' };
  if (content.deletionPolicy === 'Retain') return { do: 'remove-finalizer' };
  return content.isDeleting ? NOTHING : { do: 'delete-content' };
}

function sameStatus(a: GroupStatus, b: GroupStatus): boolean {
  const seconds = ({ createdMs }: GroupStatus): number => Math.floor((createdMs ?? 0) / 1_000);
  return (
    a.contentName === b.contentName &&
    a.isReady === b.isReady &&
    a.error === b.error &&
    seconds(a) === seconds(b)
  );
}

/**
 * Returns the next step for the binding of a VolumeGroupSnapshotContent to its VolumeGroupSnapshot,
 * which has the UID `uid`.
 */
export function planGroupContentBinding(
  content: GroupContentView,
  uid: string | undefined,
): 'nothing' | 'add-finalizer' | 'release-content' {
  if (content.driver !== DRIVER_NAME || content.group.uid === '') return 'nothing';
  if (!content.hasFinalizer && !content.isDeleting) return 'add-finalizer';
  return uid !== content.group.uid && !content.isReleased ? 'release-content' : 'nothing';
}
