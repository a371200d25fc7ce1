import { Fault } from '../../core/fault.ts';
import type { NodeFacts } from '../../core/labels/label-facts.ts';
import {
  type CompiledRule,
  compileRule,
  type LabelRule,
  type RuleOutcome,
} from '../../core/labels/label-rule.ts';

/** Evaluates rules on a node. */
export interface RuleEvaluator {
  /**
   * Resolves to one outcome for each of `rules`, in their order. Rejects when the evaluator itself
   * fails.
   */
  evaluate(rules: readonly LabelRule[], facts: NodeFacts): Promise<readonly RuleOutcome[]>;
}

/** Compiles each rule on its first evaluation, and keeps it until another set is used. */
export class CompiledRules {
  #compiled = new Map<string, CompiledRule>();

  /** Forgets all rules but these. */
  use(rules: readonly LabelRule[]): void {
    const known = this.#compiled;
    this.#compiled = new Map(
      rules.map((rule) => [rule.version, known.get(rule.version) ?? lazily(rule)] as const),
    );
  }

  evaluate({ version }: LabelRule, facts: NodeFacts): RuleOutcome {
    return this.#compiled.get(version)?.(facts) ?? { state: 'unknown' };
  }
}

/** Evaluates in this thread, without a time limit: for tests and trusted rules. */
export function createInlineEvaluator(): RuleEvaluator {
  const compiled = new CompiledRules();
  return {
    async evaluate(rules, facts) {
      compiled.use(rules);
      return rules.map((rule) => compiled.evaluate(rule, facts));
    },
  };
}

function lazily({ spec }: LabelRule): CompiledRule {
  let compiled: CompiledRule | undefined;
  return (facts) => {
    try {
      compiled ??= compileRule(spec);
      return compiled(facts);
    } catch (error) {
      return { state: 'failed', message: Fault.from(error).message };
    }
  };
}
