import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { configFault } from './config-faults.ts';
import { Fault } from './fault.ts';
import { type EntryChange, NO_ENTRIES, POLICY_OPERATIONS, type RuntimePolicy } from './policy.ts';
import { parseQuantity } from './quantity.ts';

const text = z.string('must be a text');
/** YAML reads `on: 1` as a number and `yes` as a text: what a variable is set to must be written as a text. */
const entryValue = z.string('must be a text; put numbers and booleans in quotes');
const envName = z.string().regex(/^[^=\0]+$/, 'must be a variable name without "="');
const labelKey = z
  .string()
  .regex(
    /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?$/,
    'must be a name like team or example.com/team',
  );
/** kubelet finds its pods by these; a runtime's answer with other values would make it lose them. */
const ownKey = labelKey.refine(
  (key) => !key.startsWith('io.kubernetes.') && !key.startsWith('io.kubernetes/'),
  "must not begin with io.kubernetes.: these are kubelet's own",
);

function entryChange(key: z.ZodType<string, string>) {
  return z
    .strictObject({ set: z.record(key, entryValue).default({}), remove: z.array(key).default([]) })
    .refine(({ set, remove }) => remove.every((name) => !Object.hasOwn(set, name)), {
      message: 'must not set and remove the same key',
    })
    .transform(
      ({ set, remove }): EntryChange => ({ set: new Map(Object.entries(set)), remove: new Set(remove) }),
    );
}

const integer = z.number('must be a whole number').int('must be a whole number');
const positive = integer.min(1, 'must be at least 1').transform(BigInt);
const limit = integer
  .refine((value) => value === -1 || value > 0, 'must be at least 1, or -1 for no limit')
  .transform(BigInt);
const bytes = z.union([z.string(), z.number().int().nonnegative()]).transform((value, context) => {
  try {
    return parseQuantity(String(value), 'size');
  } catch {
    context.addIssue({
      code: 'custom',
      message: `found ${JSON.stringify(value)}, expected a size like 64Mi`,
    });
    return z.NEVER;
  }
});
const cpuList = z.string().regex(/^\d+(-\d+)?(,\d+(-\d+)?)*$/, 'must be a list like 0-3,7');

const resources = z.strictObject({
  cpuPeriod: positive.optional(),
  cpuQuota: limit.optional(),
  cpuShares: positive.optional(),
  memoryLimit: bytes.optional(),
  memorySwapLimit: z.union([z.literal(-1).transform(BigInt), bytes]).optional(),
  oomScoreAdj: integer
    .min(-1000, 'must be at least -1000')
    .max(1000, 'must be at most 1000')
    .transform(BigInt)
    .optional(),
  cpusetCpus: cpuList.optional(),
  cpusetMems: cpuList.optional(),
  unified: z
    .record(
      z.string().regex(/^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$/, 'must be a file of cgroup v2 like memory.high'),
      entryValue,
    )
    .optional(),
});

const requirement = z
  .strictObject({
    key: labelKey,
    operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist'], 'must be In, NotIn, Exists or DoesNotExist'),
    values: z.array(text).default([]),
  })
  .refine(({ operator, values }) => operator.endsWith('In') === values.length > 0, {
    path: ['values'],
    message: 'must not be empty for In and NotIn, and must be absent for Exists and DoesNotExist',
  });

const match = z
  .strictObject({
    operations: z
      .array(z.enum(POLICY_OPERATIONS, 'must be CreateContainer or RunPodSandbox'))
      .min(1, 'must name an operation')
      .optional(),
    namespaces: z
      .array(text.min(1, 'must not be empty'))
      .min(1, 'must name a namespace, or be absent for all')
      .optional(),
    podSelector: z
      .strictObject({
        matchLabels: z.record(labelKey, text).default({}),
        matchExpressions: z.array(requirement).default([]),
      })
      .optional(),
    images: z
      .array(text.min(1, 'must not be empty'))
      .min(1, 'must name an image, or be absent for all')
      .optional(),
  })
  .prefault({});

const mutate = z.strictObject({
  env: entryChange(envName).default(NO_ENTRIES),
  labels: entryChange(ownKey).default(NO_ENTRIES),
  annotations: entryChange(ownKey).default(NO_ENTRIES),
  resources: resources.default({}),
});

const spec = z
  .strictObject({
    match,
    mutate: mutate.optional(),
    deny: z
      .strictObject({
        message: text.min(1, 'must say why').max(1024, 'must have at most 1024 characters'),
        /** Also for kube-system and static pods, which are exempt otherwise. */
        includeSystemPods: z.boolean().default(false),
      })
      .optional(),
    audit: z.boolean().default(false),
    failurePolicy: z.enum(['Ignore', 'Fail'], 'must be Ignore or Fail').default('Ignore'),
    dryRun: z.boolean().default(false),
  })
  .superRefine((value, context) => {
    const issue = (path: string[], message: string): void => {
      context.addIssue({ code: 'custom', path, message });
    };
    if (value.mutate === undefined && value.deny === undefined && !value.audit) {
      issue([], 'must have an effect: mutate, deny or audit');
    }
    if (value.match.operations?.includes('CreateContainer') ?? true) return;
    if (value.match.images !== undefined) {
      issue(['match', 'images'], 'needs the operation CreateContainer: a sandbox has no image of its own');
    }
    const { env, resources: limits } = value.mutate ?? { env: NO_ENTRIES, resources: {} };
    if (env.set.size + env.remove.size > 0) {
      issue(['mutate', 'env'], 'needs the operation CreateContainer: a sandbox has no variables');
    }
    if (Object.keys(limits).length > 0) {
      issue(['mutate', 'resources'], 'needs the operation CreateContainer');
    }
  });

const document = z.strictObject({
  apiVersion: z.literal('keelson.dev/v1alpha1', 'must be keelson.dev/v1alpha1'),
  kind: z.literal('RuntimePolicy', 'must be RuntimePolicy'),
  metadata: z.looseObject({
    name: z
      .string('must be given')
      .regex(/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/, 'must be lower-case letters, digits, dots and dashes'),
    /** These two are there when the document is an object of the API. */
    uid: z.string().optional(),
    generation: z.number().int().optional(),
  }),
  spec,
});

/**
 * The policies of one YAML file, which may hold several documents. Throws one `invalid` fault that lists every problem of the whole
 * file with its path; `file` is how messages call it.
 */
export function parsePolicies(yamlText: string, file: string): RuntimePolicy[] {
  const documents = parseAllDocuments(yamlText);
  const syntax = [...documents].flatMap((yaml) => yaml.errors.map((error) => error.message.split('\n')[0]));
  if (syntax.length > 0) {
    throw new Fault('invalid', `${file} is no YAML:\n${syntax.map((line) => `  ${line ?? ''}`).join('\n')}`, {
      fields: { document: file },
    });
  }
  const issues: z.core.$ZodIssue[] = [];
  const policies: RuntimePolicy[] = [];
  [...documents].forEach((yaml, index) => {
    const value: unknown = yaml.toJS();
    if (value === null || value === undefined) return;
    const parsed = document.safeParse(value);
    const prefix = documents.length > 1 ? [`document ${index + 1}`] : [];
    if (parsed.success) policies.push(toPolicy(parsed.data));
    else issues.push(...parsed.error.issues.map((issue) => ({ ...issue, path: [...prefix, ...issue.path] })));
  });
  if (issues.length > 0) throw configFault(file, issues);
  return policies;
}

function toPolicy({
  metadata,
  spec: { match: m, mutate: change, deny, ...rest },
}: z.output<typeof document>): RuntimePolicy {
  const mutation = change && { ...change, resources: renamed(change.resources) };
  const { name, uid, generation } = metadata;
  return {
    name,
    ...(uid === undefined || generation === undefined ? {} : { origin: { uid, generation } }),
    match: {
      operations: m.operations ?? POLICY_OPERATIONS,
      namespaces: m.namespaces,
      podSelector: m.podSelector,
      images: m.images,
    },
    mutation,
    deny,
    ...rest,
  };
}

/** The API names quantities as Kubernetes does; inside, units are in names. Absent ones stay absent. */
function renamed({
  memoryLimit,
  memorySwapLimit,
  ...rest
}: z.output<typeof resources>): NonNullable<RuntimePolicy['mutation']>['resources'] {
  const all = { ...rest, memoryLimitBytes: memoryLimit, memorySwapLimitBytes: memorySwapLimit };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}
