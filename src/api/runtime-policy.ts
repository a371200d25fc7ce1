import { z } from 'zod';
import { AGE, conditionColumn, type KindDefinition, type KindObject, resourceOf } from './kind.ts';
import { field } from '../core/kube-text/document-schema.ts';
import { policySpec } from '../core/policies/policy-schema.ts';
import { conditions, observedGeneration } from './schema.ts';

const status = z.object({
  observedGeneration,
  nodes: field(
    z.int().min(0),
    'Number of nodes whose proxy enforces this generation of the policy.',
  ).optional(),
  conditions,
});

/** Definition of the kind RuntimePolicy. */
export const RUNTIME_POLICY_KIND: KindDefinition = {
  kind: 'RuntimePolicy',
  plural: 'runtimepolicies',
  singular: 'runtimepolicy',
  shortNames: ['rpol'],
  description:
    "What happens to kubelet's calls to the container runtime: they are changed, denied or logged. The same document works as a file of the proxy.",
  spec: policySpec,
  status: field(status, 'Observed state.'),
  columns: [
    { name: 'Failure', type: 'string', jsonPath: '.spec.failurePolicy' },
    { name: 'DryRun', type: 'boolean', jsonPath: '.spec.dryRun' },
    { name: 'Deny', type: 'string', jsonPath: '.spec.deny.message', priority: 1 },
    { name: 'Nodes', type: 'integer', jsonPath: '.status.nodes' },
    conditionColumn('Ready'),
    AGE,
  ],
};

/**
 * A policy as in the API; `parsePolicies` (src/core/policies/policy-parse.ts) accepts the same
 * document from a file.
 */
export type RuntimePolicyObject = KindObject<typeof policySpec, typeof status>;
/** The resource of RuntimePolicies. */
export const RUNTIME_POLICIES = resourceOf<RuntimePolicyObject>(RUNTIME_POLICY_KIND);
