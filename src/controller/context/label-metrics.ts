import { Counter, Gauge } from 'prom-client';
import type { RuleOutcome } from '../../core/labels/label-rule.ts';
import type { MetricsRegistry } from '../../runtime/metrics.ts';

export type NodePart = 'labels' | 'taints' | 'resources';

/** Metrics of node labelling. */
export interface LabelMetrics {
  /** Counts the evaluation of a rule on a node. */
  evaluated(state: RuleOutcome['state']): void;
  /** Counts a write to a Node. */
  written(part: NodePart): void;
  /**
   * Sets the numbers of rules that cannot be evaluated, that fail on a node, and that conflict with
   * another owner.
   */
  rules(counts: { readonly invalid: number; readonly failing: number; readonly conflicting: number }): void;
}

/** Registers the metrics; at most once per registry. */
export function createLabelMetrics(registry: MetricsRegistry): LabelMetrics {
  const registers = [registry];
  const evaluations = new Counter({
    name: 'keelson_controller_label_rule_evaluations_total',
    help: 'Evaluations of a NodeLabelRule on a node, by result',
    labelNames: ['state'],
    registers,
  });
  const writes = new Counter({
    name: 'keelson_controller_node_writes_total',
    help: 'Writes to Nodes, by the part written',
    labelNames: ['part'],
    registers,
  });
  const rules = new Gauge({
    name: 'keelson_controller_label_rules',
    help: 'NodeLabelRules with a problem: invalid, failing on a node, or in conflict on a node',
    labelNames: ['problem'],
    registers,
  });
  return {
    evaluated: (state) => evaluations.inc({ state }),
    written: (part) => writes.inc({ part }),
    rules: (counts) => {
      for (const [problem, count] of Object.entries(counts)) rules.set({ problem }, count);
    },
  };
}
