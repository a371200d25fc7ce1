import { z } from 'zod';
import { field, type Rule } from '../core/kube-text/document-schema.ts';

/** Readonly at every depth: objects of the API are shared and never modified in place. */
export type Frozen<T> = T extends readonly (infer Item)[]
  ? readonly Frozen<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: Frozen<T[Key]> }
    : T;

/** Returns rules that make fields immutable; `optional` ones can be neither added nor removed. */
export function immutable(fields: {
  readonly required: readonly string[];
  readonly optional?: readonly string[];
}): Rule[] {
  const rule = (name: string, unchanged: string): Rule => ({
    rule: unchanged,
    message: `${name} is immutable; create another object instead`,
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

/** Returns a rule that exactly one of `names` is set. */
export function exactlyOne(names: readonly string[]): Rule {
  const list = `${names.slice(0, -1).join(', ')} or ${names.at(-1) ?? ''}`;
  return {
    rule: `[${names.map((name) => `has(self.${name})`).join(', ')}].filter(given, given).size() == 1`,
    message: `exactly one of ${list} must be set`,
  };
}

/** A name of a pool, node or volume: a DNS subdomain. */
export const objectName = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/);

/** An absolute path of at most 1024 characters. */
export const absolutePath = z.string().max(1024).regex(/^\//);

/** A rule that a path has no `..` component. */
export const noDotDot: Rule = {
  rule: "!self.split('/').exists(part, part == '..')",
  message: 'must not contain ".."',
};

const CONDITION_STATUS = ['True', 'False', 'Unknown'] as const;

/** Written as a whole by one owner: the API server does not track its fields (decision 0016). */
const condition = field(
  z.object({
    type: field(z.string().max(316), 'CamelCase name of the condition.'),
    status: field(z.enum(CONDITION_STATUS), 'True, False or Unknown.'),
    observedGeneration: field(z.int().min(0), 'Generation of the spec that was observed.').optional(),
    lastTransitionTime: field(z.string(), 'When status last changed.', { format: 'date-time' }),
    reason: field(z.string().min(1).max(1024), 'CamelCase reason, for programs.'),
    message: field(z.string().max(32_768), 'Human-readable message.'),
  }),
  'One aspect of the observed state.',
  { atomic: true },
);

/** A metav1.Condition in the status of one of Keelson's kinds. */
export type Condition = Frozen<z.output<typeof condition>>;

/** The conditions of a status, merged by their type. */
export const conditions = field(z.array(condition).max(32), 'Current conditions.', {
  mapKeys: ['type'],
}).optional();

/** The generation of the spec that a status was written for. */
export const observedGeneration = field(
  z.int().min(0),
  'Generation of the spec that was observed.',
).optional();
