import type { NodeLabelRule } from '../../api/node-label-rule.ts';
import { Fault } from '../../core/fault.ts';
import { compileRule, type LabelRule } from '../../core/labels/label-rule.ts';
import type { ReadonlyStore } from '../../kube/object-store.ts';

/** A snapshot of the NodeLabelRules; the same object until one changes. */
export interface RuleSet {
  /** Rules that compile. */
  readonly valid: readonly LabelRule[];
  /** Rules that do not compile, with the error. */
  readonly invalid: ReadonlyMap<LabelRule, string>;
}

/** Keeps the rules of a store compiled. */
export class RuleBook {
  readonly #store: ReadonlyStore<NodeLabelRule>;
  /** Errors by version of a rule; empty when it is valid. */
  readonly #verdicts = new Map<string, string>();
  #rules: RuleSet | undefined;

  constructor(store: ReadonlyStore<NodeLabelRule>) {
    this.#store = store;
  }

  /** Invalidates the snapshot after a change in the store. */
  changed(): void {
    this.#rules = undefined;
  }

  current(): RuleSet {
    return (this.#rules ??= this.#read());
  }

  #read(): RuleSet {
    const rules = [...this.#store.values()].map(ruleOf).sort((a, b) => (a.name < b.name ? -1 : 1));
    const versions = new Set(rules.map(({ version }) => version));
    for (const version of [...this.#verdicts.keys()])
      if (!versions.has(version)) this.#verdicts.delete(version);
    const invalid = new Map<LabelRule, string>();
    const valid = rules.filter((rule) => {
      const reason = this.#check(rule);
      if (reason !== '') invalid.set(rule, reason);
      return reason === '';
    });
    return { valid, invalid };
  }

  #check({ version, spec }: LabelRule): string {
    let verdict = this.#verdicts.get(version);
    if (verdict === undefined) {
      verdict = '';
      try {
        compileRule(spec);
      } catch (error) {
        verdict = Fault.from(error).message;
      }
      this.#verdicts.set(version, verdict);
    }
    return verdict;
  }
}

/** Returns a rule as the engine reads it. */
export function ruleOf({ metadata, spec }: NodeLabelRule): LabelRule {
  const { name = '', uid = '', generation = 0 } = metadata ?? {};
  return { name, version: `${uid}/${generation}`, spec };
}
