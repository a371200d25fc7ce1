import { z } from 'zod';

/** A CEL rule of a CRD schema: what must hold, and what a person reads when it does not. */
export interface Rule {
  readonly rule: string;
  readonly message: string;
  /** The field at fault, relative to where the rule stands: `.source`. */
  readonly fieldPath?: string;
}

/** A rule for the API server and for whoever reads the same document from a file: both forms stand side by side, with one message. */
export interface MirroredRule<T> {
  /** CEL, over `self`. */
  readonly rule: string;
  readonly holds: (value: T) => boolean;
  /** What is said of the field at `path`, else of the value itself. */
  readonly message: string;
  /** Where the fault is, beneath the value: the API's message begins with it, a file's fault stands there. */
  readonly path?: readonly string[];
  /** What of the value is at fault, for a file's message. */
  readonly found?: (value: T) => string;
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
  /** Makes an object one value that has one owner, as lists are by default: the server keeps no books on what is in it. */
  readonly atomic?: true;
}

/** `schema` with a description (what `kubectl explain` shows) and extras. Comes last, before `optional` and `default` at most. */
export function field<S extends z.ZodType>(schema: S, description: string, extras: FieldExtras = {}): S {
  return schema.meta({ description, ...metaOf(extras) });
}

/** As `field`, for a document that files hold as well: parsing checks `rules`, `maxProperties` and `set` as the API server does. */
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
      say('must have each value once');
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

/** The texts that `parseQuantity` takes and Kubernetes writes. */
export const QUANTITY = String.raw`\d+(\.\d{1,9})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?`;

/** A size as Kubernetes writes it. */
export const quantity = sizeText(`^${QUANTITY}$`);

/** A text for a size in a form of its own; a number in a file has to be quoted, as for the API. */
export function sizeText(pattern: string): z.ZodString {
  const error = ({ input }: { readonly input?: unknown }): string =>
    `found ${JSON.stringify(input)}, expected a size like 64Mi${typeof input === 'number' ? ', in quotes' : ''}`;
  return z.string({ error }).max(32, { error }).regex(new RegExp(pattern), { error });
}

/** A key of a label or annotation: `team`, `example.com/team`. Both RE2 and JavaScript read it alike. */
export const LABEL_KEY = '^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$';
const labelKey = new RegExp(LABEL_KEY);
const KEY_MESSAGE = 'must be a name like team or example.com/team';

/** Whether a text may be the key of a label. */
export function isLabelKey(text: string): boolean {
  return labelKey.test(text);
}

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const;

const values: MirroredRule<{ operator: string; values?: string[] | undefined }> = {
  rule: "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : !has(self.values) || self.values.size() == 0",
  holds: ({ operator, values: given = [] }) => operator.endsWith('In') === given.length > 0,
  message: 'must be given for In and NotIn, and must be absent for Exists and DoesNotExist',
  path: ['values'],
};

const requirement = checked(
  z.strictObject({
    key: field(z.string().max(316).regex(labelKey, KEY_MESSAGE), 'Label key.'),
    operator: field(
      z.enum(OPERATORS, 'must be In, NotIn, Exists or DoesNotExist'),
      'How key and values relate.',
    ),
    values: field(z.array(z.string('must be a text').max(63)).max(64), 'For In and NotIn alone.').optional(),
  }),
  { rules: [values] },
).meta({ 'x-kubernetes-validations': [celOf(values)] });

const selector = z.strictObject({
  matchLabels: checkedField(
    z.record(z.string(), z.string('must be a text').max(63)),
    'Labels that must be there with these values.',
    {
      maxProperties: 32,
      rules: [
        everyKey({
          rule: `key.matches('${LABEL_KEY}')`,
          holds: isLabelKey,
          message: 'must be names like team or example.com/team',
        }),
      ],
    },
  ).optional(),
  matchExpressions: field(z.array(requirement).max(32), 'Requirements that must all hold.').optional(),
});

/** A metav1.LabelSelector over nodes, namespaces or pods. */
export function labelSelector(description: string): typeof selector {
  return field(selector, description);
}
