import { z } from 'zod';
import { AGE, conditionColumn, type KindDefinition, type KindObject, resourceOf } from './kind.ts';
import { conditions, field, labelSelector, observedGeneration, quantity, type Rule } from './schema.ts';

const texts = z.record(z.string(), z.string().max(4096));
const keys = z.array(z.string().max(316)).max(64);

const DISJOINT: Rule = {
  rule: '!has(self.set) || !has(self.remove) || self.remove.all(key, !(key in self.set))',
  message: 'must not set and remove the same key',
};

function entries(description: string, what: Rule) {
  const { rule, message } = what;
  return field(
    z.object({
      set: field(texts, 'What is set, over what the pod or its image says.', {
        maxProperties: 64,
        rules: [{ rule: `self.all(key, ${rule})`, message }],
      }).optional(),
      remove: field(keys, 'What is removed.', {
        set: true,
        rules: [{ rule: `self.all(key, ${rule})`, message }],
      }).optional(),
    }),
    description,
    { rules: [DISJOINT] },
  );
}

const ENV_NAME: Rule = {
  rule: "key.size() > 0 && !key.contains('=')",
  message: 'must be variable names without "="',
};
const NOT_KUBELETS: Rule = {
  rule: "key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && !key.startsWith('io.kubernetes.') && !key.startsWith('io.kubernetes/')",
  message:
    "must be names like team or example.com/team, and must not begin with io.kubernetes.: these are kubelet's own",
};

const orUnlimited: Rule = {
  rule: 'self == -1 || self > 0',
  message: 'must be at least 1, or -1 for no limit',
};
const cpuList = z
  .string()
  .max(256)
  .regex(/^\d+(-\d+)?(,\d+(-\d+)?)*$/);

const resources = z.object({
  cpuPeriod: field(z.int().min(1), 'Microseconds.').optional(),
  cpuQuota: field(z.int(), 'Microseconds a period; -1 is no limit.', { rules: [orUnlimited] }).optional(),
  cpuShares: field(z.int().min(1), 'Weight among containers.').optional(),
  memoryLimit: field(quantity, 'E.g. 64Mi.').optional(),
  memorySwapLimit: field(
    z
      .string()
      .max(32)
      .regex(/^(-1|\d+(\.\d{1,9})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?)$/),
    'Memory and swap together; -1 is no limit.',
  ).optional(),
  oomScoreAdj: field(z.int().min(-1000).max(1000), 'The higher, the sooner it is killed.').optional(),
  cpusetCpus: field(cpuList, 'CPUs, as a list: 0-3,7.').optional(),
  cpusetMems: field(cpuList, 'Memory nodes, as a list.').optional(),
  unified: field(texts, 'Files of cgroup v2: memory.high.', {
    maxProperties: 32,
    rules: [
      {
        rule: "self.all(file, file.matches('^[a-z][a-z0-9_]*([.][a-z0-9_]+)+$'))",
        message: 'must be files of cgroup v2 like memory.high',
      },
    ],
  }).optional(),
});

const patterns = z.array(z.string().min(1).max(512)).min(1).max(64);

const match = z.object({
  operations: field(
    z
      .array(z.enum(['CreateContainer', 'RunPodSandbox']))
      .min(1)
      .max(2),
    'Calls that it looks at; all of them when absent.',
    { set: true },
  ).optional(),
  namespaces: field(patterns, 'Names, or patterns with *; all when absent.').optional(),
  podSelector: labelSelector('Labels of the pod; all pods when absent.').optional(),
  images: field(patterns, 'Patterns with * and ? for the image of a container; all when absent.').optional(),
});

const spec = z.object({
  match: field(match, 'Which calls of kubelet it is about; all when absent.').optional(),
  mutate: field(
    z.object({
      env: entries('Variables of containers.', ENV_NAME).optional(),
      labels: entries('Labels, as the runtime sees them.', NOT_KUBELETS).optional(),
      annotations: entries('Annotations, as the runtime sees them.', NOT_KUBELETS).optional(),
      resources: field(resources, 'Limits of containers.').optional(),
    }),
    'What it changes.',
  ).optional(),
  deny: field(
    z.object({
      message: field(z.string().min(1).max(1024), 'Says why; it is shown in the events of the pod.'),
      includeSystemPods: field(
        z.boolean().default(false),
        'Also for kube-system and static pods, which are exempt otherwise.',
      ),
    }),
    'Refuses the call.',
  ).optional(),
  audit: field(z.boolean().default(false), 'Writes each match to the log.'),
  failurePolicy: field(
    z.enum(['Ignore', 'Fail']).default('Ignore'),
    'What becomes of a call when the policy cannot be applied. System and static pods always pass.',
  ),
  dryRun: field(z.boolean().default(false), 'Effects are logged and counted, not applied.'),
});

const status = z.object({
  observedGeneration,
  nodes: field(z.int().min(0), 'Nodes whose proxy has this version of the policy.').optional(),
  conditions,
});

/** Without CreateContainer among the operations, what only containers have makes no sense. */
const SANDBOX_ONLY =
  "has(self.match) && has(self.match.operations) && !self.match.operations.exists(operation, operation == 'CreateContainer')";

function needsContainers(path: string, has: string, why: string): Rule {
  return {
    rule: `!(${SANDBOX_ONLY}) || !(${has})`,
    message: `${path} needs the operation CreateContainer${why}`,
  };
}

export const RUNTIME_POLICY_KIND: KindDefinition = {
  kind: 'RuntimePolicy',
  plural: 'runtimepolicies',
  singular: 'runtimepolicy',
  shortNames: ['rpol'],
  description:
    "What happens to kubelet's calls to the container runtime: changed, refused or written down on the way. The same document works as a file of the proxy.",
  spec: field(spec, 'Which calls, and what becomes of them.', {
    rules: [
      {
        rule: 'has(self.mutate) || has(self.deny) || self.audit',
        message: 'must have an effect: mutate, deny or audit',
      },
      needsContainers('match.images', 'has(self.match.images)', ': a sandbox has no image of its own'),
      needsContainers(
        'mutate.env',
        'has(self.mutate) && has(self.mutate.env)',
        ': a sandbox has no variables',
      ),
      needsContainers('mutate.resources', 'has(self.mutate) && has(self.mutate.resources)', ''),
    ],
  }),
  status: field(status, 'Where it is in force.'),
  columns: [
    { name: 'Failure', type: 'string', jsonPath: '.spec.failurePolicy' },
    { name: 'DryRun', type: 'boolean', jsonPath: '.spec.dryRun' },
    { name: 'Deny', type: 'string', jsonPath: '.spec.deny.message', priority: 1 },
    { name: 'Nodes', type: 'integer', jsonPath: '.status.nodes' },
    conditionColumn('Ready'),
    AGE,
  ],
};

/** The API's form of a policy; `parsePolicies` (src/core/policy-parse.ts) takes the same document from a file. */
export type RuntimePolicyObject = KindObject<typeof spec, typeof status>;
export const RUNTIME_POLICIES = resourceOf<RuntimePolicyObject>(RUNTIME_POLICY_KIND);
