import type { ConditionReason } from '../../core/reasons/condition-reasons.ts';
import { NODE_LABEL_RULES, type NodeLabelRule } from '../../api/node-label-rule.ts';
import {
  type ApiCondition,
  apiTime,
  canonicalJson,
  clip,
  settleConditions,
} from '../../core/kube-text/api-status.ts';
import { isFault } from '../../core/fault.ts';
import type { Overruled, RuleResult } from '../../core/labels/label-resolve.ts';
import type { RuleOutcome } from '../../core/labels/label-rule.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Informer } from '../../kube/informer.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { LabelMetrics } from '../context/label-metrics.ts';
import { type RuleBook, ruleOf } from './rule-book.ts';

/** The outcome of one rule on one node. */
interface Report {
  readonly version: string;
  readonly outcome: RuleOutcome;
  readonly conflicts: readonly string[];
}

/** A status lists this many nodes and counts the others. */
const NAMED_NODES = 10;
const FIELD_MANAGER = 'keelson-node-label-rules';

/** The outcomes of all rules on all nodes. */
export class RuleReports {
  readonly #nodes = new Map<string, ReadonlyMap<string, Report>>();
  readonly #changed: () => void;

  /** `changed` is called after every change. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  note(nodeName: string, results: readonly RuleResult[], overruled: readonly Overruled[]): void {
    this.#nodes.set(
      nodeName,
      new Map(
        results.map(({ rule, outcome }) => {
          const conflicts = overruled.filter((one) => one.rule === rule.name).map(({ message }) => message);
          return [rule.name, { version: rule.version, outcome, conflicts }];
        }),
      ),
    );
    this.#changed();
  }

  forget(nodeName: string): void {
    if (this.#nodes.delete(nodeName)) this.#changed();
  }

  /**
   * Returns the outcomes of a rule, ordered by node name; undefined while a node of `nodes` has not
   * evaluated this version.
   */
  of(
    rule: string,
    version: string,
    nodes: Iterable<string>,
  ): readonly (readonly [string, Report])[] | undefined {
    const reports: [string, Report][] = [];
    for (const name of nodes) {
      const report = this.#nodes.get(name)?.get(rule);
      if (report?.version !== version) return undefined;
      reports.push([name, report]);
    }
    return reports.sort(([a], [b]) => (a < b ? -1 : 1));
  }
}

export interface RuleStatusDeps {
  readonly client: Pick<KubeClient, 'patch'>;
  readonly rules: Informer<NodeLabelRule>;
  readonly book: RuleBook;
  readonly reports: RuleReports;
  readonly nodeNames: () => Iterable<string>;
  readonly metrics: LabelMetrics;
  readonly clock: Clock;
}

/**
 * Writes the status of every rule; a rule that some node has not evaluated yet keeps its status.
 */
export async function writeRuleStatuses(deps: RuleStatusDeps, signal: AbortSignal): Promise<void> {
  const { client, rules, book, reports, nodeNames, metrics, clock } = deps;
  const invalid = new Map([...book.current().invalid].map(([rule, why]) => [rule.version, why]));
  const counts = { invalid: invalid.size, failing: 0, conflicting: 0 };
  for (const object of [...rules.store.values()]) {
    const { name, version } = ruleOf(object);
    const nodeReports = reports.of(name, version, nodeNames());
    if (nodeReports === undefined) continue;
    const status = describeRule(object, nodeReports, invalid.get(version), new Date(clock.nowMs()));
    if ((status?.failedNodes ?? 0) > 0) counts.failing += 1;
    if ((status?.conflictingNodes ?? 0) > 0) counts.conflicting += 1;
    if (canonicalJson(status) === canonicalJson(object.status)) continue;
    try {
      const apply = { apply: { status }, fieldManager: FIELD_MANAGER, force: true };
      const answer = await client.patch(NODE_LABEL_RULES, { name }, apply, { subresource: 'status', signal });
      rules.remember(answer);
    } catch (error) {
      if (!isFault(error, 'not-found')) throw error;
    }
  }
  metrics.rules(counts);
}

/** Returns the status of a rule. */
function describeRule(
  { metadata, status: previous }: NodeLabelRule,
  nodeReports: readonly (readonly [nodeName: string, report: Report])[],
  invalid: string | undefined,
  now: Date,
): NodeLabelRule['status'] {
  const generation = metadata?.generation ?? 0;
  const failed = nodeReports.flatMap(([nodeName, { outcome }]) =>
    outcome.state === 'failed' ? [{ nodeName, message: clip(outcome.message, 1_024) }] : [],
  );
  const conflicting = nodeReports.flatMap(([nodeName, { conflicts }]) =>
    conflicts.length === 0 ? [] : [{ nodeName, message: clip(conflicts.join('\n'), 1_024) }],
  );
  const condition = (
    type: string,
    holds: boolean | undefined,
    reason: ConditionReason,
    message: string,
  ): ApiCondition => ({
    type,
    status: holds === undefined ? 'Unknown' : holds ? 'True' : 'False',
    observedGeneration: generation,
    lastTransitionTime: apiTime(now),
    reason,
    message: clip(message, 32_768),
  });
  const applied = (): ApiCondition => {
    if (invalid !== undefined)
      return condition('Applied', undefined, 'Invalid', 'labels already applied stay');
    const problems = [
      ...(failed.length === 0
        ? []
        : [`the rule fails on ${nodes(failed)}; labels already applied there stay`]),
      ...(conflicting.length === 0 ? [] : [`conflict with another field manager on ${nodes(conflicting)}`]),
    ];
    if (problems.length === 0) return condition('Applied', true, 'Applied', '');
    return condition('Applied', false, failed.length > 0 ? 'Failed' : 'Conflict', problems.join('; '));
  };
  return {
    observedGeneration: generation,
    matchedNodes: nodeReports.filter(([, { outcome }]) => outcome.state === 'matched').length,
    ...(failed.length === 0 ? {} : { failedNodes: failed.length, failures: failed.slice(0, NAMED_NODES) }),
    ...(conflicting.length === 0
      ? {}
      : { conflictingNodes: conflicting.length, conflicts: conflicting.slice(0, NAMED_NODES) }),
    conditions: settleConditions(previous?.conditions as ApiCondition[] | undefined, [
      condition('Valid', invalid === undefined, invalid === undefined ? 'Valid' : 'Invalid', invalid ?? ''),
      applied(),
    ]),
  };
}

function nodes(list: readonly unknown[]): string {
  return list.length === 1 ? '1 node' : `${list.length} nodes`;
}
