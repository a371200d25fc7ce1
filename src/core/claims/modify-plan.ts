import { attributesOfClass, type AttributesClassView } from './attributes-class.ts';
import { Fault } from '../fault.ts';

/** States of pvc.status.modifyVolumeStatus. */
type ModifyState = 'Pending' | 'InProgress' | 'Infeasible';

/** A bound claim with its VolumeAttributesClass. Names are empty where there is none. */
export interface ModifyClaim {
  readonly wanted: string;
  /** status.currentVolumeAttributesClassName. */
  readonly current: string;
  readonly state: string | undefined;
  /** status.modifyVolumeStatus.targetVolumeAttributesClassName. */
  readonly target: string;
  /** Whether the claim has a condition about a modification, and its error. */
  readonly hasCondition: boolean;
  readonly error: string | undefined;
}

/** The volume of the claim. */
export interface ModifyVolume {
  /** The class requested of its node. */
  readonly className: string;
  readonly parameters: Readonly<Record<string, string>>;
  /** The node's result for that class. */
  readonly answer: 'awaited' | 'done' | { readonly reason: string; readonly message: string };
}

/** What the next step of a modification depends on. */
export interface ModifyInput {
  readonly claim: ModifyClaim;
  /** The class of the PersistentVolume. */
  readonly ownerClass: string;
  readonly volume: ModifyVolume;
  readonly findClass: (name: string) => AttributesClassView | undefined;
}

/** The next step of a claim's change of VolumeAttributesClass. */
export type ModifyPlan =
  | { readonly do: 'nothing' }
  /** Report the state of the modification on the claim. */
  | {
      readonly do: 'say';
      readonly state: ModifyState;
      readonly target: string;
      readonly problem: Fault | undefined;
    }
  /** Request it of the node; the claim reports it already. */
  | {
      readonly do: 'ask';
      readonly className: string;
      readonly parameters: Readonly<Record<string, string>>;
    }
  /** It is applied: update the PersistentVolume next. */
  | { readonly do: 'publish'; readonly className: string }
  | { readonly do: 'finish'; readonly className: string }
  /** The claim has its former class again: remove what was reported. */
  | { readonly do: 'cancel' };

const NOTHING: ModifyPlan = { do: 'nothing' };
/** Refusals that the same parameters will always meet. */
const INFEASIBLE = 'Invalid';

/**
 * Returns the next step of a claim's change of class, from any state that a crash can leave. The
 * target may change at any time: a node applies whole classes, and the last one requested is the
 * last one applied.
 */
export function planModify(input: ModifyInput): ModifyPlan {
  const { claim, volume, ownerClass, findClass } = input;
  if (claim.state === undefined && claim.wanted === claim.current) return NOTHING;
  // A claim without a class ends the change in progress; the API allows that before the first
  // success only.
  const goal = claim.wanted === '' && claim.state === 'InProgress' ? claim.target : claim.wanted;
  if (goal === '') return planCancel(input);
  const wanted = findClass(goal);
  if (wanted === undefined) {
    const problem = new Fault('not-found', `VolumeAttributesClass ${goal} does not exist`);
    return recordEvent(claim, { state: 'Pending', target: goal, problem });
  }
  try {
    attributesOfClass(wanted);
  } catch (error) {
    return recordEvent(claim, { state: 'Infeasible', target: goal, problem: Fault.from(error) });
  }
  const inProgress = { state: 'InProgress', target: goal, problem: undefined } as const;
  if (volume.className !== goal || !sameParameters(volume.parameters, wanted.parameters)) {
    const isSaid = claim.state === 'InProgress' && claim.target === goal && claim.error === undefined;
    if (!isSaid) return { do: 'say', ...inProgress };
    return { do: 'ask', className: goal, parameters: wanted.parameters };
  }
  if (volume.answer === 'awaited')
    return claim.error === undefined ? recordEvent(claim, inProgress) : NOTHING;
  if (volume.answer !== 'done') return planRefused(claim, goal, volume.answer);
  return ownerClass === goal ? { do: 'finish', className: goal } : { do: 'publish', className: goal };
}

function planRefused(
  claim: ModifyClaim,
  target: string,
  { reason, message }: { readonly reason: string; readonly message: string },
): ModifyPlan {
  const isInfeasible = reason === INFEASIBLE;
  const state = isInfeasible ? 'Infeasible' : 'InProgress';
  const todo = isInfeasible ? 'set another class' : 'it is retried';
  const text = `cannot apply VolumeAttributesClass ${target}: ${message}; ${todo}`;
  return recordEvent(claim, {
    state,
    target,
    problem: new Fault(isInfeasible ? 'invalid' : 'unavailable', text),
  });
}

/** A node that was asked for a class no longer requested is asked for the former one. */
function planCancel({ claim, volume, findClass }: ModifyInput): ModifyPlan {
  if (volume.className !== claim.current) {
    const before = findClass(claim.current);
    if (before !== undefined || claim.current === '') {
      return { do: 'ask', className: claim.current, parameters: before?.parameters ?? {} };
    }
  }
  return claim.hasCondition ? { do: 'cancel' } : NOTHING;
}

/** Returns nothing where the claim reports it already. */
function recordEvent(
  claim: ModifyClaim,
  { state, target, problem }: Omit<Extract<ModifyPlan, { do: 'say' }>, 'do'>,
): ModifyPlan {
  // A pending modification has no conditions.
  const error = state === 'Pending' ? claim.error : problem?.message;
  const isSaid = claim.state === state && claim.target === target && claim.error === error;
  return isSaid ? NOTHING : { do: 'say', state, target, problem };
}

function sameParameters(
  left: Readonly<Record<string, string>>,
  right: Readonly<Record<string, string>>,
): boolean {
  const keys = Object.keys(left);
  return keys.length === Object.keys(right).length && keys.every((key) => left[key] === right[key]);
}
