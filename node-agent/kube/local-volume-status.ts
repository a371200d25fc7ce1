import type { ConditionReason } from '../../src/core/reasons/condition-reasons.ts';
import {
  type LocalVolume,
  MODIFIED,
  NODE_EXPANSION_REQUIRED,
  OWNED,
  REACHABLE,
  SIZED,
} from '../../src/api/local-volume.ts';
import type { Condition } from '../../src/api/schema.ts';
import {
  apiTime,
  canonicalJson,
  clip,
  reasonOf,
  settleConditions,
} from '../../src/core/kube-text/api-status.ts';
import { type Fault, type FaultKind, isFault } from '../../src/core/fault.ts';
import { formatQuantity } from '../../src/core/kube-text/quantity.ts';
import { attributeNames, sameAttributes } from '../../src/core/volumes/volume-attributes.ts';
import { attributesOf, type Copy } from './local-volume-plan.ts';

export type VolumeStatus = NonNullable<LocalVolume['status']>;
type Phase = NonNullable<VolumeStatus['phase']>;

/**
 * The result of a step. `fault` or `attributesFault` with a copy: the volume is served, but its
 * size, or its attributes, could not be changed.
 */
export type Outcome =
  | { readonly copy: Copy; readonly fault?: Fault | undefined; readonly attributesFault?: Fault | undefined }
  | { readonly phase: Exclude<Phase, 'Ready'>; readonly fault: Fault };

/**
 * Returns the phase of a LocalVolume without data after `fault`; undefined for a transient fault
 * that is not reported.
 */
export function phaseAfter(fault: Fault): 'Exhausted' | 'Failed' | 'Pending' | undefined {
  return PHASES[fault.kind];
}

const PHASES: Readonly<Record<FaultKind, 'Exhausted' | 'Failed' | 'Pending' | undefined>> = {
  exhausted: 'Exhausted',
  invalid: 'Failed',
  'not-found': 'Failed',
  conflict: 'Failed',
  'out-of-range': 'Failed',
  unsupported: 'Failed',
  precondition: 'Pending',
  denied: 'Pending',
  unavailable: 'Pending',
  timeout: 'Pending',
  bug: 'Pending',
  busy: undefined,
  cancelled: undefined,
};

/** Returns the status for `outcome`, or undefined where the object has it already. */
export function planStatus(object: LocalVolume, outcome: Outcome, now: Date): VolumeStatus | undefined {
  const { metadata, status: previous } = object;
  const { fault } = outcome;
  const attributesFault = 'attributesFault' in outcome ? outcome.attributesFault : undefined;
  const copy = 'copy' in outcome ? outcome.copy : undefined;
  const made =
    copy === undefined
      ? pick(previous, ['capacity', 'volumeHandle', 'groupHandle', 'creationTime'])
      : {
          capacity: formatQuantity(copy.sizeBytes),
          volumeHandle: copy.id,
          ...(copy.group === undefined ? {} : { groupHandle: copy.group.id }),
          creationTime: apiTime(new Date(copy.createdAtMs)),
          ...inForce(copy),
        };
  const generation = metadata?.generation === undefined ? {} : { observedGeneration: metadata.generation };
  const condition = (type: string, why: Fault | undefined, well: ConditionReason): Condition => ({
    type,
    status: why === undefined ? 'True' : 'False',
    ...generation,
    reason: why === undefined ? well : reasonOf(why),
    message: clip(why?.message ?? '', 32_768),
    lastTransitionTime: apiTime(now),
  });
  const problem = fault ?? attributesFault;
  const next: VolumeStatus = {
    ...generation,
    phase: 'phase' in outcome ? outcome.phase : 'Ready',
    ...made,
    ...(problem === undefined ? {} : { message: clip(problem.message, 1024) }),
    conditions: [
      condition('Ready', copy === undefined ? fault : undefined, 'Created'),
      ...(copy === undefined ? [] : [condition(SIZED, fault, 'AsRequested')]),
      ...(copy === undefined ? [] : modified(object, copy, attributesFault, condition)),
      ...(copy?.needsNodeExpansion === true
        ? [condition(NODE_EXPANSION_REQUIRED, undefined, 'FilesystemSmaller')]
        : []),
    ],
  };
  return settle(previous, next);
}

/**
 * Whether the attributes are applied; nothing for a volume that never had any, or while that is
 * unknown.
 */
function modified(
  { spec }: LocalVolume,
  { attributes: found = {} }: Copy,
  fault: Fault | undefined,
  condition: (type: string, why: Fault | undefined, well: ConditionReason) => Condition,
): Condition[] {
  const wanted = attributesOf(spec);
  if (isFault(wanted)) return [condition(MODIFIED, wanted, 'AsRequested')];
  if (fault !== undefined) return [condition(MODIFIED, fault, 'AsRequested')];
  const isPlain = spec.mutableParameters === undefined && attributeNames(found).length === 0;
  return isPlain || !sameAttributes(found, wanted) ? [] : [condition(MODIFIED, undefined, 'AsRequested')];
}

function inForce({ attributes = {} }: Copy): Pick<VolumeStatus, 'mutableParameters'> {
  const names = attributeNames(attributes);
  if (names.length === 0) return {};
  return { mutableParameters: Object.fromEntries(names.map((name) => [name, String(attributes[name])])) };
}

/**
 * Returns the status of an object whose deletion is blocked by `fault`: the previous status, and
 * the fault.
 */
export function planHeldStatus(object: LocalVolume, fault: Fault, now: Date): VolumeStatus | undefined {
  const { conditions: _known, ...previous } = object.status ?? {};
  const conditions = ownConditions(object.status);
  const held: Condition = {
    type: 'Deleted',
    status: 'False',
    reason: reasonOf(fault),
    message: clip(fault.message, 32_768),
    lastTransitionTime: apiTime(now),
  };
  const next = {
    ...previous,
    message: clip(fault.message, 1024),
    conditions: [...conditions.filter(({ type }) => type !== 'Deleted'), held],
  };
  return settle(object.status, next);
}

/** Keeps the transition times of conditions that did not change; undefined when nothing is new. */
function settle(previous: VolumeStatus | undefined, next: VolumeStatus): VolumeStatus | undefined {
  const known = previous && { ...previous, conditions: ownConditions(previous) };
  const conditions = settleConditions(known?.conditions, next.conditions ?? []);
  const settled = { ...next, conditions };
  return canonicalJson(settled) === canonicalJson(known) ? undefined : settled;
}

/** The controller has conditions of its own beside the agent's. */
function ownConditions(status: VolumeStatus | undefined): readonly Condition[] {
  return (status?.conditions ?? []).filter(({ type }) => type !== REACHABLE && type !== OWNED);
}

function pick<T extends object, K extends keyof T>(
  from: T | undefined,
  keys: readonly K[],
): Partial<Pick<T, K>> {
  const picked: Partial<Pick<T, K>> = {};
  for (const key of keys) if (from?.[key] !== undefined) picked[key] = from[key];
  return picked;
}
