import { attributesOfClass, type AttributesClassView } from './attributes-class.ts';
import { Fault } from '../fault.ts';

/** States of pvc.status.modifyVolumeStatus. */
export type ModifyState = 'Pending' | 'InProgress' | 'Infeasible';

/** A bound claim, as far as its VolumeAttributesClass is concerned. Names are empty where there is none. */
export interface ModifyClaim {
  readonly wanted: string;
  /** What its status says that it has. */
  readonly current: string;
  readonly state: string | undefined;
  /** Where its status says that it is on the way to. */
  readonly target: string;
  /** Whether it carries a condition that speaks of a modification, and what that says of a failure. */
  readonly hasCondition: boolean;
  readonly error: string | undefined;
}

/** Its volume. */
export interface ModifyVolume {
  /** What was asked of its node. */
  readonly className: string;
  readonly parameters: Readonly<Record<string, string>>;
  /** What the node says to that. */
  readonly answer: 'awaited' | 'done' | { readonly reason: string; readonly message: string };
}

export interface ModifyInput {
  readonly claim: ModifyClaim;
  /** Of the PersistentVolume. */
  readonly ownerClass: string;
  readonly volume: ModifyVolume;
  readonly findClass: (name: string) => AttributesClassView | undefined;
}

export type ModifyPlan =
  | { readonly do: 'nothing' }
  /** Say on the claim where the modification stands. */
  | {
      readonly do: 'say';
      readonly state: ModifyState;
      readonly target: string;
      readonly problem: Fault | undefined;
    }
  /** Ask the node; the claim says so already. */
  | {
      readonly do: 'ask';
      readonly className: string;
      readonly parameters: Readonly<Record<string, string>>;
    }
  /** It is in force: the PersistentVolume says so next. */
  | { readonly do: 'publish'; readonly className: string }
  | { readonly do: 'finish'; readonly className: string }
  /** The claim wants none any more, as before: what was said goes. */
  | { readonly do: 'cancel' };

const NOTHING: ModifyPlan = { do: 'nothing' };
/** Refusals that the same parameters will always meet. */
const INFEASIBLE = 'Invalid';

/**
 * The next step of a claim's change of class, from any state that a crash can leave. The target may change at any time: a node is asked for
 * the whole of a class, and what it puts in force last is what was asked last.
 */
export function planModify(input: ModifyInput): ModifyPlan {
  const { claim, volume, ownerClass, findClass } = input;
  if (claim.state === undefined && claim.wanted === claim.current) return NOTHING;
  // Without a wish, what is under way is ended; the API allows this before the first success alone.
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
  const todo = isInfeasible ? 'name another class' : 'it is tried again';
  const text = `the volume cannot be changed to VolumeAttributesClass ${target}: ${message}; ${todo}`;
  return recordEvent(claim, {
    state,
    target,
    problem: new Fault(isInfeasible ? 'invalid' : 'unavailable', text),
  });
}

/** A node that was asked for what nobody wants any more is asked for what was before. */
function planCancel({ claim, volume, findClass }: ModifyInput): ModifyPlan {
  if (volume.className !== claim.current) {
    const before = findClass(claim.current);
    if (before !== undefined || claim.current === '') {
      return { do: 'ask', className: claim.current, parameters: before?.parameters ?? {} };
    }
  }
  return claim.hasCondition ? { do: 'cancel' } : NOTHING;
}

/** Nothing where the claim says it already. */
function recordEvent(
  claim: ModifyClaim,
  { state, target, problem }: Omit<Extract<ModifyPlan, { do: 'say' }>, 'do'>,
): ModifyPlan {
  // What waits for its class carries no conditions.
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
