import { parse } from 'yaml';
import { crdFiles } from '../../src/api/crd-files.ts';
import { describeType, type JsonSchema, listFields, type SchemaField } from './json-schema.ts';
import { code, NOTICE, table } from './table.ts';

interface Crd {
  readonly spec: {
    readonly names: {
      readonly kind: string;
      readonly plural: string;
      readonly shortNames?: readonly string[];
    };
    readonly versions: readonly { readonly schema: { readonly openAPIV3Schema: JsonSchema } }[];
  };
}

/** Standard fields that need no row of their own. */
const STANDARD = /^(apiVersion|kind|metadata)$|\.conditions\[\]|[sS]elector\./;

/** Returns the page of the kinds of keelson.dev/v1alpha1. */
export function resourcesPage(): string {
  const crds = [...crdFiles().values()].map((text) => parse(text) as Crd);
  return [
    NOTICE,
    '# Kinds of keelson.dev/v1alpha1',
    'All kinds are cluster-scoped. `kubectl explain KIND.spec` shows the same.',
    ...crds.flatMap(kindSection),
    '',
  ].join('\n\n');
}

function kindSection({ spec: { names, versions } }: Crd): string[] {
  const schema = versions[0]?.schema.openAPIV3Schema ?? {};
  const fields = listFields(schema).filter(({ path }) => !STANDARD.test(path));
  const short = names.shortNames ?? [];
  return [
    `## ${names.kind}`,
    `${schema.description ?? ''} Resource \`${names.plural}\`, short ${short.map(code).join(', ')}.`,
    table(['Field', 'Type', 'Default', 'Meaning'], fields.map(fieldRow)),
  ];
}

function fieldRow({ path, schema, required }: SchemaField): string[] {
  const value = schema.default;
  const text =
    required && value === undefined ? 'required' : value === undefined ? '' : code(JSON.stringify(value));
  return [code(path), describeType(schema), text, schema.description ?? ''];
}
