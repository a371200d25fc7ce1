import {
  type ApiCondition,
  apiTime,
  canonicalJson,
  clip,
  settleConditions,
} from '../kube-text/api-status.ts';
import type { ConditionReason } from '../reasons/condition-reasons.ts';
import type { PolicyFacts } from './policy-report.ts';

/** Status of a RuntimePolicy. */
export interface PolicyStatus {
  readonly observedGeneration?: number | undefined;
  readonly nodes?: number | undefined;
  readonly conditions?: readonly ApiCondition[] | undefined;
}

/** What the status of a RuntimePolicy depends on. */
export interface PolicyStatusInput {
  readonly name: string;
  readonly uid: string;
  readonly generation: number;
  /** What every node reports of its proxy; `policies` is undefined for a node without a proxy. */
  readonly nodes: readonly { readonly name: string; readonly policies: readonly PolicyFacts[] | undefined }[];
  readonly previous: PolicyStatus | undefined;
}

/** A message lists this many nodes. */
const NAMED = 5;

/** Returns the status of a policy to write; undefined when it is unchanged. */
export function planPolicyStatus(
  { name, uid, generation, nodes, previous }: PolicyStatusInput,
  now: Date,
): PolicyStatus | undefined {
  const proxied = nodes.flatMap(({ name: node, policies }) =>
    policies === undefined
      ? []
      : [{ node, facts: policies.find((one) => one.name === name && one.uid === uid) }],
  );
  const inForce = proxied.filter(
    ({ facts }) => facts?.generation === generation && facts.problem === undefined,
  );
  const refused = proxied.filter(({ facts }) => facts?.problem !== undefined);
  const waiting = proxied.filter((one) => !inForce.includes(one) && !refused.includes(one));
  const unproxied = nodes.filter(({ policies }) => policies === undefined).map((node) => node.name);
  const verdict = ((): Pick<ApiCondition, 'status' | 'message'> & { readonly reason: ConditionReason } => {
    const without = unproxied.length === 0 ? '' : `; no CRI proxy on ${list(unproxied)}`;
    if (refused.length > 0) {
      const said = refused.slice(0, NAMED).map(({ node, facts }) => `${node}: ${facts?.problem ?? ''}`);
      return { status: 'False', reason: 'Refused', message: `${said.join('\n')}${without}` };
    }
    if (waiting.length > 0) {
      const names = list(waiting.map(({ node }) => node));
      return { status: 'False', reason: 'Pending', message: `not yet enforced on ${names}${without}` };
    }
    if (proxied.length === 0) {
      return {
        status: 'False',
        reason: 'ProxyNotRunning',
        message: 'no node has a CRI proxy',
      };
    }
    return { status: 'True', reason: 'Enforced', message: without.replace('; ', '') };
  })();
  const ready = {
    type: 'Ready',
    ...verdict,
    message: clip(verdict.message, 4_096),
    observedGeneration: generation,
    lastTransitionTime: apiTime(now),
  };
  const next: PolicyStatus = {
    observedGeneration: generation,
    nodes: inForce.length,
    conditions: settleConditions(previous?.conditions, [ready]),
  };
  return canonicalJson(next) === canonicalJson(previous) ? undefined : next;
}

function list(names: readonly string[]): string {
  const more = names.length > NAMED ? ` and ${names.length - NAMED} more nodes` : '';
  return `${[...names].sort().slice(0, NAMED).join(', ')}${more}`;
}
