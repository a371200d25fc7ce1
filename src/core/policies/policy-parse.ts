import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { configFault } from '../config/config-faults.ts';
import { Fault } from '../fault.ts';
import { type EntryChange, POLICY_OPERATIONS, type ResourceChange, type RuntimePolicy } from './policy.ts';
import { policySpec } from './policy-schema.ts';
import { parseQuantity } from '../kube-text/quantity.ts';

const document = z.strictObject({
  apiVersion: z.literal('keelson.dev/v1alpha1', 'must be keelson.dev/v1alpha1'),
  kind: z.literal('RuntimePolicy', 'must be RuntimePolicy'),
  metadata: z.looseObject({
    name: z
      .string('is required')
      .regex(/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/, 'must be lower-case letters, digits, dots and dashes'),
    /** Set when the document is an object of the API. */
    uid: z.string().optional(),
    generation: z.number().int().optional(),
  }),
  spec: policySpec,
});

/**
 * Parses the policies of one YAML file, which may have several documents. Throws one `invalid`
 * fault that lists every problem of the file with its path; `file` names it in messages.
 */
export function parsePolicies(yamlText: string, file: string): RuntimePolicy[] {
  const documents = parseAllDocuments(yamlText);
  const syntax = [...documents].flatMap((yaml) => yaml.errors.map((error) => error.message.split('\n')[0]));
  if (syntax.length > 0) {
    throw new Fault(
      'invalid',
      `${file} is not valid YAML:\n${syntax.map((line) => `  ${line ?? ''}`).join('\n')}`,
      {
        fields: { document: file },
      },
    );
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

function toPolicy({ metadata, spec }: z.output<typeof document>): RuntimePolicy {
  const { match = {}, mutate, deny, ...rest } = spec;
  const { name, uid, generation } = metadata;
  const { matchLabels = {}, matchExpressions = [] } = match.podSelector ?? {};
  return {
    name,
    ...(uid === undefined || generation === undefined ? {} : { origin: { uid, generation } }),
    match: {
      operations: match.operations ?? POLICY_OPERATIONS,
      namespaces: match.namespaces,
      podSelector: match.podSelector && {
        matchLabels,
        matchExpressions: matchExpressions.map(({ values = [], ...others }) => ({ ...others, values })),
      },
      images: match.images,
    },
    mutation: mutate && {
      env: toChange(mutate.env),
      labels: toChange(mutate.labels),
      annotations: toChange(mutate.annotations),
      resources: toResources(mutate.resources),
    },
    deny,
    ...rest,
  };
}

type MutateSpec = NonNullable<z.output<typeof policySpec>['mutate']>;

function toChange({ set = {}, remove = [] }: NonNullable<MutateSpec['env']> = {}): EntryChange {
  return { set: new Map(Object.entries(set)), remove: new Set(remove) };
}

/**
 * The API names quantities as Kubernetes does; internal names have units. Absent fields stay
 * absent.
 */
function toResources({
  memoryLimit,
  memorySwapLimit,
  ...rest
}: NonNullable<MutateSpec['resources']> = {}): ResourceChange {
  const sizes = { memoryLimitBytes: toBytes(memoryLimit), memorySwapLimitBytes: toBytes(memorySwapLimit) };
  const present = Object.entries({ ...rest, ...sizes }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(
    present.map(([key, value]) => [key, typeof value === 'number' ? BigInt(value) : value]),
  );
}

function toBytes(size: string | undefined): bigint | undefined {
  if (size === undefined) return undefined;
  return size === '-1' ? -1n : parseQuantity(size, 'size');
}
