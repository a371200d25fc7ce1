import { expect, test } from 'vitest';
import { FACT_TYPES } from '../core/labels/label-facts.ts';
import { customResourceDefinition } from './crd.ts';
import { NODE_INVENTORY_KIND } from './node-inventory.ts';

/** What rules for labels may not read: it moves while a node runs. */
const MOVING = [
  'agentVersion',
  'conditions',
  'observedTime',
  'policies.generation',
  'policies.name',
  'policies.problem',
  'policies.uid',
  'storage.allocated',
  'storage.volumes',
  'storage.pools.allocated',
  'storage.pools.largestVolume',
  'storage.pools.reason',
  'storage.pools.volumes',
];

test('rules can read every field of an inventory that does not move', () => {
  const crd = customResourceDefinition(NODE_INVENTORY_KIND) as {
    spec: { versions: [{ schema: { openAPIV3Schema: { properties: { status: Schema } } } }] };
  };
  const fields = fieldsOfSchema(crd.spec.versions[0].schema.openAPIV3Schema.properties.status);
  expect([...fieldsOfFacts('Inventory'), ...MOVING].sort()).toEqual(fields.sort());
});

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
}

function fieldsOfSchema(schema: Schema): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => {
    if (MOVING.includes(name)) return [name];
    const below = fieldsOfSchema(inner.items ?? inner);
    return below.length === 0 ? [name] : below.map((field) => `${name}.${field}`);
  });
}

function fieldsOfFacts(type: keyof typeof FACT_TYPES): string[] {
  return Object.entries<string>(FACT_TYPES[type]).flatMap(([name, fieldType]) => {
    const inner = fieldType.replace(/^list<(.+)>$/, '$1');
    return inner in FACT_TYPES
      ? fieldsOfFacts(inner as keyof typeof FACT_TYPES).map((field) => `${name}.${field}`)
      : [name];
  });
}
