import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { customResourceDefinition } from './crd.ts';
import { crdFiles } from './crd-files.ts';
import type { KindDefinition } from './kind.ts';
import { KINDS } from './kinds.ts';

const directory = join(import.meta.dirname, '../../deploy/crds');

describe('the CustomResourceDefinitions in deploy/crds', () => {
  it('are those that src/api describes: run node scripts/generate-crds.ts', async () => {
    const committed = new Map<string, string>();
    for (const file of await readdir(directory)) {
      committed.set(file, await readFile(join(directory, file), 'utf8'));
    }
    expect(Object.fromEntries(committed)).toEqual(Object.fromEntries(crdFiles()));
  });

  it('describe every field, so that kubectl explain has an answer', () => {
    expect(KINDS.flatMap((kind) => undescribed(schemaOf(kind), kind.kind))).toEqual([]);
  });
});

interface Schema {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
}

function schemaOf(kind: KindDefinition): Schema {
  const crd = customResourceDefinition(kind) as {
    spec: { versions: [{ schema: { openAPIV3Schema: Schema } }] };
  };
  return crd.spec.versions[0].schema.openAPIV3Schema;
}

function undescribed(schema: Schema, path: string): string[] {
  const fields = Object.entries(schema.properties ?? {}).filter(([name]) => !TYPE_FIELDS.includes(name));
  return [
    ...fields.filter(([, inner]) => inner.description === undefined).map(([name]) => `${path}.${name}`),
    ...fields.flatMap(([name, inner]) => undescribed(inner, `${path}.${name}`)),
    ...(schema.items === undefined ? [] : undescribed(schema.items, `${path}[]`)),
  ];
}

/** The server describes these itself. */
const TYPE_FIELDS = ['apiVersion', 'kind', 'metadata'];
