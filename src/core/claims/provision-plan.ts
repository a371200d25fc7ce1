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

/** What a decision about one claim and its volume depends on. */
export interface ProvisionState {
  /** Undefined when it was deleted, or another claim has its name. */
  readonly claim: ClaimView | undefined;
  /** Its class, if Keelson's. */
  readonly storageClass: ClassView | undefined;
  /** The VolumeAttributesClass of the claim. */
  readonly attributesClass?: AttributesClassView | undefined;
  readonly volume: VolumeView | undefined;
  /** A PersistentVolume of the volume's name, or with its handle, exists. */
  readonly isOwned: boolean;
  /** An available PersistentVolume exists that the claim could be bound to instead. */
  readonly isOffered: boolean;
  readonly nodes: NodeDirectory;
  /** For a copy: its source, or why it cannot be used yet. */
  readonly source: SourceView | Fault | undefined;
  /** The volume has been deleting for so long that its agent would have reported on it. */
  readonly isOverdue: boolean;
  /** Nodes that refused this volume recently, and how. */
  readonly avoid: ReadonlyMap<string, Refusal>;
}

/** `exhausted` may succeed on another node; `failed` is unlikely to succeed anywhere. */
export type Refusal = 'exhausted' | 'failed';

/** The LocalVolume to create for a claim. */
export interface NewVolume {
  readonly nodeName: string;
  readonly poolName: string;
  readonly sizeBytes: bigint;
  readonly fsType: FsType | undefined;
  readonly parameters: Readonly<Record<string, string>>;
  readonly attributesClass?: AttributesClassView | undefined;
  /** Source of the content; undefined for an empty volume. */
  readonly source: SourceView['content'] | undefined;
}

/** The next step from a claim to its PersistentVolume. */
export type ProvisionPlan =
  | { readonly do: 'nothing' }
  /** Something else has to change first; `fault` says what. */
  | { readonly do: 'wait'; readonly fault: Fault }
  /** Create the LocalVolume. */
  | { readonly do: 'create'; readonly volume: NewVolume }
  /** The node has created it: create the PersistentVolume. */
  | { readonly do: 'publish' }
  /**
   * Delete the LocalVolume, which was never used; `fault` says why when the claim's author should
   * know.
   */
  | { readonly do: 'discard'; readonly fault: Fault | undefined }
  /**
   * Its node no longer exists, or never saw it, and will not confirm the clean-up: remove the
   * finalizers, so that its name is free.
   */
  | { readonly do: 'abandon' }
  /** Ask the scheduler for another node. */
  | { readonly do: 'reschedule'; readonly fault: Fault };

const NOTHING: ProvisionPlan = { do: 'nothing' };

/**
 * Returns the next step for a claim and its volume, from any state that a crash or a race can
 * leave. A volume without an owner is discarded; a published one never is.
 */
export function planProvision(state: ProvisionState): ProvisionPlan {
  const { claim, volume, isOwned } = state;
  if (isOwned || volume?.isPublished === true) return NOTHING;
  if (volume?.isDeleting === true) {
    // Its name is free once its node has cleaned up. A node without an agent has no data of it, and
    // must not delay the claim.
    const isUnanswered = state.isOverdue && !volume.isAnswered;
    return state.nodes.has(volume.nodeName) && !isUnanswered ? NOTHING : { do: 'abandon' };
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
  // The claim is bound to another volume or deleted: this volume is unused.
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
    const fault = new Fault(
      'exhausted',
      `${who}: node ${volume.nodeName} no longer exists; choosing another node`,
    );
    return claim.selectedNode === volume.nodeName && mayMove(state)
      ? { do: 'reschedule', fault }
      : { do: 'discard', fault };
  }
  switch (volume.phase) {
    case 'Pending':
      if (volume.message === '') return NOTHING;
      return {
        do: 'wait',
        fault: new Fault('unavailable', `${who}: ${where} has not created the volume yet: ${volume.message}`),
      };
    case 'Ready':
      return planReady(state, claim, volume);
    case 'Exhausted': {
      const wanted = `${who} requests ${formatBytes(volume.sizeBytes)}; ${where} has not enough free space`;
      const fault = new Fault('exhausted', volume.message === '' ? wanted : `${wanted}: ${volume.message}`);
      return claim.selectedNode === volume.nodeName && mayMove(state)
        ? { do: 'reschedule', fault }
        : { do: 'discard', fault };
    }
    case 'Failed':
    case 'Lost': {
      const why = volume.message === '' ? 'reason unknown' : volume.message;
      return {
        do: 'discard',
        fault: new Fault('precondition', `${who}: ${where} cannot create the volume: ${why}`),
      };
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
      `${who}: StorageClass ${claim.className} does not exist; its volume waits for it`,
    );
    return { do: 'wait', fault };
  }
  // The agent writes the handle together with the phase.
  if (!hasHandle) return NOTHING;
  // A PersistentVolume became available meanwhile: kube-controller-manager chooses.
  if (!isCopy(claim) && requiresProvisionerAnnotation(claim, isOffered)) return NOTHING;
  resolveSecrets(storageClass, claim, volumeNameOf(claim.uid));
  const wanted = checkClaim(claim);
  if (sizeBytes >= wanted) return { do: 'publish' };
  const got = `${who} requests ${formatBytes(wanted)}, but its volume has ${formatBytes(sizeBytes)}`;
  return { do: 'discard', fault: new Fault('out-of-range', `${got}; re-creating it`) };
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
        `${who} has a dataSource of kind ${kind} (${name}); expected PersistentVolumeClaim or VolumeSnapshot, other kinds need a volume populator`,
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
      `${who} requests ${formatBytes(sizeBytes)}; no node can hold it: ${place.lacking}`,
    );
  }
  return make(placeOnSelectedNode(state, claim, poolRequest));
}

/**
 * Returns the place on the node that the scheduler selected; throws a Fault that asks for another
 * node.
 */
function placeOnSelectedNode(
  { nodes, avoid }: ProvisionState,
  claim: ClaimView,
  poolRequest: PoolRequest,
): { readonly nodeName: string; readonly poolName: string } {
  const who = describeClaim(claim);
  const node = nodes.get(claim.selectedNode ?? '');
  if (node === undefined) {
    throw new Fault(
      'exhausted',
      `${who}: node ${claim.selectedNode ?? ''} no longer exists; choosing another node`,
    );
  }
  const refusal = avoid.get(node.name);
  if (refusal !== undefined) {
    const kind = refusal === 'exhausted' ? 'exhausted' : 'precondition';
    throw new Fault(kind, `${who}: node ${node.name} refused it recently; retrying`);
  }
  const chosen = choosePool(node, poolRequest);
  if (chosen !== undefined) return { nodeName: node.name, poolName: chosen.name };
  throw new Fault(
    'exhausted',
    `${who}: node ${node.name} cannot hold it: ${describeFreeSpace(node, poolRequest)}; choosing another node`,
  );
}

/** A copy shares blocks with its source, so it must be on the same node and pool. */
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
    throw fail('invalid', `requests ${wanted}, but its source has ${least}; request at least that`);
  }
  if (poolRequest.pool !== undefined && poolRequest.pool !== poolName) {
    throw fail('invalid', `has a class with pool ${poolRequest.pool}, but its source is in pool ${poolName}`);
  }
  if (node === undefined)
    throw fail('precondition', `has a source on node ${nodeName}, which no longer exists`);
  const stranger = strangenessOf(pool ?? {}, poolRequest);
  if (stranger !== undefined) {
    throw fail('invalid', `has a class with other pools than its source: pool ${poolName} ${stranger}`);
  }
  if (choosePool(node, { pool: poolName }) === undefined) {
    const why = describeFreeSpace(node, { pool: poolName });
    throw fail('precondition', `has a source on node ${nodeName}: ${why}`);
  }
  if (avoid.has(nodeName)) {
    const why = `pool ${poolName} on node ${nodeName} refused it recently`;
    throw fail('precondition', `must be with its source, but ${why}; retrying`);
  }
  return { nodeName, poolName };
}

/**
 * The smallest size of a new volume in the pool: a volume that requested less can be copied by
 * claims that request as little.
 */
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

/** Whether the scheduler may choose another node. */
function mayMove({ claim, storageClass }: ProvisionState): boolean {
  return storageClass?.waitsForConsumer === true && claim?.selectedNode !== undefined && !isCopy(claim);
}
