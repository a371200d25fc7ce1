import {
  type LocalVolume,
  NODE_EXPANSION_REQUIRED,
  OWNED,
  REACHABLE,
  SIZED,
} from '../../src/api/local-volume.ts';
import type { Condition } from '../../src/api/schema.ts';
import { apiTime, canonicalJson, clip, reasonOf, settleConditions } from '../../src/core/api-status.ts';
import type { Fault, FaultKind } from '../../src/core/fault.ts';
import { formatQuantity } from '../../src/core/quantity.ts';
import type { Copy } from './local-volume-plan.ts';

export type VolumeStatus = NonNullable<LocalVolume['status']>;
export type Phase = NonNullable<VolumeStatus['phase']>;

/** How a step ended. `fault` with a copy: it serves, but its size could not be changed. */
export type Outcome =
  | { readonly copy: Copy; readonly fault?: Fault }
  | { readonly phase: Exclude<Phase, 'Ready'>; readonly fault: Fault };

/** What becomes of a LocalVolume without data after `fault`; undefined when it passes by itself and is not worth a word. */
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

/** The status that tells of `outcome`, or undefined where the object says so already. */
export function planStatus(object: LocalVolume, outcome: Outcome, now: Date): VolumeStatus | undefined {
  const { metadata, status: previous } = object;
  const { fault } = outcome;
  const copy = 'copy' in outcome ? outcome.copy : undefined;
  const made =
    copy === undefined
      ? pick(previous, ['capacity', 'volumeHandle', 'creationTime'])
      : {
          capacity: formatQuantity(copy.sizeBytes),
          volumeHandle: copy.id,
          creationTime: apiTime(new Date(copy.createdAtMs)),
        };
  const generation = metadata?.generation === undefined ? {} : { observedGeneration: metadata.generation };
  const condition = (type: string, problem: Fault | undefined, well: string): Condition => ({
    type,
    status: problem === undefined ? 'True' : 'False',
    ...generation,
    reason: problem === undefined ? well : reasonOf(problem),
    message: clip(problem?.message ?? '', 32_768),
    lastTransitionTime: apiTime(now),
  });
  const next: VolumeStatus = {
    ...generation,
    phase: 'phase' in outcome ? outcome.phase : 'Ready',
    ...made,
    ...(fault === undefined ? {} : { message: clip(fault.message, 1024) }),
    conditions: [
      condition('Ready', copy === undefined ? fault : undefined, 'Made'),
      ...(copy === undefined ? [] : [condition(SIZED, fault, 'AsAsked')]),
      ...(copy?.needsNodeExpansion === true
        ? [condition(NODE_EXPANSION_REQUIRED, undefined, 'FileSystemIsSmaller')]
        : []),
    ],
  };
  return settle(previous, next);
}

/** The status of an object whose deletion is held up by `fault`: all that was said before, and that. */
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

/** Conditions that did not turn keep the time of their last turn; undefined when then nothing is new. */
function settle(previous: VolumeStatus | undefined, next: VolumeStatus): VolumeStatus | undefined {
  const known = previous && { ...previous, conditions: ownConditions(previous) };
  const conditions = settleConditions(known?.conditions, next.conditions ?? []);
  const settled = { ...next, conditions };
  return canonicalJson(settled) === canonicalJson(known) ? undefined : settled;
}

/** The controller has conditions of its own beside ours. */
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
