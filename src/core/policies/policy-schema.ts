import { z } from 'zod';
import {
  checkedField,
  everyKey,
  field,
  isLabelKey,
  LABEL_KEY,
  labelSelector,
  type MirroredRule,
  QUANTITY,
  quantity,
  sizeText,
} from '../kube-text/document-schema.ts';
import { POLICY_OPERATIONS } from './policy.ts';

/** YAML reads `on: 1` as a number and `yes` as a string: values of variables must be strings. */
const texts = z.record(
  z.string(),
  z
    .string('must be a string; put numbers and booleans in quotes')
    .max(4096, 'must have at most 4096 characters'),
);
const keys = z.array(z.string('must be a string').max(316, 'must have at most 316 characters')).max(64);

type KeyRule = Parameters<typeof everyKey>[0];

const envName: KeyRule = {
  rule: "key.size() > 0 && !key.contains('=')",
  holds: (key) => key !== '' && !key.includes('='),
  message: 'must be variable names without "="',
};
/** kubelet finds its pods by these; other values in a runtime's answer would make it lose them. */
const notKubelets: KeyRule = {
  rule: `key.matches('${LABEL_KEY}') && !key.startsWith('io.kubernetes.') && !key.startsWith('io.kubernetes/')`,
  holds: (key) => isLabelKey(key) && !key.startsWith('io.kubernetes.') && !key.startsWith('io.kubernetes/'),
  message:
    'must be label keys like team or example.com/team, and must not begin with io.kubernetes., which is reserved for kubelet',
};

function entries(description: string, what: KeyRule) {
  return checkedField(
    z.strictObject({
      set: checkedField(texts, 'Entries to set; they override those of the pod and its image.', {
        maxProperties: 64,
        rules: [everyKey(what)],
      }).optional(),
      remove: checkedField(keys, 'Keys to remove.', { set: true, rules: [everyKey(what)] }).optional(),
    }),
    description,
    {
      rules: [
        {
          rule: '!has(self.set) || !has(self.remove) || self.remove.all(key, !(key in self.set))',
          holds: ({ set = {}, remove = [] }) => remove.every((key) => !Object.hasOwn(set, key)),
          message: 'must not set and remove the same key',
        },
      ],
    },
  );
}

const integer = z.int('must be a whole number');
const positive = integer.min(1, 'must be at least 1');
const cpuList = z
  .string('must be a list like 0-3,7, in quotes')
  .max(256, 'must have at most 256 characters')
  .regex(/^\d+(-\d+)?(,\d+(-\d+)?)*$/, 'must be a list like 0-3,7');

const CGROUP_FILE = '^[a-z][a-z0-9_]*([.][a-z0-9_]+)+$';
const cgroupFile = new RegExp(CGROUP_FILE);

const resources = z.strictObject({
  cpuPeriod: field(positive, 'Microseconds.').optional(),
  cpuQuota: checkedField(integer, 'Microseconds per period; -1 for no limit.', {
    rules: [
      {
        rule: 'self == -1 || self > 0',
        holds: (value) => value === -1 || value > 0,
        message: 'must be at least 1, or -1 for no limit',
      },
    ],
  }).optional(),
  cpuShares: field(positive, 'Relative CPU weight.').optional(),
  memoryLimit: field(quantity, 'E.g. 64Mi.').optional(),
  memorySwapLimit: field(
    sizeText(`^(-1|${QUANTITY})$`),
    'Memory and swap together; -1 for no limit.',
  ).optional(),
  oomScoreAdj: field(
    integer.min(-1000, 'must be at least -1000').max(1000, 'must be at most 1000'),
    'Score for the OOM killer; a higher one is killed earlier.',
  ).optional(),
  cpusetCpus: field(cpuList, 'CPUs, as a list: 0-3,7.').optional(),
  cpusetMems: field(cpuList, 'Memory nodes, as a list.').optional(),
  unified: checkedField(texts, 'Files of cgroup v2, for example memory.high.', {
    maxProperties: 32,
    rules: [
      everyKey({
        rule: `key.matches('${CGROUP_FILE}')`,
        holds: (key) => cgroupFile.test(key),
        message: 'must be files of cgroup v2 like memory.high',
      }),
    ],
  }).optional(),
});

const patterns = (message: string) =>
  z
    .array(
      z.string('must be a string').min(1, 'must not be empty').max(512, 'must have at most 512 characters'),
    )
    .min(1, message)
    .max(64, 'must have at most 64 entries');

const match = z.strictObject({
  operations: checkedField(
    z
      .array(z.enum(POLICY_OPERATIONS, 'must be CreateContainer or RunPodSandbox'))
      .min(1, 'must have at least one operation')
      .max(2),
    'Calls to match; all when absent.',
    { set: true },
  ).optional(),
  namespaces: field(
    patterns('must have at least one namespace; omit it to match all'),
    'Names, or patterns with *; all when absent.',
  ).optional(),
  podSelector: labelSelector('Labels of the pod; all pods when absent.').optional(),
  images: field(
    patterns('must have at least one image; omit it to match all'),
    'Patterns with * and ? for the image of a container; all when absent.',
  ).optional(),
});

const spec = z.strictObject({
  match: field(match, 'Calls to match; all when absent.').optional(),
  mutate: field(
    z.strictObject({
      env: entries('Environment variables of containers.', envName).optional(),
      labels: entries('Labels, as the runtime sees them.', notKubelets).optional(),
      annotations: entries('Annotations, as the runtime sees them.', notKubelets).optional(),
      resources: field(resources, 'Resource limits of containers.').optional(),
    }),
    'Changes to the request.',
  ).optional(),
  deny: field(
    z.strictObject({
      message: field(
        z
          .string('must be a string')
          .min(1, 'must give a reason')
          .max(1024, 'must have at most 1024 characters'),
        'Reason of the denial, shown in the events of the pod.',
      ),
      includeSystemPods: field(
        z.boolean('must be true or false').default(false),
        'Also match kube-system and static pods, which are otherwise exempt.',
      ),
    }),
    'Denies the call.',
  ).optional(),
  audit: field(z.boolean('must be true or false').default(false), 'Logs each match.'),
  failurePolicy: field(
    z.enum(['Ignore', 'Fail'], 'must be Ignore or Fail').default('Ignore'),
    'Whether a call passes (Ignore) or fails (Fail) when the policy cannot be applied. System and static pods always pass.',
  ),
  dryRun: field(
    z.boolean('must be true or false').default(false),
    'Effects are logged and counted, but not applied.',
  ),
});

type Spec = z.output<typeof spec>;

/** Container fields make no sense without CreateContainer among the operations. */
const SANDBOX_ONLY =
  "has(self.match) && has(self.match.operations) && !self.match.operations.exists(operation, operation == 'CreateContainer')";
const isSandboxOnly = ({ match: { operations } = {} }: Spec): boolean =>
  operations !== undefined && !operations.includes('CreateContainer');

function needsContainers(
  path: readonly string[],
  has: { readonly rule: string; readonly holds: (spec: Spec) => boolean },
  why: string,
): MirroredRule<Spec> {
  return {
    rule: `!(${SANDBOX_ONLY}) || !(${has.rule})`,
    holds: (value) => !isSandboxOnly(value) || !has.holds(value),
    message: `requires the operation CreateContainer${why}`,
    path,
  };
}

/**
 * The spec of a RuntimePolicy in files and in the API; the CRD is generated from it, and
 * `parsePolicies` validates with it.
 */
export const policySpec = checkedField(spec, 'Calls to match, and the effects.', {
  rules: [
    {
      rule: 'has(self.mutate) || has(self.deny) || self.audit',
      holds: ({ mutate, deny, audit }) => mutate !== undefined || deny !== undefined || audit,
      message: 'must have an effect: mutate, deny or audit',
    },
    needsContainers(
      ['match', 'images'],
      { rule: 'has(self.match.images)', holds: (value) => value.match?.images !== undefined },
      ': a sandbox has no image of its own',
    ),
    needsContainers(
      ['mutate', 'env'],
      {
        rule: 'has(self.mutate) && has(self.mutate.env)',
        holds: (value) => value.mutate?.env !== undefined,
      },
      ': a sandbox has no variables',
    ),
    needsContainers(
      ['mutate', 'resources'],
      {
        rule: 'has(self.mutate) && has(self.mutate.resources)',
        holds: (value) => value.mutate?.resources !== undefined,
      },
      '',
    ),
  ],
});
