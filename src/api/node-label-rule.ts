import { z } from 'zod';
import { AGE, conditionColumn, type KindDefinition, type KindObject, resourceOf } from './kind.ts';
import {
  conditions,
  exactlyOne,
  field,
  labelSelector,
  objectName,
  observedGeneration,
  type Rule,
} from './schema.ts';

const OUR_PREFIX: Rule = {
  rule: "self.startsWith('keelson.dev/') || self.contains('.keelson.dev/')",
  message:
    'must begin with keelson.dev/ or NAME.keelson.dev/: rules write under this prefix alone, so that they fight with nobody',
};

const key = (description: string) =>
  field(
    z
      .string()
      .max(190)
      .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?\/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/),
    description,
    { rules: [OUR_PREFIX] },
  );

const labelValue = z
  .string()
  .max(63)
  .regex(/^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/);

const expression = (description: string) => field(z.string().min(1).max(4096), description);

const label = field(
  z.object({
    key: key('Key of the label.'),
    value: field(labelValue, 'Its value.').optional(),
    expression: expression('CEL that gives its value, a string.').optional(),
  }),
  'A label, with a value or the expression for one.',
  { rules: [exactlyOne(['value', 'expression'])] },
);

const taint = z.object({
  key: key('Key of the taint.'),
  value: field(labelValue, 'Its value.').optional(),
  effect: field(z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']), 'What it does to pods.'),
});

const extendedResource = field(
  z.object({
    name: key('Name of the resource.'),
    quantity: field(z.int().min(0), 'How many there are.').optional(),
    expression: expression('CEL that gives how many there are, an integer.').optional(),
  }),
  'An extended resource, with a quantity or the expression for one.',
  { rules: [exactlyOne(['quantity', 'expression'])] },
);

const spec = z.object({
  nodeSelector: labelSelector('Nodes that the rule looks at; all when absent.').optional(),
  match: field(
    z.string().min(1).max(4096).default('true'),
    'CEL over `inventory` (the status of the NodeInventory) and `node` (name, labels): whether the rule applies. Example: inventory.disks.exists(d, d.type == "nvme").',
  ),
  labels: field(z.array(label).max(64), 'Labels of the nodes that match.', { mapKeys: ['key'] }).optional(),
  taints: field(z.array(taint).max(16), 'Taints of the nodes that match.', {
    mapKeys: ['key', 'effect'],
  }).optional(),
  extendedResources: field(
    z.array(extendedResource).max(16),
    'Resources that pods may ask for on the nodes that match.',
    {
      mapKeys: ['name'],
    },
  ).optional(),
});

const status = z.object({
  observedGeneration,
  matchedNodes: field(z.int().min(0), 'Nodes that have what the rule gives.').optional(),
  failures: field(
    z
      .array(
        z.object({
          nodeName: field(objectName, 'Where.'),
          message: field(z.string().max(1024), 'What is wrong.'),
        }),
      )
      .max(10),
    'The first nodes on which the rule could not be evaluated. They keep what they had.',
    { mapKeys: ['nodeName'] },
  ).optional(),
  conditions,
});

export const NODE_LABEL_RULE_KIND: KindDefinition = {
  kind: 'NodeLabelRule',
  plural: 'nodelabelrules',
  singular: 'nodelabelrule',
  shortNames: ['nlr'],
  description: 'Labels, taints and extended resources for the nodes whose inventory matches.',
  spec: field(spec, 'When, and what then.', {
    rules: [
      {
        rule: 'has(self.labels) || has(self.taints) || has(self.extendedResources)',
        message: 'at least one of labels, taints and extendedResources must be given',
      },
    ],
  }),
  status: field(status, 'What came of it.'),
  columns: [
    { name: 'Nodes', type: 'integer', jsonPath: '.status.matchedNodes' },
    conditionColumn('Valid'),
    { name: 'Match', type: 'string', jsonPath: '.spec.match', priority: 1 },
    AGE,
  ],
};

export type NodeLabelRule = KindObject<typeof spec, typeof status>;
export const NODE_LABEL_RULES = resourceOf<NodeLabelRule>(NODE_LABEL_RULE_KIND);
