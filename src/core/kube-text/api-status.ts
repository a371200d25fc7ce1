import type { FaultReason } from '../reasons/condition-reasons.ts';
import type { Fault } from '../fault.ts';

/** A metav1.Condition. */
export interface ApiCondition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly observedGeneration?: number | undefined;
  readonly lastTransitionTime: string;
  readonly reason: string;
  readonly message: string;
}

/** Returns `next`; conditions whose status did not change keep their lastTransitionTime. */
export function settleConditions<C extends ApiCondition>(
  previous: readonly C[] | undefined,
  next: readonly C[],
): C[] {
  const known = new Map(previous?.map((condition) => [condition.type, condition]));
  return next.map((condition) => {
    const before = known.get(condition.type);
    return before?.status === condition.status
      ? { ...condition, lastTransitionTime: before.lastTransitionTime }
      : condition;
  });
}

/**
 * Returns the same text for equal values, whatever the order of their keys; undefined values count
 * as absent.
 */
export function canonicalJson(value: unknown): string {
  const sortKeys = (_key: string, part: unknown): unknown =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part;
  return JSON.stringify(value ?? null, sortKeys);
}

/** Formats a metav1.Time: whole seconds. */
export function apiTime(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}

/** Returns the kind of a fault as a condition reason: `not-found` is NotFound. */
export function reasonOf({ kind }: Pick<Fault, 'kind'>): FaultReason {
  const reason = kind
    .split('-')
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('');
  return reason as FaultReason;
}

/** Returns at most `length` characters of `text`. */
export function clip(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}
