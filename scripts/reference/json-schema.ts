/** The part of JSON Schema that zod and CustomResourceDefinitions write. */
export interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly required?: readonly string[];
}

/** One field of a document: its path (`pools[].name`), schema, and whether it must be set. */
export interface SchemaField {
  readonly path: string;
  readonly schema: JsonSchema;
  readonly required: boolean;
}

/** Lists the fields below `schema` in order; objects come before their fields. */
export function listFields(schema: JsonSchema, prefix = ''): SchemaField[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, child]) => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    const required = schema.required?.includes(name) ?? false;
    const inner = child.items ?? child;
    const below = child.items === undefined ? path : `${path}[]`;
    return [{ path, schema: child, required }, ...listFields(inner, below)];
  });
}

/** Returns the type and its limits: `integer, 1 to 100000`. */
export function describeType(schema: JsonSchema): string {
  if (schema.anyOf !== undefined) return unique(schema.anyOf.map(describeType)).join(' or ');
  if (schema.enum !== undefined) return schema.enum.map(String).join(', ');
  if (schema.const !== undefined) return JSON.stringify(schema.const).replaceAll('"', '');
  if (schema.items !== undefined) return `list of ${describeType(schema.items)}`;
  if (schema.type === 'object' && schema.properties !== undefined) {
    return 'object';
  }
  if (typeof schema.additionalProperties === 'object') {
    return `map of ${describeType(schema.additionalProperties)}`;
  }
  return `${schema.type ?? 'any'}${describeRange(schema)}`;
}

function describeRange({ minimum, maximum }: JsonSchema): string {
  const isBound = (value: number | undefined): value is number =>
    value !== undefined && Math.abs(value) < Number.MAX_SAFE_INTEGER;
  if (isBound(minimum) && isBound(maximum)) return `, ${String(minimum)} to ${String(maximum)}`;
  if (isBound(minimum) && minimum !== 0) return `, at least ${String(minimum)}`;
  return '';
}

function unique(values: readonly string[]): string[] {
  return [...new Set(values)];
}
