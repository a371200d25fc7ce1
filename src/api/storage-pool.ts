import { z } from 'zod';
import { AGE, conditionColumn, type KindDefinition, type KindObject, resourceOf } from './kind.ts';
import { field, labelSelector, quantity } from '../core/kube-text/document-schema.ts';
import { absolutePath, conditions, exactlyOne, immutable, noDotDot, observedGeneration } from './schema.ts';

const path = (description: string) => field(absolutePath, description, { rules: [noDotDot] });

const source = z.object({
  path: path('An existing directory: the mount point of a btrfs for backend btrfs.').optional(),
  file: path('A sparse file that the agent creates and mounts. Requires fileSize.').optional(),
  fileSize: field(quantity, 'Size of the sparse file, e.g. 100Gi.').optional(),
  devices: field(
    z
      .array(
        field(z.string().max(256), 'Path or glob of block devices.', {
          rules: [{ rule: "self.startsWith('/dev/')", message: 'must be a path below /dev, globs allowed' }],
        }),
      )
      .min(1)
      .max(64),
    'Whole, empty block devices that the agent formats, by path or glob: /dev/disk/by-id/nvme-*. A device with any signature is never touched.',
    { set: true },
  ).optional(),
});

const spec = z.object({
  backend: field(
    z.enum(['btrfs', 'image', 'directory']).default('btrfs'),
    'How volumes are created: btrfs subvolumes with enforced quotas; image files with a file system each (also for raw block and encryption); plain directories with project quotas.',
  ),
  source: field(
    source,
    'What the pool consists of on each node: one of path, file (with fileSize) and devices.',
    {
      rules: [
        exactlyOne(['path', 'file', 'devices']),
        {
          rule: 'has(self.file) == has(self.fileSize)',
          message: 'file and fileSize must be set together',
        },
      ],
    },
  ),
  nodeSelector: labelSelector('Nodes that have this pool; all when absent.').optional(),
  reserve: field(
    z
      .string()
      .max(32)
      .regex(/^(\d+(\.\d{1,9})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?|\d{1,2}%)$/)
      .default('0'),
    'Space that is never allocated to volumes: a size (10Gi) or a share of the pool (5%).',
  ),
  overcommitPercent: field(
    z.int().min(100).max(1000).default(100),
    'How much may be allocated, in percent of the capacity. Above 100, the pool may be full before its volumes are.',
  ),
  quota: field(
    z.enum(['auto', 'simple', 'classic']).default('auto'),
    'For backend btrfs: the kind of quota groups; auto uses simple quotas where the kernel supports them.',
  ),
  enforce: field(
    z.boolean().default(true),
    'For backend directory: false allows volumes where the kernel cannot enforce their size.',
  ),
});

const status = z.object({
  observedGeneration,
  nodes: field(
    z.object({
      selected: field(z.int().min(0), 'Number of nodes that nodeSelector matches.'),
      ready: field(z.int().min(0), 'Number of these nodes where the pool accepts volumes.'),
    }),
    'Number of nodes that have the pool.',
  ).optional(),
  capacity: field(quantity, 'Capacity on all nodes.').optional(),
  allocated: field(quantity, 'Allocated to volumes on all nodes.').optional(),
  volumes: field(z.int().min(0), 'Number of volumes and snapshots on all nodes.').optional(),
  conditions,
});

/** Definition of the kind StoragePool. */
export const STORAGE_POOL_KIND: KindDefinition = {
  kind: 'StoragePool',
  plural: 'storagepools',
  singular: 'storagepool',
  shortNames: ['spool'],
  description:
    'Local storage on the nodes that it selects. Volumes of a StorageClass with this pool are created there.',
  spec: field(spec, 'Definition of the pool.', {
    rules: [
      ...immutable({ required: ['backend'] }),
      {
        rule: '(has(self.source.path) ? self.source.path : "") == (has(oldSelf.source.path) ? oldSelf.source.path : "") && (has(self.source.file) ? self.source.file : "") == (has(oldSelf.source.file) ? oldSelf.source.file : "") && has(self.source.devices) == has(oldSelf.source.devices)',
        message: 'source is immutable except that fileSize and the list of devices may grow',
        fieldPath: '.source',
      },
      {
        rule: '!has(oldSelf.source.fileSize) || !has(self.source.fileSize) || quantity(self.source.fileSize).compareTo(quantity(oldSelf.source.fileSize)) >= 0',
        message: 'fileSize must not decrease: pools do not shrink',
        fieldPath: '.source.fileSize',
      },
      {
        rule: '!has(oldSelf.source.devices) || !has(self.source.devices) || oldSelf.source.devices.all(device, device in self.source.devices)',
        message: 'devices may be added, not removed',
        fieldPath: '.source.devices',
      },
    ],
  }),
  status: field(status, 'Observed state.'),
  columns: [
    { name: 'Backend', type: 'string', jsonPath: '.spec.backend' },
    { name: 'Nodes', type: 'integer', jsonPath: '.status.nodes.selected' },
    { name: 'Usable', type: 'integer', jsonPath: '.status.nodes.ready' },
    { name: 'Capacity', type: 'string', jsonPath: '.status.capacity' },
    { name: 'Allocated', type: 'string', jsonPath: '.status.allocated' },
    { name: 'Volumes', type: 'integer', jsonPath: '.status.volumes', priority: 1 },
    conditionColumn('Ready'),
    AGE,
  ],
};

/** Local storage of the nodes that it selects. */
export type StoragePool = KindObject<typeof spec, typeof status>;
/** The resource of StoragePools. */
export const STORAGE_POOLS = resourceOf<StoragePool>(STORAGE_POOL_KIND);
