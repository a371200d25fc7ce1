import { Fault, isFault } from '../fault.ts';
import { compileExpression, type Expression, type ExpressionType } from './label-expression.ts';
import { type NodeFacts, toCelFacts } from './label-facts.ts';
import { isLabelValue, type KeyUse, refuseKey } from '../kube-text/label-keys.ts';
import { selectsLabels } from '../kube-text/label-selector.ts';
import type { Selector } from '../policies/policy.ts';

type TaintEffect = 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute';

/** A taint that a rule grants. */
export interface RuleTaint {
  readonly key: string;
  readonly value?: string | undefined;
  readonly effect: TaintEffect;
}

/** The spec of a NodeLabelRule. */
export interface LabelRuleSpec {
  readonly nodeSelector?:
    | {
        readonly matchLabels?: Selector['matchLabels'] | undefined;
        readonly matchExpressions?:
          | readonly {
              readonly key: string;
              readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
              readonly values?: readonly string[] | undefined;
            }[]
          | undefined;
      }
    | undefined;
  readonly priority?: number | undefined;
  readonly match: string;
  readonly evictPods?: boolean | undefined;
  readonly labels?:
    | readonly {
        readonly key: string;
        readonly value?: string | undefined;
        readonly expression?: string | undefined;
      }[]
    | undefined;
  readonly taints?: readonly RuleTaint[] | undefined;
  readonly extendedResources?:
    | readonly {
        readonly name: string;
        readonly quantity?: number | undefined;
        readonly expression?: string | undefined;
      }[]
    | undefined;
}

/** A NodeLabelRule as the engine reads it. */
export interface LabelRule {
  readonly name: string;
  /** Changes with the spec, and when the rule is re-created. */
  readonly version: string;
  readonly spec: LabelRuleSpec;
}

/** What a rule grants a node. */
interface Grant {
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly RuleTaint[];
  readonly resources: Readonly<Record<string, number>>;
}

/**
 * The outcome of a rule on a node. `unknown` (no facts yet) and `failed` leave the node's labels as
 * they are.
 */
export type RuleOutcome =
  | { readonly state: 'matched'; readonly grant: Grant }
  | { readonly state: 'unmatched' }
  | { readonly state: 'unknown' }
  | { readonly state: 'failed'; readonly message: string };

/** Evaluates one rule on nodes; never throws. */
export type CompiledRule = (facts: NodeFacts) => RuleOutcome;

/** Compiles a rule. Throws `invalid` that names every invalid field. */
export function compileRule(spec: LabelRuleSpec): CompiledRule {
  const problems: string[] = [];
  const compile = (field: string, text: string, type: ExpressionType): Expression => {
    try {
      return compileExpression(text, type);
    } catch (error) {
      problems.push(`${field}: ${Fault.from(error).message}`);
      return () => undefined;
    }
  };
  const check = (field: string, key: string, use: KeyUse): void => {
    const refusal = refuseKey(key, use);
    if (refusal !== undefined) problems.push(`${field}: ${refusal}`);
  };
  const match = compile('spec.match', spec.match, 'bool');
  const labels = (spec.labels ?? []).map(({ key, value, expression }, index) => {
    const field = `spec.labels[${index}]`;
    check(`${field}.key`, key, 'label');
    const constant = value ?? '';
    const text = expression === undefined ? undefined : compile(`${field}.expression`, expression, 'string');
    return { key, field: `${field}.expression`, evaluate: text ?? (() => constant) };
  });
  const taints = spec.taints ?? [];
  for (const [index, { key, effect }] of taints.entries()) {
    check(`spec.taints[${index}].key`, key, 'taint');
    if (effect === 'NoExecute' && spec.evictPods !== true) {
      problems.push(
        `spec.taints[${index}].effect: NoExecute evicts pods that run on a node; set spec.evictPods to true to allow that`,
      );
    }
  }
  const resources = (spec.extendedResources ?? []).map(({ name, quantity, expression }, index) => {
    const field = `spec.extendedResources[${index}]`;
    check(`${field}.name`, name, 'resource');
    const constant = BigInt(quantity ?? 0);
    const count = expression === undefined ? undefined : compile(`${field}.expression`, expression, 'int');
    return { name, field: `${field}.expression`, evaluate: count ?? (() => constant) };
  });
  if (problems.length > 0) throw new Fault('invalid', problems.join('\n'));
  return (facts) => evaluateRule(spec, { match, labels, taints, resources }, facts);
}

interface CompiledGrants {
  readonly match: Expression;
  readonly labels: readonly { readonly key: string; readonly field: string; readonly evaluate: Expression }[];
  readonly taints: readonly RuleTaint[];
  readonly resources: readonly {
    readonly name: string;
    readonly field: string;
    readonly evaluate: Expression;
  }[];
}

function evaluateRule(
  spec: LabelRuleSpec,
  { match, labels, taints, resources }: CompiledGrants,
  facts: NodeFacts,
): RuleOutcome {
  let field = 'spec.match';
  try {
    if (!isSelected(spec, facts)) return { state: 'unmatched' };
    const cel = toCelFacts(facts);
    if (match(cel) !== true) return { state: 'unmatched' };
    const given: Record<string, string> = {};
    for (const label of labels) {
      field = label.field;
      given[label.key] = labelValue(label.evaluate(cel) as string);
    }
    const counts: Record<string, number> = {};
    for (const resource of resources) {
      field = resource.field;
      counts[resource.name] = resourceCount(resource.evaluate(cel) as bigint);
    }
    return { state: 'matched', grant: { labels: given, taints, resources: counts } };
  } catch (error) {
    if (!isFault(error)) throw error;
    return { state: 'failed', message: `${field}: ${error.message}` };
  }
}

/**
 * Returns everything that a rule may write on any node: this stays while the rule cannot be
 * evaluated.
 */
export function keysOf({ labels, taints, extendedResources }: LabelRuleSpec): {
  readonly labels: readonly string[];
  readonly taints: readonly RuleTaint[];
  readonly resources: readonly string[];
} {
  return {
    labels: (labels ?? []).map(({ key }) => key),
    taints: taints ?? [],
    resources: (extendedResources ?? []).map(({ name }) => name),
  };
}

function isSelected({ nodeSelector }: LabelRuleSpec, { node }: NodeFacts): boolean {
  return selectsLabels(nodeSelector, node.labels);
}

function labelValue(value: string): string {
  if (isLabelValue(value)) return value;
  throw new Fault(
    'invalid',
    `the result ${JSON.stringify(value.slice(0, 100))} is not a label value (at most 63 letters, digits, '-', '_' and '.'); labelValue() converts any text to one`,
  );
}

function resourceCount(count: bigint): number {
  if (count >= 0n && count <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(count);
  throw new Fault('invalid', `the result ${count} is not a count`);
}
