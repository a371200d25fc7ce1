import { Fault } from '../fault.ts';
import { formatBytes } from '../kube-text/quantity.ts';

/** A bound claim, with the fields that expansion reads. */
export interface ResizeClaim {
  readonly requestBytes: bigint;
  /** status.capacity. */
  readonly statusBytes: bigint;
  /**
   * status.allocatedResources: the size last requested, which quotas count; undefined before the
   * first expansion.
   */
  readonly allocatedBytes: bigint | undefined;
  /** Of pvc.status.allocatedResourceStatuses. */
  readonly state: string | undefined;
  /** Whether it has a condition about an expansion. */
  readonly hasCondition: boolean;
}

/** The volume of the claim. */
export interface ResizeVolume {
  /** The size requested of its node. */
  readonly specBytes: bigint;
  readonly capacityBytes: bigint;
  /**
   * Why the node cannot do what is requested now; undefined before it answered, and when it could.
   */
  readonly refusal: { readonly reason: string; readonly message: string } | undefined;
  /** The volume is larger, and kubelet has still to expand its file system. */
  readonly needsNodeExpansion: boolean;
}

/** What the next step of an expansion depends on. */
export interface ResizeInput {
  readonly claim: ResizeClaim;
  readonly ownerBytes: bigint;
  readonly volume: ResizeVolume;
}

/** The next step of a claim's expansion. */
export type ResizePlan =
  | { readonly do: 'nothing' }
  /** Report the state of the expansion on the claim. */
  | {
      readonly do: 'say';
      readonly allocatedBytes: bigint;
      readonly state: 'ControllerResizeInProgress' | 'ControllerResizeInfeasible';
      readonly problem: Fault | undefined;
    }
  /** Request another size of the node; the claim reports it already. */
  | { readonly do: 'ask'; readonly sizeBytes: bigint }
  /** The volume has the size: update the PersistentVolume next. */
  | { readonly do: 'publish'; readonly sizeBytes: bigint }
  /** The rest is up to kubelet. */
  | { readonly do: 'hand-over'; readonly allocatedBytes: bigint }
  | { readonly do: 'finish'; readonly sizeBytes: bigint };

/** Refusals that neither space nor time resolves, only another size. */
const INFEASIBLE: ReadonlySet<string> = new Set(['OutOfRange', 'Invalid', 'NotFound', 'Unsupported']);
const NOTHING: ResizePlan = { do: 'nothing' };

/**
 * Returns the next step of a claim's expansion, from any state that a crash can leave. An expansion
 * in progress is awaited; a refused one may be reduced (KEP-1790), because a refusal has changed
 * nothing on disk.
 */
export function planResize({ claim, ownerBytes, volume }: ResizeInput): ResizePlan {
  const isUnderWay = claim.state !== undefined || claim.hasCondition;
  if (claim.requestBytes <= claim.statusBytes && !isUnderWay) return NOTHING;
  const isAwaited = volume.specBytes > volume.capacityBytes && volume.refusal === undefined;
  const wanted = larger(claim.requestBytes, volume.capacityBytes);
  const target = isAwaited ? volume.specBytes : wanted;
  if (target > volume.capacityBytes || target < volume.specBytes) return planGrowth(claim, volume, target);
  if (ownerBytes < volume.capacityBytes) return { do: 'publish', sizeBytes: volume.capacityBytes };
  if (volume.needsNodeExpansion) {
    const isKubelets = claim.state?.startsWith('NodeResize') === true;
    return isKubelets ? NOTHING : { do: 'hand-over', allocatedBytes: volume.capacityBytes };
  }
  return { do: 'finish', sizeBytes: volume.capacityBytes };
}

function planGrowth(claim: ResizeClaim, { specBytes, refusal }: ResizeVolume, target: bigint): ResizePlan {
  const problem = target === specBytes && refusal !== undefined ? problemOf(refusal, target) : undefined;
  const isInfeasible = problem !== undefined && INFEASIBLE.has(refusal?.reason ?? '');
  const state = isInfeasible ? 'ControllerResizeInfeasible' : 'ControllerResizeInProgress';
  // Reported before it is requested: quotas count expansions in progress.
  const isSaid = claim.state === state && claim.allocatedBytes === target;
  if (!isSaid || problem !== undefined) return { do: 'say', allocatedBytes: target, state, problem };
  return target === specBytes ? NOTHING : { do: 'ask', sizeBytes: target };
}

function problemOf(refusal: { readonly reason: string; readonly message: string }, target: bigint): Fault {
  const isInfeasible = INFEASIBLE.has(refusal.reason);
  const todo = isInfeasible ? 'request another size' : 'it is retried; a smaller size may be requested';
  return new Fault(
    isInfeasible ? 'out-of-range' : 'exhausted',
    `cannot expand the volume to ${formatBytes(target)}: ${refusal.message}; ${todo}`,
  );
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
