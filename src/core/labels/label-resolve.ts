import type { DefaultLabels } from './default-labels.ts';
import { keysOf, type LabelRule, type RuleOutcome, type RuleTaint } from './label-rule.ts';

/** A rule and its outcome on one node. */
export interface RuleResult {
  readonly rule: LabelRule;
  readonly outcome: RuleOutcome;
}

/**
 * Desired labels, taints and extended resources of a node: label values by key, taints by
 * `taintId`, counts by resource name.
 */
export interface DesiredNodeState {
  readonly labels: ReadonlyMap<string, string>;
  readonly taints: ReadonlyMap<string, RuleTaint>;
  readonly resources: ReadonlyMap<string, number>;
}

/** A value of a rule that a node does not get, and the value it has instead. */
export interface Overruled {
  readonly rule: string;
  readonly message: string;
}

/** What a node gets from all rules, and what lost against other rules. */
export interface Resolution {
  readonly desired: DesiredNodeState;
  /** The rule that grants a label, taint or resource, by `labelId`, `taintId` or resource name. */
  readonly askedBy: ReadonlyMap<string, string>;
  readonly overruled: readonly Overruled[];
}

/** Key and effect identify a taint, whatever its value. */
export function taintId({ key, effect }: Pick<RuleTaint, 'key' | 'effect'>): string {
  return `${key}:${effect}`;
}

/**
 * Returns what a node gets from all rules. Of two rules that differ the higher priority wins, then
 * the name that sorts first; any rule wins over a default label. What a rule that cannot be
 * evaluated may have granted stays as it is in `owned`.
 */
export function resolveRules(
  results: readonly RuleResult[],
  defaults: DefaultLabels,
  owned: DesiredNodeState,
): Resolution {
  const sorted = [...results].sort((a, b) => compareRules(a.rule, b.rule));
  const askedBy = new Map<string, string>();
  const overruled: Overruled[] = [];
  const settle = <V>(what: string, part: GrantPart<V>): Map<string, V> =>
    settlePart(what, part, { sorted, askedBy, overruled });
  const same = <V>(a: V, b: V): boolean => a === b;
  const labels = settle('label', {
    given: ({ outcome }) => new Map(outcome.state === 'matched' ? Object.entries(outcome.grant.labels) : []),
    possible: ({ rule }) => keysOf(rule.spec).labels,
    same,
    kept: owned.labels,
  });
  for (const [key, value] of Object.entries(defaults.labels)) if (!labels.has(key)) labels.set(key, value);
  for (const [key, value] of owned.labels) {
    if (!labels.has(key) && defaults.isUnknown(key)) labels.set(key, value);
  }
  const taints = settle('taint', {
    given: ({ outcome }) => byId(outcome.state === 'matched' ? outcome.grant.taints : []),
    possible: ({ rule }) => keysOf(rule.spec).taints.map(taintId),
    same: (a: RuleTaint, b: RuleTaint) => (a.value ?? '') === (b.value ?? ''),
    kept: owned.taints,
  });
  const resources = settle('resource', {
    given: ({ outcome }) =>
      new Map(outcome.state === 'matched' ? Object.entries(outcome.grant.resources) : []),
    possible: ({ rule }) => keysOf(rule.spec).resources,
    same,
    kept: owned.resources,
  });
  return { desired: { labels, taints, resources }, askedBy, overruled };
}

/** One part of what rules grant: labels, taints or resources. */
interface GrantPart<V> {
  readonly given: (result: RuleResult) => ReadonlyMap<string, V>;
  /** Everything that the rule may grant on any node. */
  readonly possible: (result: RuleResult) => readonly string[];
  readonly same: (a: V, b: V) => boolean;
  /** What rules own on the node now. */
  readonly kept: ReadonlyMap<string, V>;
}

function settlePart<V>(
  what: string,
  part: GrantPart<V>,
  {
    sorted,
    askedBy,
    overruled,
  }: {
    readonly sorted: readonly RuleResult[];
    readonly askedBy: Map<string, string>;
    readonly overruled: Overruled[];
  },
): Map<string, V> {
  const desired = new Map<string, V>();
  for (const result of sorted) {
    const rule = result.rule.name;
    for (const [id, value] of part.given(result)) {
      const held = desired.get(id);
      if (held === undefined) {
        desired.set(id, value);
        askedBy.set(`${what} ${id}`, rule);
      } else if (!part.same(held, value)) {
        const winner = askedBy.get(`${what} ${id}`) ?? '';
        overruled.push({ rule, message: `${what} ${id}: rule ${winner} sets another value` });
      }
    }
  }
  for (const result of sorted) {
    if (result.outcome.state !== 'failed' && result.outcome.state !== 'unknown') continue;
    for (const id of part.possible(result)) {
      const value = part.kept.get(id);
      if (value !== undefined && !desired.has(id)) desired.set(id, value);
    }
  }
  return desired;
}

function compareRules(a: LabelRule, b: LabelRule): number {
  const byPriority = (b.spec.priority ?? 0) - (a.spec.priority ?? 0);
  if (byPriority !== 0) return byPriority;
  return a.name < b.name ? -1 : 1;
}

function byId(taints: readonly RuleTaint[]): Map<string, RuleTaint> {
  return new Map(taints.map((taint) => [taintId(taint), taint]));
}
