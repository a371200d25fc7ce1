import { Fault } from '../fault.ts';
import { formatBytes } from '../kube-text/quantity.ts';

/** A bound claim, as far as its size is concerned. */
export interface ResizeClaim {
  readonly requestBytes: bigint;
  /** What its status says that it has. */
  readonly statusBytes: bigint;
  /** What was asked of the volume last, and counts for quotas; undefined before the first resize. */
  readonly allocatedBytes: bigint | undefined;
  /** Of pvc.status.allocatedResourceStatuses. */
  readonly state: string | undefined;
  /** Whether it carries a condition that speaks of a resize. */
  readonly hasCondition: boolean;
}

/** Its volume. */
export interface ResizeVolume {
  /** What was asked of its node. */
  readonly specBytes: bigint;
  readonly capacityBytes: bigint;
  /** Why the node could not do what is asked for now; undefined while it has not answered, and when it could. */
  readonly refusal: { readonly reason: string; readonly message: string } | undefined;
  /** The volume has grown, and its file system will when kubelet asks for that. */
  readonly needsNodeExpansion: boolean;
}

export interface ResizeInput {
  readonly claim: ResizeClaim;
  readonly ownerBytes: bigint;
  readonly volume: ResizeVolume;
}

export type ResizePlan =
  | { readonly do: 'nothing' }
  /** Say on the claim where the resize stands. */
  | {
      readonly do: 'say';
      readonly allocatedBytes: bigint;
      readonly state: 'ControllerResizeInProgress' | 'ControllerResizeInfeasible';
      readonly problem: Fault | undefined;
    }
  /** Ask the node for another size; the claim says so already. */
  | { readonly do: 'ask'; readonly sizeBytes: bigint }
  /** The volume has it: the PersistentVolume says so next. */
  | { readonly do: 'publish'; readonly sizeBytes: bigint }
  /** The rest is kubelet's. */
  | { readonly do: 'hand-over'; readonly allocatedBytes: bigint }
  | { readonly do: 'finish'; readonly sizeBytes: bigint };

/** Refusals that no room and no time will mend: only another size. */
const INFEASIBLE: ReadonlySet<string> = new Set(['OutOfRange', 'Invalid', 'NotFound', 'Unsupported']);
const NOTHING: ResizePlan = { do: 'nothing' };

/**
 * The next step of a claim's resize, from any state that a crash can leave. What a node is working on is awaited; what it has refused may
 * be taken back to a smaller size (KEP-1790), because a refusal has changed nothing on disk.
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
  // Said before it is asked for: quotas count what is under way.
  const isSaid = claim.state === state && claim.allocatedBytes === target;
  if (!isSaid || problem !== undefined) return { do: 'say', allocatedBytes: target, state, problem };
  return target === specBytes ? NOTHING : { do: 'ask', sizeBytes: target };
}

function problemOf(refusal: { readonly reason: string; readonly message: string }, target: bigint): Fault {
  const isInfeasible = INFEASIBLE.has(refusal.reason);
  const todo = isInfeasible ? 'ask for another size' : 'it is tried again; a smaller size may be asked for';
  return new Fault(
    isInfeasible ? 'out-of-range' : 'exhausted',
    `the volume cannot grow to ${formatBytes(target)}: ${refusal.message}; ${todo}`,
  );
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
