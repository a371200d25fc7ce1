import { DATA_FINALIZER, type LocalVolume } from '../../src/api/local-volume.ts';
import { Fault, isFault } from '../../src/core/fault.ts';
import { parseQuantity } from '../../src/core/kube-text/quantity.ts';
import type { ContentSource } from '../../src/core/volumes/volume.ts';
import {
  parseAttributes,
  sameAttributes,
  type VolumeAttributes,
} from '../../src/core/volumes/volume-attributes.ts';

/** A volume or snapshot on this node. */
export interface Copy {
  readonly id: string;
  readonly name: string;
  readonly pool: string;
  readonly sizeBytes: bigint;
  readonly createdAtMs: number;
  /** Its file system is smaller than the volume, until kubelet requests its expansion. */
  readonly needsNodeExpansion?: boolean | undefined;
  /** The source of a volume; a snapshot has none here. */
  readonly source?: ContentSource | undefined;
  /** Attributes of a volume. */
  readonly attributes?: VolumeAttributes | undefined;
  /** The group snapshot that a snapshot is a member of. */
  readonly group?: { readonly id: string } | undefined;
}

/**
 * Where the content of a LocalVolume comes from: on this node, announced in the API only, or
 * absent.
 */
export type FoundSource = ContentSource | 'awaited' | 'missing' | undefined;

/** The state of the node for one LocalVolume. */
export interface Observed {
  /** The volume that its status refers to, or the one of its name where the status has none. */
  readonly copy: Copy | undefined;
  /** Why its record cannot be read; its data exists. */
  readonly unreadable: string | undefined;
  readonly source: FoundSource;
  /** The volumes of its group. */
  readonly groupSources?: readonly FoundSource[] | undefined;
  /** Members of its group that are not being deleted. */
  readonly remainingMembers?: readonly string[] | undefined;
}

/** The next step for a LocalVolume. */
export type VolumePlan =
  | { readonly step: 'none' }
  /**
   * Add the finalizer, before any data is created. LocalVolumes of the controller have it,
   * hand-written ones may not.
   */
  | { readonly step: 'protect' }
  | {
      readonly step: 'create';
      readonly sizeBytes: bigint;
      readonly source: ContentSource | undefined;
      readonly attributes: VolumeAttributes;
    }
  | { readonly step: 'snapshot'; readonly volumeId: string }
  /** Expand it, change its attributes, or both; undefined leaves it. */
  | {
      readonly step: 'change';
      readonly copy: Copy;
      readonly sizeBytes: bigint | undefined;
      readonly attributes: VolumeAttributes | undefined;
    }
  | { readonly step: 'group-snapshot'; readonly name: string; readonly volumeIds: readonly string[] }
  | { readonly step: 'report-ready'; readonly copy: Copy }
  | { readonly step: 'report'; readonly phase: 'Failed' | 'Lost' | 'Pending'; readonly fault: Fault }
  /** Delete the data, then remove the finalizer. */
  | { readonly step: 'delete'; readonly id: string }
  /** Delete the data of its whole group, then remove the finalizer. */
  | { readonly step: 'delete-group'; readonly groupId: string }
  /** The data does not exist (any more): remove the finalizer. */
  | { readonly step: 'release' }
  /** The data can neither be served nor deleted. */
  | { readonly step: 'hold'; readonly fault: Fault };

/** Decides from the object and the node only, so that it can be repeated after any crash. */
export function planVolume(object: LocalVolume, observed: Observed): VolumePlan {
  const protectedByUs = object.metadata?.finalizers?.includes(DATA_FINALIZER) ?? false;
  if (object.metadata?.deletionTimestamp !== undefined) {
    return protectedByUs ? planDeletion(observed) : { step: 'none' };
  }
  if (!protectedByUs) return { step: 'protect' };
  if (observed.copy !== undefined) return planPresent(object, observed.copy);
  if (observed.unreadable !== undefined) {
    return { step: 'report', phase: 'Lost', fault: unreadable(observed.unreadable) };
  }
  const handle = object.status?.volumeHandle;
  if (handle !== undefined) {
    const message = `volume ${handle} is no longer on this node; an empty one in its place would hide the loss`;
    return { step: 'report', phase: 'Lost', fault: new Fault('not-found', message) };
  }
  // The claim is rescheduled once the controller has read this: space that becomes free later must
  // not create a second volume for it.
  if (object.status?.phase === 'Exhausted' && isObserved(object)) return { step: 'none' };
  const group = object.spec.group;
  if (group === undefined) return planAbsent(object, observed.source);
  // All or none: the group's volumes are created together.
  const sources = observed.groupSources ?? [];
  const missing = sources.findIndex((source) => source === 'missing' || source === 'awaited');
  const found = sources.flatMap((source) => (typeof source === 'object' ? [source.id] : []));
  if (missing < 0) return { step: 'group-snapshot', name: group.name, volumeIds: found };
  const volumeName = group.volumeNames[missing];
  return planAbsent({ ...object, spec: { ...object.spec, source: { volumeName } } }, sources[missing]);
}

function planDeletion({ copy, unreadable: reason, remainingMembers = [] }: Observed): VolumePlan {
  const [remaining] = remainingMembers;
  if (copy?.group !== undefined) {
    if (remaining === undefined) return { step: 'delete-group', groupId: copy.group.id };
    const message = `snapshot ${copy.id} is a member of group snapshot ${copy.group.id}; its data is deleted with that of ${remaining}, which is not being deleted`;
    return { step: 'hold', fault: new Fault('precondition', message) };
  }
  if (copy !== undefined) return { step: 'delete', id: copy.id };
  return reason === undefined ? { step: 'release' } : { step: 'hold', fault: unreadable(reason) };
}

function planPresent({ spec, status }: LocalVolume, copy: Copy): VolumePlan {
  if (copy.pool !== spec.poolName) {
    const message = `the volume is in pool ${copy.pool}, not in ${spec.poolName}`;
    return { step: 'report', phase: 'Failed', fault: new Fault('conflict', message) };
  }
  // Found by its name only: an empty volume must not be taken for a restored one. The source itself
  // may have been deleted.
  const sourceDiffers = (spec.source === undefined) !== (copy.source === undefined);
  if (status?.volumeHandle === undefined && spec.type === 'Volume' && sourceDiffers) {
    const message = `volume ${copy.id} of this name has source ${copy.source?.id ?? 'none'}, which differs from the requested source`;
    return { step: 'report', phase: 'Failed', fault: new Fault('conflict', message) };
  }
  const sizeBytes = parseQuantity(spec.size, 'spec.size');
  if (spec.type !== 'Volume') return { step: 'report-ready', copy };
  const attributes = attributesOf(spec);
  const grows = sizeBytes > copy.sizeBytes;
  // Invalid attributes change nothing; the status reports them.
  const modifies = !isFault(attributes) && !sameAttributes(copy.attributes ?? {}, attributes);
  if (!grows && !modifies) return { step: 'report-ready', copy };
  return {
    step: 'change',
    copy,
    sizeBytes: grows ? sizeBytes : undefined,
    attributes: modifies ? attributes : undefined,
  };
}

function planAbsent({ spec }: LocalVolume, source: FoundSource): VolumePlan {
  const failed = (message: string): VolumePlan => ({
    step: 'report',
    phase: 'Failed',
    fault: new Fault('unsupported', message),
  });
  const wanted = spec.source?.volumeName ?? spec.source?.snapshotName ?? '';
  if (source === 'missing') {
    const message = `the source ${wanted} does not exist on this node`;
    return { step: 'report', phase: 'Failed', fault: new Fault('not-found', message) };
  }
  if (source === 'awaited') {
    const message = `waiting for the source ${wanted}, which is being created`;
    return { step: 'report', phase: 'Pending', fault: new Fault('unavailable', message) };
  }
  if (spec.type === 'Snapshot') {
    if (source?.kind === 'volume') return { step: 'snapshot', volumeId: source.id };
    return failed('a Snapshot requires source.volumeName');
  }
  const attributes = attributesOf(spec);
  if (isFault(attributes)) return { step: 'report', phase: 'Failed', fault: attributes };
  return { step: 'create', sizeBytes: parseQuantity(spec.size, 'spec.size'), source, attributes };
}

/** Returns the requested attributes, or why they are invalid. */
export function attributesOf({ mutableParameters = {} }: LocalVolume['spec']): VolumeAttributes | Fault {
  try {
    return parseAttributes(mutableParameters, 'spec.mutableParameters');
  } catch (error) {
    return Fault.from(error);
  }
}

function isObserved({ metadata, status }: LocalVolume): boolean {
  return status?.observedGeneration !== undefined && status.observedGeneration === metadata?.generation;
}

function unreadable(reason: string): Fault {
  return new Fault(
    'precondition',
    `the record of the volume cannot be read (${reason}); its data is untouched: repair the record, or remove both by hand`,
  );
}
