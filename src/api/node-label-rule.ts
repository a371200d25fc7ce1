import { z } from 'zod';
import { AGE, conditionColumn, type KindDefinition, type KindObject, resourceOf } from './kind.ts';
import { field, labelSelector, type Rule } from '../core/kube-text/document-schema.ts';
import { conditions, exactlyOne, objectName, observedGeneration } from './schema.ts';

const OURS: Rule = {
  rule: "!self.matches('^([^/]*[.])?topology[.]keelson[.]dev/') && self != 'keelson.dev/agent-not-ready'",
  message: 'is written by Keelson; use another key',
};
const NOT_KUBERNETES: Rule = {
  rule: "!self.matches('^([^/]*[.])?(kubernetes|k8s)[.]io/')",
  message:
    'must not be under kubernetes.io or k8s.io, which are reserved for Kubernetes; use a prefix of your own, or keelson.dev',
};
/** Labels for node features have reserved subdomains. */
const NOT_KUBERNETES_LABEL: Rule = {
  rule: `self.matches('^([^/]*[.])?(feature|profile)[.]node[.]kubernetes[.]io/') || ${NOT_KUBERNETES.rule}`,
  message: NOT_KUBERNETES.message,
};

const key = (description: string, ...rules: readonly Rule[]) =>
  field(
    z
      .string()
      .max(190)
      .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?\/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/),
    description,
    { rules: [OURS, ...rules] },
  );

const labelValue = z
  .string()
  .max(63)
  .regex(/^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/);

const expression = (description: string) => field(z.string().min(1).max(4096), description);

const label = field(
  z.object({
    key: key('Key of the label, with a prefix.', NOT_KUBERNETES_LABEL),
    value: field(labelValue, 'Its value.').optional(),
    expression: expression('CEL expression for its value, a string.').optional(),
  }),
  'A label, with a value or an expression.',
  { rules: [exactlyOne(['value', 'expression'])] },
);

const taint = z.object({
  key: key('Key of the taint, with a prefix.', NOT_KUBERNETES),
  value: field(labelValue, 'Its value.').optional(),
  effect: field(z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']), 'Effect on pods.'),
});

const extendedResource = field(
  z.object({
    name: key('Name of the resource, with a prefix.', NOT_KUBERNETES),
    quantity: field(z.int().min(0), 'Quantity.').optional(),
    expression: expression('CEL expression for the quantity, an integer.').optional(),
  }),
  'An extended resource, with a quantity or an expression.',
  { rules: [exactlyOne(['quantity', 'expression'])] },
);

const spec = z.object({
  nodeSelector: labelSelector('Nodes that the rule applies to; all when absent.').optional(),
  match: field(
    z.string().min(1).max(4096).default('true'),
    'CEL over `inventory` (status of the NodeInventory, without volatile figures) and `node` (name, and labels that no rule granted): whether the rule applies. Example: inventory.disks.exists(d, d.type == "nvme").',
  ),
  priority: field(
    z.int().min(-1_000_000).max(1_000_000).default(0),
    'Of two rules with different values for one key, the higher priority wins; of equal ones, the name that sorts first.',
  ),
  evictPods: field(
    z.boolean(),
    'Must be true for taints with the effect NoExecute, which evict running pods from matching nodes.',
  ).optional(),
  labels: field(z.array(label).max(64), 'Labels of matching nodes.', { mapKeys: ['key'] }).optional(),
  taints: field(z.array(taint).max(16), 'Taints of matching nodes.', {
    mapKeys: ['key', 'effect'],
  }).optional(),
  extendedResources: field(
    z.array(extendedResource).max(16),
    'Resources that pods may request on matching nodes.',
    {
      mapKeys: ['name'],
    },
  ).optional(),
});

const status = z.object({
  observedGeneration,
  matchedNodes: field(z.int().min(0), 'Number of matching nodes.').optional(),
  failures: field(
    z
      .array(
        z.object({
          nodeName: field(objectName, 'Where.'),
          message: field(z.string().max(1024), 'Error message.'),
        }),
      )
      .max(10),
    'The first nodes on which the rule could not be evaluated. What was applied there stays.',
    { mapKeys: ['nodeName'] },
  ).optional(),
  failedNodes: field(z.int().min(0), 'Number of nodes on which the rule could not be evaluated.').optional(),
  conflicts: field(
    z
      .array(
        z.object({
          nodeName: field(objectName, 'Where.'),
          message: field(z.string().max(1024), 'What has another value there, and who set it.'),
        }),
      )
      .max(10),
    'The first matching nodes that lack something of the rule, because another rule or writer has set it.',
    { mapKeys: ['nodeName'] },
  ).optional(),
  conflictingNodes: field(
    z.int().min(0),
    'Number of matching nodes that lack something of the rule.',
  ).optional(),
  conditions,
});

/** Definition of the kind NodeLabelRule. */
export const NODE_LABEL_RULE_KIND: KindDefinition = {
  kind: 'NodeLabelRule',
  plural: 'nodelabelrules',
  singular: 'nodelabelrule',
  shortNames: ['nlr'],
  description: 'Labels, taints and extended resources for the nodes whose inventory matches.',
  spec: field(spec, 'Condition, and what is granted.', {
    rules: [
      {
        rule: 'has(self.labels) || has(self.taints) || has(self.extendedResources)',
        message: 'at least one of labels, taints and extendedResources must be set',
      },
      {
        rule: "!has(self.taints) || !self.taints.exists(t, t.effect == 'NoExecute') || (has(self.evictPods) && self.evictPods)",
        message: 'a taint with the effect NoExecute evicts running pods; set evictPods to true to allow that',
        fieldPath: '.taints',
      },
    ],
  }),
  status: field(status, 'Observed state.'),
  columns: [
    { name: 'Nodes', type: 'integer', jsonPath: '.status.matchedNodes' },
    conditionColumn('Valid'),
    conditionColumn('Applied'),
    { name: 'Priority', type: 'integer', jsonPath: '.spec.priority', priority: 1 },
    { name: 'Match', type: 'string', jsonPath: '.spec.match', priority: 1 },
    AGE,
  ],
};

/** Labels, taints and extended resources for nodes that match. */
export type NodeLabelRule = KindObject<typeof spec, typeof status>;
/** The resource of NodeLabelRules. */
export const NODE_LABEL_RULES = resourceOf<NodeLabelRule>(NODE_LABEL_RULE_KIND);
