import { z } from 'zod';

/** A CEL rule of a CRD schema, and the message for a violation. */
export interface Rule {
  readonly rule: string;
  readonly message: string;
  /** The violating field, relative to the rule: `.source`. */
  readonly fieldPath?: string;
}

/**
 * A rule for the API server and for the same document in a file: CEL and a function, with one
 * message.
 */
export interface MirroredRule<T> {
  /** CEL, over `self`. */
  readonly rule: string;
  readonly holds: (value: T) => boolean;
  /** Message about the field at `path`, else about the value itself. */
  readonly message: string;
  /**
   * The violating field, beneath the value: the API's message begins with it, a file's error has it
   * in its path.
   */
  readonly path?: readonly string[];
  /** Returns what was found, for the message about a file. */
  readonly found?: (value: T) => string;
}

/** What OpenAPI or Kubernetes know of a field and zod does not. */
export interface FieldExtras {
  readonly rules?: readonly Rule[];
  readonly format?: string;
  readonly maxProperties?: number;
  /** Makes a list a map with these keys, whose entries may have different owners. */
  readonly mapKeys?: readonly string[];
  /** Values are unique. */
  readonly set?: true;
  /**
   * Makes an object one value with a single owner, as lists are by default: the server does not
   * track its fields.
   */
  readonly atomic?: true;
}

/**
 * Returns `schema` with a description (shown by `kubectl explain`) and extras. Must come last,
 * except for `optional` and `default`.
 */
export function field<S extends z.ZodType>(schema: S, description: string, extras: FieldExtras = {}): S {
  return schema.meta({ description, ...metaOf(extras) });
}

/**
 * Like `field`, for a document that may be in a file: parsing checks `rules`, `maxProperties` and
 * `set` as the API server does.
 */
export function checkedField<S extends z.ZodType>(
  schema: S,
  description: string,
  extras: Omit<FieldExtras, 'rules'> & { readonly rules?: readonly MirroredRule<z.output<S>>[] } = {},
): S {
  const { rules = [], ...others } = extras;
  return checked(schema, extras).meta({
    description,
    ...metaOf({ ...others, ...(rules.length === 0 ? {} : { rules: rules.map(celOf) }) }),
  });
}

function metaOf({ rules, format, maxProperties, mapKeys, set, atomic }: FieldExtras): object {
  return {
    ...(format === undefined ? {} : { format }),
    ...(maxProperties === undefined ? {} : { maxProperties }),
    ...(mapKeys === undefined
      ? {}
      : { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': [...mapKeys] }),
    ...(set === undefined ? {} : { 'x-kubernetes-list-type': 'set' }),
    ...(atomic === undefined ? {} : { 'x-kubernetes-map-type': 'atomic' }),
    ...(rules === undefined ? {} : { 'x-kubernetes-validations': [...rules] }),
  };
}

function celOf<T>({ rule, message, path }: MirroredRule<T>): Rule {
  return { rule, message: path === undefined ? message : `${path.join('.')} ${message}` };
}

function checked<S extends z.ZodType>(
  schema: S,
  {
    rules = [],
    maxProperties,
    set,
  }: Pick<FieldExtras, 'maxProperties' | 'set'> & { readonly rules?: readonly MirroredRule<z.output<S>>[] },
): S {
  return schema.superRefine((value, context) => {
    const say = (message: string, path: readonly string[] = []): void => {
      context.addIssue({ code: 'custom', message, path: [...path] });
    };
    const size = Object.keys(value ?? {}).length;
    if (maxProperties !== undefined && size > maxProperties) {
      say(`must have at most ${maxProperties} entries, has ${size}`);
    }
    if (set === true && Array.isArray(value) && new Set(value).size < value.length) {
      say('must have unique values');
    }
    for (const { holds, message, path, found } of rules) {
      if (!holds(value)) say(found === undefined ? message : `${message}; found ${found(value)}`, path);
    }
  });
}

/** A rule over all keys of a map, or all entries of a list: `rule` is CEL over `key`. */
export function everyKey<T extends object>({
  rule,
  holds,
  message,
}: {
  readonly rule: string;
  readonly holds: (key: string) => boolean;
  readonly message: string;
}): MirroredRule<T> {
  const bad = (value: T): string | undefined =>
    (Array.isArray(value) ? (value as readonly string[]) : Object.keys(value)).find((key) => !holds(key));
  return {
    rule: `self.all(key, ${rule})`,
    holds: (value) => bad(value) === undefined,
    message,
    found: (value) => JSON.stringify(bad(value)),
  };
}

/** The texts that `parseQuantity` accepts and Kubernetes writes. */
export const QUANTITY = String.raw`\d+(\.\d{1,9})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?`;

/** A size as Kubernetes writes it. */
export const quantity = sizeText(`^${QUANTITY}$`);

/** A text for a size in a form of its own; a number in a file has to be quoted, as in the API. */
export function sizeText(pattern: string): z.ZodString {
  const error = ({ input }: { readonly input?: unknown }): string =>
    `found ${JSON.stringify(input)}, expected a size like 64Mi${typeof input === 'number' ? ', in quotes' : ''}`;
  return z.string({ error }).max(32, { error }).regex(new RegExp(pattern), { error });
}

/** A key of a label or annotation: `team`, `example.com/team`. RE2 and JavaScript read it alike. */
export const LABEL_KEY = '^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$';
const labelKey = new RegExp(LABEL_KEY);
const KEY_MESSAGE = 'must be a label key like team or example.com/team';

/** Whether a text is a valid label key. */
export function isLabelKey(text: string): boolean {
  return labelKey.test(text);
}

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const;

const values: MirroredRule<{ operator: string; values?: string[] | undefined }> = {
  rule: "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : !has(self.values) || self.values.size() == 0",
  holds: ({ operator, values: given = [] }) => operator.endsWith('In') === given.length > 0,
  message: 'must be set for In and NotIn, and absent for Exists and DoesNotExist',
  path: ['values'],
};

const requirement = checked(
  z.strictObject({
    key: field(z.string().max(316).regex(labelKey, KEY_MESSAGE), 'Label key.'),
    operator: field(
      z.enum(OPERATORS, 'must be In, NotIn, Exists or DoesNotExist'),
      'Relation of the key to the values.',
    ),
    values: field(
      z.array(z.string('must be a string').max(63)).max(64),
      'Values for In and NotIn.',
    ).optional(),
  }),
  { rules: [values] },
).meta({ 'x-kubernetes-validations': [celOf(values)] });

const selector = z.strictObject({
  matchLabels: checkedField(
    z.record(z.string(), z.string('must be a string').max(63)),
    'Labels that must have these values.',
    {
      maxProperties: 32,
      rules: [
        everyKey({
          rule: `key.matches('${LABEL_KEY}')`,
          holds: isLabelKey,
          message: 'must be label keys like team or example.com/team',
        }),
      ],
    },
  ).optional(),
  matchExpressions: field(z.array(requirement).max(32), 'Requirements that must all hold.').optional(),
});

/** A metav1.LabelSelector for nodes, namespaces or pods. */
export function labelSelector(description: string): typeof selector {
  return field(selector, description);
}
