import { z } from 'zod';

/** A CEL rule of a CRD schema: what must hold, and what a person reads when it does not. */
export interface Rule {
  readonly rule: string;
  readonly message: string;
  /** The field at fault, relative to where the rule stands: `.source`. */
  readonly fieldPath?: string;
}

/** What OpenAPI or Kubernetes know of a field and zod does not. */
export interface FieldExtras {
  readonly rules?: readonly Rule[];
  readonly format?: string;
  readonly maxProperties?: number;
  /** Makes a list one whose entries several owners may apply: by these keys. */
  readonly mapKeys?: readonly string[];
  /** Each value at most once. */
  readonly set?: true;
}

/** `schema` with a description (what `kubectl explain` shows) and extras. Comes last, before `optional` and `default` at most. */
export function field<S extends z.ZodType>(schema: S, description: string, extras: FieldExtras = {}): S {
  const { rules, format, maxProperties, mapKeys, set } = extras;
  return schema.meta({
    description,
    ...(format === undefined ? {} : { format }),
    ...(maxProperties === undefined ? {} : { maxProperties }),
    ...(mapKeys === undefined
      ? {}
      : { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': [...mapKeys] }),
    ...(set === undefined ? {} : { 'x-kubernetes-list-type': 'set' }),
    ...(rules === undefined ? {} : { 'x-kubernetes-validations': [...rules] }),
  });
}

/** Readonly at every depth: objects of the API are shared and never changed in place. */
export type Frozen<T> = T extends readonly (infer Item)[]
  ? readonly Frozen<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: Frozen<T[Key]> }
    : T;

/** Rules that keep fields of an object as they were created; `optional` ones may not come or go either. */
export function immutable(fields: {
  readonly required: readonly string[];
  readonly optional?: readonly string[];
}): Rule[] {
  const rule = (name: string, unchanged: string): Rule => ({
    rule: unchanged,
    message: `${name} cannot be changed; create another object instead`,
    fieldPath: `.${name}`,
  });
  return [
    ...fields.required.map((name) => rule(name, `self.${name} == oldSelf.${name}`)),
    ...(fields.optional ?? []).map((name) =>
      rule(
        name,
        `has(self.${name}) == has(oldSelf.${name}) && (!has(self.${name}) || self.${name} == oldSelf.${name})`,
      ),
    ),
  ];
}

/** A rule that exactly one of `names` is given. */
export function exactlyOne(names: readonly string[]): Rule {
  const list = `${names.slice(0, -1).join(', ')} or ${names.at(-1) ?? ''}`;
  return {
    rule: `[${names.map((name) => `has(self.${name})`).join(', ')}].filter(given, given).size() == 1`,
    message: `exactly one of ${list} must be given`,
  };
}

/** A size as Kubernetes writes it; the same texts that `parseQuantity` takes. */
export const quantity = z
  .string()
  .max(32)
  .regex(/^\d+(\.\d{1,9})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$/);

/** A name as pools, nodes and volumes have it: a DNS subdomain. */
export const objectName = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/);

export const absolutePath = z.string().max(1024).regex(/^\//);

export const noDotDot: Rule = {
  rule: "!self.split('/').exists(part, part == '..')",
  message: 'must not contain ".."',
};

const CONDITION_STATUS = ['True', 'False', 'Unknown'] as const;

const condition = z.object({
  type: field(z.string().max(316), 'CamelCase name of the condition.'),
  status: field(z.enum(CONDITION_STATUS), 'True, False or Unknown.'),
  observedGeneration: field(z.int().min(0), 'Generation of the spec that this was said of.').optional(),
  lastTransitionTime: field(z.string(), 'When status last changed.', { format: 'date-time' }),
  reason: field(z.string().min(1).max(1024), 'CamelCase reason, for programs.'),
  message: field(z.string().max(32_768), 'What is the matter, for people.'),
});

export type Condition = Frozen<z.output<typeof condition>>;

export const conditions = field(z.array(condition).max(32), 'What holds of this object at present.', {
  mapKeys: ['type'],
}).optional();

export const observedGeneration = field(
  z.int().min(0),
  'Generation of the spec that this status was made from.',
).optional();

const requirement = z
  .object({
    key: field(z.string().max(316), 'Label key.'),
    operator: field(z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']), 'How key and values relate.'),
    values: field(z.array(z.string().max(63)).max(64), 'For In and NotIn alone.').optional(),
  })
  .meta({
    'x-kubernetes-validations': [
      {
        rule: "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : !has(self.values) || self.values.size() == 0",
        message: 'values must be given for In and NotIn, and must be absent for Exists and DoesNotExist',
      },
    ],
  });

const selector = z.object({
  matchLabels: field(
    z.record(z.string(), z.string().max(63)),
    'Labels that must be there with these values.',
    {
      maxProperties: 32,
    },
  ).optional(),
  matchExpressions: field(z.array(requirement).max(32), 'Requirements that must all hold.').optional(),
});

/** A metav1.LabelSelector over nodes, namespaces or pods. */
export function labelSelector(description: string): typeof selector {
  return field(selector, description);
}
