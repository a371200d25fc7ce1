import { z } from 'zod';
import { AGE, type KindDefinition, type KindObject, resourceOf } from './kind.ts';
import { field, labelSelector } from '../core/kube-text/document-schema.ts';
import { observedGeneration } from './schema.ts';

const cidr = field(z.string().max(43), 'An address range.', {
  rules: [
    { rule: 'isCIDR(self)', message: 'must be an address range like 192.168.0.0/16 or fd00:88::/48' },
    {
      rule: '!isCIDR(self) || cidr(self) == cidr(self).masked()',
      message: 'has bits set beyond its prefix: use the first address of the range',
    },
  ],
});

const spec = z.object({
  nodeSelector: labelSelector('Nodes that it applies to; all when absent.').optional(),
  masqueradeExclusions: field(
    z.array(cidr).min(1).max(64),
    "Destinations that see the pod's own address instead of the node's, besides the pods of all nodes.",
    { set: true },
  ),
});

const status = z.object({
  observedGeneration,
  nodes: field(z.int().min(0), 'Number of nodes that it applies to.').optional(),
});

/** Definition of the kind NetworkPool. */
export const NETWORK_POOL_KIND: KindDefinition = {
  kind: 'NetworkPool',
  plural: 'networkpools',
  singular: 'networkpool',
  shortNames: ['npool'],
  description:
    "Network settings of pods besides their nodes' ranges (node.spec.podCIDRs): exceptions from masquerading.",
  spec: field(spec, 'Settings, and the nodes that they apply to.'),
  status: field(status, 'Observed state.'),
  columns: [
    { name: 'Direct', type: 'string', jsonPath: '.spec.masqueradeExclusions' },
    { name: 'Nodes', type: 'integer', jsonPath: '.status.nodes' },
    AGE,
  ],
};

/** Network settings of the pods of some nodes. */
export type NetworkPool = KindObject<typeof spec, typeof status>;
/** The resource of NetworkPools. */
export const NETWORK_POOLS = resourceOf<NetworkPool>(NETWORK_POOL_KIND);
