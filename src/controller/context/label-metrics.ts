import { Counter, Gauge } from 'prom-client';
import type { RuleOutcome } from '../../core/labels/label-rule.ts';
import type { MetricsRegistry } from '../../runtime/metrics.ts';

export type NodePart = 'labels' | 'taints' | 'resources';

/** The figures of labels by rules. */
export interface LabelMetrics {
  /** A rule was evaluated on a node. */
  evaluated(state: RuleOutcome['state']): void;
  /** A Node was written. */
  written(part: NodePart): void;
  /** Rules that cannot be evaluated on any node, and those that others stand in the way of or that fail somewhere. */
  rules(counts: { readonly invalid: number; readonly failing: number; readonly conflicting: number }): void;
}

/** Registers the figures; call it once for a registry. */
export function createLabelMetrics(registry: MetricsRegistry): LabelMetrics {
  const registers = [registry];
  const evaluations = new Counter({
    name: 'keelson_controller_label_rule_evaluations_total',
    help: 'Evaluations of a NodeLabelRule on a node',
    labelNames: ['state'],
    registers,
  });
  const writes = new Counter({
    name: 'keelson_controller_node_writes_total',
    help: 'Writes to Nodes, by what was written',
    labelNames: ['part'],
    registers,
  });
  const rules = new Gauge({
    name: 'keelson_controller_label_rules',
    help: 'NodeLabelRules with something wrong: invalid, failing on a node, or in conflict on a node',
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
