import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { customResourceDefinition } from './crd.ts';
import { crdFiles } from './crd-files.ts';
import { KINDS } from './kinds.ts';
import { groupSnapshotCrdFiles, snapshotCrdFiles, snapshotDefinition } from './snapshot-crds.ts';
import { GROUP_SNAPSHOT_KINDS } from './group-snapshot-kinds.ts';
import { SNAPSHOT_KINDS } from './snapshot-kinds.ts';

describe('the CustomResourceDefinitions in deploy', () => {
  it.each([
    ['crds', crdFiles()],
    ['snapshot-crds', snapshotCrdFiles()],
    ['group-snapshot-crds', groupSnapshotCrdFiles()],
  ])('/%s are those that src/api describes: run node scripts/generate-crds.ts', async (folder, files) => {
    const directory = join(import.meta.dirname, '../../deploy', folder);
    const committed = new Map<string, string>();
    for (const file of await readdir(directory)) {
      committed.set(file, await readFile(join(directory, file), 'utf8'));
    }
    expect(Object.fromEntries(committed)).toEqual(Object.fromEntries(files));
  });

  it('describe every field, so that kubectl explain has an answer', () => {
    const ours = KINDS.map((kind) => [kind.kind, schemaOf(customResourceDefinition(kind))] as const);
    const standard = [...SNAPSHOT_KINDS, ...GROUP_SNAPSHOT_KINDS].map(
      (kind) => [kind.kind, schemaOf(snapshotDefinition(kind))] as const,
    );
    expect([...ours, ...standard].flatMap(([kind, schema]) => undescribed(schema, kind))).toEqual([]);
  });
});

interface Schema {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
}

function schemaOf(definition: object): Schema {
  const crd = definition as { spec: { versions: [{ schema: { openAPIV3Schema: Schema } }] } };
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
