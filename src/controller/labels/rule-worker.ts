import { parentPort, workerData } from 'node:worker_threads';
import type { NodeFacts } from '../../core/labels/label-facts.ts';
import type { LabelRule, RuleOutcome } from '../../core/labels/label-rule.ts';
import { CompiledRules } from './rule-evaluator.ts';

export interface RuleWorkerData {
  /** Two Int32: the number of rules begun, and the index of the last of them. */
  readonly progress: SharedArrayBuffer;
}

/** New rules, which stay until the next ones, or a node to evaluate them on. */
export type RuleWorkerRequest = { readonly rules: readonly LabelRule[] } | { readonly facts: NodeFacts };

export type RuleWorkerReply = readonly RuleOutcome[];

if (parentPort !== null) {
  const port = parentPort;
  const progress = new Int32Array((workerData as RuleWorkerData).progress);
  const compiled = new CompiledRules();
  let rules: readonly LabelRule[] = [];
  port.on('message', (request: RuleWorkerRequest) => {
    if ('rules' in request) {
      rules = request.rules;
      compiled.use(rules);
      return;
    }
    const outcomes = rules.map((rule, index) => {
      Atomics.store(progress, 1, index);
      Atomics.add(progress, 0, 1);
      return compiled.evaluate(rule, request.facts);
    });
    port.postMessage(outcomes satisfies RuleWorkerReply);
  });
}
