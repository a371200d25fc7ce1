import { z } from 'zod';
import { AGE, conditionColumn, type KindDefinition, type KindObject, resourceOf } from './kind.ts';
import { field, labelSelector, quantity } from '../core/kube-text/document-schema.ts';
import { absolutePath, conditions, exactlyOne, immutable, noDotDot, observedGeneration } from './schema.ts';

const path = (description: string) => field(absolutePath, description, { rules: [noDotDot] });

const source = z.object({
  path: path('A directory that is there already: the mount point of a btrfs for backend btrfs.').optional(),
  file: path('A sparse file that the agent makes and mounts. Takes fileSize with it.').optional(),
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
    'Whole, empty block devices that the agent formats, by path or glob: /dev/disk/by-id/nvme-*. A device that carries any signature is never touched.',
    { set: true },
  ).optional(),
});

const spec = z.object({
  backend: field(
    z.enum(['btrfs', 'image', 'directory']).default('btrfs'),
    'How volumes are made: btrfs subvolumes with enforced quotas; image files with a file system of their own (also for raw block and encryption); plain directories with project quotas.',
  ),
  source: field(
    source,
    'What the pool is made of on each node: one of path, file (with fileSize) and devices.',
    {
      rules: [
        exactlyOne(['path', 'file', 'devices']),
        {
          rule: 'has(self.file) == has(self.fileSize)',
          message: 'file and fileSize go together: a sparse file needs its size',
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
    'Space that is never given to volumes: a size (10Gi) or a share of the pool (5%).',
  ),
  overcommitPercent: field(
    z.int().min(100).max(1000).default(100),
    'How much may be promised, in percent of what there is. Above 100, volumes may find the pool full before they are.',
  ),
  quota: field(
    z.enum(['auto', 'simple', 'classic']).default('auto'),
    'For backend btrfs: the kind of quota groups; auto takes simple ones where the kernel has them.',
  ),
  enforce: field(
    z.boolean().default(true),
    'For backend directory: false lets volumes be made where the kernel cannot hold them to their size.',
  ),
});

const status = z.object({
  observedGeneration,
  nodes: field(
    z.object({
      selected: field(z.int().min(0), 'Nodes that the selector names.'),
      ready: field(z.int().min(0), 'Of these, nodes where the pool can take volumes.'),
    }),
    'On how many nodes the pool is.',
  ).optional(),
  capacity: field(quantity, 'Of all nodes together.').optional(),
  allocated: field(quantity, 'Promised to volumes, on all nodes together.').optional(),
  volumes: field(z.int().min(0), 'Volumes and snapshots on all nodes.').optional(),
  conditions,
});

export const STORAGE_POOL_KIND: KindDefinition = {
  kind: 'StoragePool',
  plural: 'storagepools',
  singular: 'storagepool',
  shortNames: ['spool'],
  description:
    'Local storage that agents offer on the nodes that it selects. Volumes of a StorageClass that names it are made there.',
  spec: field(spec, 'What the pool is and where.', {
    rules: [
      ...immutable({ required: ['backend'] }),
      {
        rule: '(has(self.source.path) ? self.source.path : "") == (has(oldSelf.source.path) ? oldSelf.source.path : "") && (has(self.source.file) ? self.source.file : "") == (has(oldSelf.source.file) ? oldSelf.source.file : "") && has(self.source.devices) == has(oldSelf.source.devices)',
        message: 'source cannot become another one: only fileSize and the list of devices may grow',
        fieldPath: '.source',
      },
      {
        rule: '!has(oldSelf.source.fileSize) || !has(self.source.fileSize) || quantity(self.source.fileSize).compareTo(quantity(oldSelf.source.fileSize)) >= 0',
        message: 'fileSize must not be less than it was: pools do not shrink',
        fieldPath: '.source.fileSize',
      },
      {
        rule: '!has(oldSelf.source.devices) || !has(self.source.devices) || oldSelf.source.devices.all(device, device in self.source.devices)',
        message: 'devices may be added, not taken away',
        fieldPath: '.source.devices',
      },
    ],
  }),
  status: field(status, 'What the agents have made of it.'),
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

export type StoragePool = KindObject<typeof spec, typeof status>;
export const STORAGE_POOLS = resourceOf<StoragePool>(STORAGE_POOL_KIND);
