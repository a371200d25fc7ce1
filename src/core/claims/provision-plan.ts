import { type AttributesClassView, attributesOfClass, requireAttributesClass } from './attributes-class.ts';
import { checkClaim, decideTurn, isCopy, requiresProvisionerAnnotation } from './claim-check.ts';
import { leastBytes } from '../volumes/backend-features.ts';
import { Fault, isFault } from '../fault.ts';
import {
  type ClaimView,
  type ClassView,
  describeClaim,
  type NodeDirectory,
  type PoolView,
  type SourceView,
  type VolumeView,
  volumeNameOf,
} from './provision.ts';
import { parseClassParameters, poolRequestOf } from './provision-class.ts';
import type { FsType } from '../volumes/volume.ts';
import {
  choosePool,
  describeFreeSpace,
  placeAnywhere,
  type PoolRequest,
  strangenessOf,
} from './provision-placement.ts';
import { formatBytes } from '../kube-text/quantity.ts';
import { resolveSecrets } from './secret-templates.ts';

/** All that a decision about one claim and its volume rests on. */
export interface ProvisionState {
  /** Undefined when it is gone, or another claim has its name now. */
  readonly claim: ClaimView | undefined;
  /** Its class, when that is ours. */
  readonly storageClass: ClassView | undefined;
  /** The VolumeAttributesClass that the claim names. */
  readonly attributesClass?: AttributesClassView | undefined;
  readonly volume: VolumeView | undefined;
  /** A PersistentVolume of the volume's name, or with its handle, exists. */
  readonly isOwned: boolean;
  /** A PersistentVolume that nobody has is there, which the volume binder could give the claim instead. */
  readonly isOffered: boolean;
  readonly nodes: NodeDirectory;
  /** For a copy: its source, or why there is none yet. */
  readonly source: SourceView | Fault | undefined;
  /** The volume is being deleted for so long that a node that knows of it would have said so. */
  readonly isOverdue: boolean;
  /** Nodes that have just refused this volume, and how. */
  readonly avoid: ReadonlyMap<string, Refusal>;
}

/** `exhausted` is worth a try on another node; `failed` is not likely to get better anywhere. */
export type Refusal = 'exhausted' | 'failed';

export interface NewVolume {
  readonly nodeName: string;
  readonly poolName: string;
  readonly sizeBytes: bigint;
  readonly fsType: FsType | undefined;
  readonly parameters: Readonly<Record<string, string>>;
  readonly attributesClass?: AttributesClassView | undefined;
  /** What its content starts as; undefined: empty. */
  readonly source: SourceView['content'] | undefined;
}

export type ProvisionPlan =
  | { readonly do: 'nothing' }
  /** Nothing can be done before something else changes; `fault` says what, to the claim's author. */
  | { readonly do: 'wait'; readonly fault: Fault }
  /** Write the intent. */
  | { readonly do: 'create'; readonly volume: NewVolume }
  /** The node has made it: make the PersistentVolume. */
  | { readonly do: 'publish' }
  /** Delete the intent, which nobody can have used; `fault` says why when that is of interest to the claim's author. */
  | { readonly do: 'discard'; readonly fault: Fault | undefined }
  /** Its node is gone, or has never heard of it, and will not say that it is cleaned up: take off the finalizers, so that its name is free. */
  | { readonly do: 'abandon' }
  /** Ask the scheduler for another node. */
  | { readonly do: 'reschedule'; readonly fault: Fault };

const NOTHING: ProvisionPlan = { do: 'nothing' };

/**
 * The next step for a claim and its volume, from any state that a crash or a race can leave. A volume without an owner is discarded, one
 * that was published never is.
 */
export function planProvision(state: ProvisionState): ProvisionPlan {
  const { claim, volume, isOwned } = state;
  if (isOwned || volume?.isPublished === true) return NOTHING;
  if (volume?.isDeleting === true) {
    // Its name is free again when its node has cleaned up. A node without an agent has nothing of it, and must not hold the claim back.
    const isUnheard = state.isOverdue && !volume.isAnswered;
    return state.nodes.has(volume.nodeName) && !isUnheard ? NOTHING : { do: 'abandon' };
  }
  try {
    if (volume !== undefined) return planForVolume(state, volume);
    if (claim === undefined || decideTurn(claim, state.storageClass, state.isOffered) === 'not-now')
      return NOTHING;
    return planNew(state, claim);
  } catch (error) {
    if (!isFault(error) || error.kind === 'bug') throw error;
    return error.kind === 'exhausted' && mayMove(state)
      ? { do: 'reschedule', fault: error }
      : { do: 'wait', fault: error };
  }
}

function planForVolume(state: ProvisionState, volume: VolumeView): ProvisionPlan {
  const { claim, storageClass, nodes } = state;
  // Bound to another volume, deleted, or gone: nobody waits for this one.
  if (claim === undefined || claim.isDeleting || claim.volumeName !== '') {
    return { do: 'discard', fault: undefined };
  }
  const who = describeClaim(claim);
  const where = `pool ${volume.poolName} on node ${volume.nodeName}`;
  const isChosenElsewhere =
    storageClass?.waitsForConsumer === true &&
    !isCopy(claim) &&
    claim.selectedNode !== undefined &&
    claim.selectedNode !== volume.nodeName;
  if (isChosenElsewhere) return { do: 'discard', fault: undefined };
  if (!nodes.has(volume.nodeName)) {
    const fault = new Fault('exhausted', `${who}: node ${volume.nodeName} is gone; another one is chosen`);
    return claim.selectedNode === volume.nodeName && mayMove(state)
      ? { do: 'reschedule', fault }
      : { do: 'discard', fault };
  }
  switch (volume.phase) {
    case 'Pending':
      if (volume.message === '') return NOTHING;
      return {
        do: 'wait',
        fault: new Fault('unavailable', `${who}: ${where} has not made it yet: ${volume.message}`),
      };
    case 'Ready':
      return planReady(state, claim, volume);
    case 'Exhausted': {
      const wanted = `${who} wants ${formatBytes(volume.sizeBytes)}; ${where} has no room`;
      const fault = new Fault('exhausted', volume.message === '' ? wanted : `${wanted}: ${volume.message}`);
      return claim.selectedNode === volume.nodeName && mayMove(state)
        ? { do: 'reschedule', fault }
        : { do: 'discard', fault };
    }
    case 'Failed':
    case 'Lost': {
      const why = volume.message === '' ? 'its agent gives no reason' : volume.message;
      return { do: 'discard', fault: new Fault('precondition', `${who}: ${where} cannot make it: ${why}`) };
    }
  }
}

function planReady(
  { storageClass, isOffered }: ProvisionState,
  claim: ClaimView,
  { sizeBytes, hasHandle }: VolumeView,
): ProvisionPlan {
  const who = describeClaim(claim);
  if (storageClass === undefined) {
    const fault = new Fault(
      'precondition',
      `${who}: StorageClass ${claim.className} is gone; its volume waits for it`,
    );
    return { do: 'wait', fault };
  }
  // Both come in one write of the agent, which says Ready last.
  if (!hasHandle) return NOTHING;
  // Begun when there was nothing else, and now there is: the binder chooses.
  if (!isCopy(claim) && requiresProvisionerAnnotation(claim, isOffered)) return NOTHING;
  resolveSecrets(storageClass, claim, volumeNameOf(claim.uid));
  const wanted = checkClaim(claim);
  if (sizeBytes >= wanted) return { do: 'publish' };
  const got = `${who} wants ${formatBytes(wanted)}, but its volume has ${formatBytes(sizeBytes)}`;
  return { do: 'discard', fault: new Fault('out-of-range', `${got}; it is made again`) };
}

function planNew(state: ProvisionState, claim: ClaimView): ProvisionPlan {
  const { storageClass, nodes, source, avoid } = state;
  if (storageClass === undefined) return NOTHING;
  const sizeBytes = checkClaim(claim);
  const parameters = parseClassParameters(storageClass);
  const attributesClass = requireAttributesClass(claim.attributesClassName, state.attributesClass);
  const attributes = attributesClass && attributesOfClass(attributesClass);
  const poolRequest = { ...poolRequestOf(parameters, claim), attributes };
  resolveSecrets(storageClass, claim, volumeNameOf(claim.uid));
  const who = describeClaim(claim);
  const make = (
    place: { nodeName: string; poolName: string },
    from?: SourceView['content'],
  ): ProvisionPlan => ({
    do: 'create',
    volume: {
      ...place,
      sizeBytes,
      fsType: poolRequest.fsType,
      parameters: parameters.own,
      attributesClass,
      source: from,
    },
  });
  if (claim.dataSource !== undefined) {
    if (!isCopy(claim)) {
      const { kind, name } = claim.dataSource;
      throw new Fault(
        'unsupported',
        `${who} starts from ${kind} ${name}; possible are PersistentVolumeClaim and VolumeSnapshot, other kinds need a populator`,
      );
    }
    if (source === undefined || source instanceof Fault) {
      throw source ?? new Fault('bug', `${who}: its source was not looked up`);
    }
    return make(placeAtSource(state, claim, sizeBytes, source, poolRequest), source.content);
  }
  if (!storageClass.waitsForConsumer) {
    const { allowedTopologies } = storageClass;
    const request = { claimName: claim.name, sizeBytes, poolRequest, allowedTopologies, avoid };
    const place = placeAnywhere(nodes.values(), request);
    if ('nodeName' in place) return make(place);
    throw new Fault(
      'exhausted',
      `${who} wants ${formatBytes(sizeBytes)}; no node can have it: ${place.lacking}`,
    );
  }
  const node = nodes.get(claim.selectedNode ?? '');
  if (node === undefined) {
    throw new Fault('exhausted', `${who}: node ${claim.selectedNode ?? ''} is gone; another one is chosen`);
  }
  const refusal = avoid.get(node.name);
  if (refusal !== undefined) {
    const kind = refusal === 'exhausted' ? 'exhausted' : 'precondition';
    throw new Fault(kind, `${who}: node ${node.name} has just refused it; it is tried again`);
  }
  const chosen = choosePool(node, poolRequest);
  if (chosen !== undefined) return make({ nodeName: node.name, poolName: chosen.name });
  throw new Fault(
    'exhausted',
    `${who}: node ${node.name} cannot have it: ${describeFreeSpace(node, poolRequest)}; another one is chosen`,
  );
}

/** A copy shares blocks with its source: it is on the same node and pool, or nowhere. */
function placeAtSource(
  { nodes, avoid }: ProvisionState,
  claim: ClaimView,
  sizeBytes: bigint,
  source: SourceView,
  poolRequest: PoolRequest,
): { readonly nodeName: string; readonly poolName: string } {
  const { nodeName, poolName } = source;
  const who = describeClaim(claim);
  const fail = (kind: 'invalid' | 'precondition', what: string): Fault => new Fault(kind, `${who} ${what}`);
  const node = nodes.get(nodeName);
  const pool = node?.pools.find(({ name }) => name === poolName);
  if (sizeBytes < source.sizeBytes && leastOf(pool, claim, poolRequest) < source.sizeBytes) {
    const [wanted, least] = [formatBytes(sizeBytes), formatBytes(source.sizeBytes)];
    throw fail('invalid', `wants ${wanted}, but its source has ${least}; ask for that or more`);
  }
  if (poolRequest.pool !== undefined && poolRequest.pool !== poolName) {
    throw fail(
      'invalid',
      `is of a class with pool ${poolRequest.pool}, but its source is in pool ${poolName}`,
    );
  }
  if (node === undefined)
    throw fail('precondition', `starts from a volume on node ${nodeName}, which is gone`);
  const stranger = strangenessOf(pool ?? {}, poolRequest);
  if (stranger !== undefined) {
    throw fail('invalid', `is of a class with other pools than its source: pool ${poolName} ${stranger}`);
  }
  if (choosePool(node, { pool: poolName }) === undefined) {
    const why = describeFreeSpace(node, { pool: poolName });
    throw fail('precondition', `starts from a volume on node ${nodeName}: ${why}`);
  }
  if (avoid.has(nodeName)) {
    const why = `pool ${poolName} on node ${nodeName} has just refused it`;
    throw fail('precondition', `must be where its source is, but ${why}; it is tried again`);
  }
  return { nodeName, poolName };
}

/** What a new volume there gets at least: one that asked for less is copied by claims that ask for as little. */
function leastOf(
  pool: PoolView | undefined,
  { volumeMode }: ClaimView,
  { fsType = 'ext4' }: PoolRequest,
): bigint {
  if (pool?.backend === undefined) return 0n;
  const form =
    volumeMode === 'Block'
      ? ({ volumeMode, fsType: undefined } as const)
      : ({ volumeMode: 'Filesystem', fsType } as const);
  return leastBytes({ backend: pool.backend }, form);
}

/** Whether another node can be had by asking the scheduler. */
function mayMove({ claim, storageClass }: ProvisionState): boolean {
  return storageClass?.waitsForConsumer === true && claim?.selectedNode !== undefined && !isCopy(claim);
}
