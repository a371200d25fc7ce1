import { DATA_FINALIZER, type LocalVolume } from '../../src/api/local-volume.ts';
import { Fault, isFault } from '../../src/core/fault.ts';
import { parseQuantity } from '../../src/core/kube-text/quantity.ts';
import type { ContentSource } from '../../src/core/volumes/volume.ts';
import {
  parseAttributes,
  sameAttributes,
  type VolumeAttributes,
} from '../../src/core/volumes/volume-attributes.ts';

/** A volume or snapshot as it is on this node. */
export interface Copy {
  readonly id: string;
  readonly name: string;
  readonly pool: string;
  readonly sizeBytes: bigint;
  readonly createdAtMs: number;
  /** Its file system is smaller than it, until kubelet has it grown. */
  readonly needsNodeExpansion?: boolean | undefined;
  /** What a volume was made from; a snapshot has none here. */
  readonly source?: ContentSource | undefined;
  /** What is limited of a volume. */
  readonly attributes?: VolumeAttributes | undefined;
  /** The group snapshot that a snapshot is a member of. */
  readonly group?: { readonly id: string } | undefined;
}

/** Where the content of a LocalVolume comes from: on this node, announced in the API alone, or nowhere. */
export type FoundSource = ContentSource | 'awaited' | 'missing' | undefined;

/** What the node has for one LocalVolume. */
export interface Observed {
  /** The volume that its status names, or that has its name where the status names none. */
  readonly copy: Copy | undefined;
  /** Why its record cannot be read, where that is so; the data is there. */
  readonly unreadable: string | undefined;
  readonly source: FoundSource;
  /** The volumes of its group, where it has one. */
  readonly groupSources?: readonly FoundSource[] | undefined;
  /** Members of its group that are not to be deleted. */
  readonly groupKeepers?: readonly string[] | undefined;
}

/** The one next step for a LocalVolume. */
export type VolumePlan =
  | { readonly step: 'none' }
  /** Put the finalizer there; no data is made without it. The controller's own intents have it, those that are written by hand may not. */
  | { readonly step: 'protect' }
  | {
      readonly step: 'create';
      readonly sizeBytes: bigint;
      readonly source: ContentSource | undefined;
      readonly attributes: VolumeAttributes;
    }
  | { readonly step: 'snapshot'; readonly volumeId: string }
  /** Make it larger, give it other attributes, or both; undefined leaves it. */
  | {
      readonly step: 'change';
      readonly copy: Copy;
      readonly sizeBytes: bigint | undefined;
      readonly attributes: VolumeAttributes | undefined;
    }
  | { readonly step: 'group-snapshot'; readonly name: string; readonly volumeIds: readonly string[] }
  | { readonly step: 'report-ready'; readonly copy: Copy }
  | { readonly step: 'report'; readonly phase: 'Failed' | 'Lost' | 'Pending'; readonly fault: Fault }
  /** Remove the data, then the finalizer. */
  | { readonly step: 'delete'; readonly id: string }
  /** Remove the data of its whole group, then the finalizer. */
  | { readonly step: 'delete-group'; readonly groupId: string }
  /** There is no data (any more): take the finalizer away. */
  | { readonly step: 'release' }
  /** The data can neither be served nor removed. */
  | { readonly step: 'hold'; readonly fault: Fault };

/** Decides from the object and the node alone, so that it can be asked again after any crash. */
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
  // The claim goes elsewhere once it has read this: room that turns up later must not make a second volume for it.
  if (object.status?.phase === 'Exhausted' && isObserved(object)) return { step: 'none' };
  const group = object.spec.group;
  if (group === undefined) return planAbsent(object, observed.source);
  // All or none: what is true of one volume of the group is true of each.
  const sources = observed.groupSources ?? [];
  const missing = sources.findIndex((source) => source === 'missing' || source === 'awaited');
  const found = sources.flatMap((source) => (typeof source === 'object' ? [source.id] : []));
  if (missing < 0) return { step: 'group-snapshot', name: group.name, volumeIds: found };
  const volumeName = group.volumeNames[missing];
  return planAbsent({ ...object, spec: { ...object.spec, source: { volumeName } } }, sources[missing]);
}

function planDeletion({ copy, unreadable: reason, groupKeepers = [] }: Observed): VolumePlan {
  const [keeper] = groupKeepers;
  if (copy?.group !== undefined) {
    if (keeper === undefined) return { step: 'delete-group', groupId: copy.group.id };
    const message = `snapshot ${copy.id} is a member of group snapshot ${copy.group.id}; its data goes with that of ${keeper}, which is not being deleted`;
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
  // Found by its name alone: an empty volume must not be taken for a restored one. The source itself may be gone by now.
  const sourceDiffers = (spec.source === undefined) !== (copy.source === undefined);
  if (status?.volumeHandle === undefined && spec.type === 'Volume' && sourceDiffers) {
    const message = `volume ${copy.id} has this name and was made from ${copy.source?.id ?? 'nothing'}, which is not what is asked for`;
    return { step: 'report', phase: 'Failed', fault: new Fault('conflict', message) };
  }
  const sizeBytes = parseQuantity(spec.size, 'spec.size');
  if (spec.type !== 'Volume') return { step: 'report-ready', copy };
  const attributes = attributesOf(spec);
  const grows = sizeBytes > copy.sizeBytes;
  // Attributes that cannot be read change nothing; the status says so.
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
    const message = `waiting for the source ${wanted}, which is being made`;
    return { step: 'report', phase: 'Pending', fault: new Fault('unavailable', message) };
  }
  if (spec.type === 'Snapshot') {
    if (source?.kind === 'volume') return { step: 'snapshot', volumeId: source.id };
    return failed('a Snapshot is taken of a volume; name it in source.volumeName');
  }
  const attributes = attributesOf(spec);
  if (isFault(attributes)) return { step: 'report', phase: 'Failed', fault: attributes };
  return { step: 'create', sizeBytes: parseQuantity(spec.size, 'spec.size'), source, attributes };
}

/** What the volume is to have, or why that cannot be read. */
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
