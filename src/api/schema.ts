import { z } from 'zod';
import { field, type Rule } from '../core/kube-text/document-schema.ts';

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

/** Written as a whole by one owner: the API server keeps no books on its fields (decision 0025). */
const condition = field(
  z.object({
    type: field(z.string().max(316), 'CamelCase name of the condition.'),
    status: field(z.enum(CONDITION_STATUS), 'True, False or Unknown.'),
    observedGeneration: field(z.int().min(0), 'Generation of the spec that this was said of.').optional(),
    lastTransitionTime: field(z.string(), 'When status last changed.', { format: 'date-time' }),
    reason: field(z.string().min(1).max(1024), 'CamelCase reason, for programs.'),
    message: field(z.string().max(32_768), 'What is the matter, for people.'),
  }),
  'One thing that holds, or does not.',
  { atomic: true },
);

export type Condition = Frozen<z.output<typeof condition>>;

export const conditions = field(z.array(condition).max(32), 'What holds of this object at present.', {
  mapKeys: ['type'],
}).optional();

export const observedGeneration = field(
  z.int().min(0),
  'Generation of the spec that this status was made from.',
).optional();
