import { z } from 'zod';
import { AGE, conditionColumn, type KindDefinition, type KindObject, resourceOf } from './kind.ts';
import { conditions, field, labelSelector, objectName, observedGeneration } from './schema.ts';

const cidr = (description: string) =>
  field(z.string().max(43), description, {
    rules: [
      { rule: 'isCIDR(self)', message: 'must be an address range like 10.88.0.0/16 or fd00:88::/48' },
      {
        rule: '!isCIDR(self) || cidr(self) == cidr(self).masked()',
        message: 'has bits set after its prefix: write the first address of the range',
      },
    ],
  });

const address = field(z.string().max(39), 'An address.', {
  rules: [{ rule: 'isIP(self)', message: 'must be an address like 10.88.0.7 or fd00:88::7' }],
});

const range = field(
  z.object({
    cidr: cidr('Addresses of the pool.'),
    blockPrefixLength: field(
      z.int().min(8).max(126),
      'Each node takes blocks of this size from the range: 26 gives it 64 IPv4 addresses at a time.',
    ).optional(),
    exclude: field(
      z.array(cidr('Addresses in it that are not given out.')).max(16),
      'Parts that are not given out.',
    ).optional(),
  }),
  'A range of addresses.',
  {
    rules: [
      {
        rule: '!has(self.blockPrefixLength) || !isCIDR(self.cidr) || self.blockPrefixLength >= cidr(self.cidr).prefixLength()',
        message:
          'blockPrefixLength must not be less than the prefix length of cidr: a block is a part of the range',
        fieldPath: '.blockPrefixLength',
      },
      {
        rule: '!has(self.exclude) || !isCIDR(self.cidr) || self.exclude.all(part, !isCIDR(part) || cidr(self.cidr).containsCIDR(part))',
        message: 'every part of exclude must lie in cidr',
        fieldPath: '.exclude',
      },
    ],
  },
);

const staticAddress = z.object({
  namespace: field(z.string().min(1).max(63), 'Namespace of the pod.'),
  podName: field(z.string().min(1).max(253), 'Name of the pod: one of a StatefulSet keeps its name.'),
  addresses: field(z.array(address).min(1).max(2), 'At most one of each family.', { set: true }),
});

const spec = z.object({
  nodeSelector: labelSelector('Nodes that take from this pool; all when absent.').optional(),
  namespaceSelector: labelSelector(
    'Namespaces whose pods get addresses of this pool; those that ask for it by annotation when absent.',
  ).optional(),
  ranges: field(z.array(range).min(1).max(16), 'Ranges of either family.', { mapKeys: ['cidr'] }),
  staticAddresses: field(z.array(staticAddress).max(256), 'Addresses that are kept for certain pods.', {
    mapKeys: ['namespace', 'podName'],
  }).optional(),
  masqueradeExclusions: field(
    z.array(cidr('Destinations.')).max(64),
    "Destinations that see the pod's own address, besides the cluster's ranges.",
  ).optional(),
});

const status = z.object({
  observedGeneration,
  allocated: field(z.int().min(0), 'Addresses in use.').optional(),
  blocks: field(
    z
      .array(
        z.object({
          cidr: field(z.string().max(43), 'The block.'),
          nodeName: field(objectName, 'Who has it.'),
        }),
      )
      .max(4096),
    'Which node has which part of the ranges.',
    { mapKeys: ['cidr'] },
  ).optional(),
  conditions,
});

export const NETWORK_POOL_KIND: KindDefinition = {
  kind: 'NetworkPool',
  plural: 'networkpools',
  singular: 'networkpool',
  shortNames: ['npool'],
  description:
    "Addresses for pods besides the nodes' own ranges (node.spec.podCIDRs): extra ranges, fixed addresses, exceptions from masquerading.",
  spec: field(spec, 'Which addresses, for whom.', {
    rules: [
      {
        rule: 'oldSelf.ranges.all(old, self.ranges.exists(now, now.cidr == old.cidr))',
        message:
          'a range cannot be taken away while pods may have its addresses; create another pool and delete this one',
        fieldPath: '.ranges',
      },
      {
        rule: '!has(self.staticAddresses) || self.staticAddresses.all(pod, pod.addresses.all(address, !isIP(address) || self.ranges.exists(range, isCIDR(range.cidr) && cidr(range.cidr).containsIP(address))))',
        message: 'every static address must lie in one of the ranges',
        fieldPath: '.staticAddresses',
      },
    ],
  }),
  status: field(status, 'Who has what.'),
  columns: [
    { name: 'Ranges', type: 'string', jsonPath: '.spec.ranges[*].cidr' },
    { name: 'Allocated', type: 'integer', jsonPath: '.status.allocated' },
    conditionColumn('Ready'),
    AGE,
  ],
};

export type NetworkPool = KindObject<typeof spec, typeof status>;
export const NETWORK_POOLS = resourceOf<NetworkPool>(NETWORK_POOL_KIND);
