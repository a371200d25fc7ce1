import { z } from 'zod';
import type { KubeObject } from '../kube/resource.ts';
import { AGE, conditionColumn, type KindDefinition, resourceOf } from './kind.ts';
import { field, quantity } from '../core/kube-text/document-schema.ts';
import { conditions, type Frozen } from './schema.ts';

const word = z.string().max(128);
const words = z.array(word).max(512);
const count = z.int().min(0);

/**
 * All but the conditions has a single owner, the agent, and each part is written as a whole:
 * tracking the owner of every processor flag would double the object, and most of the cost of a
 * write.
 */
const ONE_VALUE = { atomic: true } as const;

const pool = z.object({
  name: field(word, 'The StoragePool.'),
  backend: field(z.enum(['btrfs', 'image', 'directory']), 'Backend of its volumes.'),
  origin: field(
    z.enum(['config', 'api']),
    "Where the pool is defined: in the node's configuration file (config), or in the StoragePool of its name (api).",
  ).optional(),
  labels: field(
    z.record(z.string(), z.string().max(63)),
    'Labels of the StoragePool, or of the pool in the configuration file, for the poolSelector of StorageClasses.',
  ).optional(),
  ready: field(z.boolean(), 'Whether it accepts volumes.'),
  reason: field(z.string().max(1024), 'Why it does not.').optional(),
  capacity: field(quantity, 'Total size available to volumes, less the reserve, times the overcommit.'),
  allocated: field(quantity, 'Part of it that is allocated to volumes and snapshots.'),
  largestVolume: field(quantity, 'The largest volume that can be created now.'),
  volumes: field(count, 'Number of volumes and snapshots.'),
  features: field(words, 'E.g. snapshot, clone, block, encryption.').optional(),
});

const storage = z.object({
  capacity: field(quantity, 'Of all pools.'),
  allocated: field(quantity, 'Of all pools.'),
  volumes: field(count, 'Of all pools.'),
  pools: field(z.array(pool).max(64), 'The pools of this node.'),
});

const cpu = z.object({
  architecture: field(word, 'As in kubernetes.io/arch: amd64, arm64.'),
  vendor: field(word, 'E.g. GenuineIntel.').optional(),
  model: field(word, 'Model name.').optional(),
  sockets: field(count, 'Packages.').optional(),
  cores: field(count, 'Physical cores.').optional(),
  threads: field(count, 'Logical processors.'),
  features: field(words, 'CPU flags as the kernel names them: avx2, sha_ni.').optional(),
});

const memory = z.object({
  total: field(quantity, 'Memory available to the kernel.'),
  swap: field(quantity, 'Swap space.').optional(),
  hugePages: field(z.record(z.string(), count), 'Preallocated huge pages by size: 2Mi, 1Gi.', {
    maxProperties: 16,
  }).optional(),
  numaNodes: field(count, 'NUMA nodes.').optional(),
});

const disk = z.object({
  name: field(word, 'Kernel name: nvme0n1.'),
  type: field(z.enum(['nvme', 'ssd', 'hdd', 'virtual']), 'Kind of disk.'),
  rotational: field(z.boolean(), 'Whether it is rotational.'),
  size: field(quantity, 'Its size.'),
  model: field(word, 'Model name.').optional(),
  inUse: field(z.boolean(), 'It has a signature, or is mounted.').optional(),
});

const networkInterface = z.object({
  name: field(word, 'Kernel name: eth0.'),
  driver: field(word, 'Kernel driver.').optional(),
  speedMbps: field(count, 'Link speed.').optional(),
  mtu: field(count, 'MTU.').optional(),
});

const pciDevice = z.object({
  class: field(word, 'Class code, six hexadecimal digits: 030000.'),
  vendor: field(word, 'Vendor code, four hexadecimal digits: 10de.'),
  device: field(word, 'Device code, four hexadecimal digits.'),
  count: field(count, 'Number of devices.'),
});

const policy = z.object({
  name: field(z.string().max(253), 'The RuntimePolicy.'),
  uid: field(word, 'UID of that object.'),
  generation: field(count, 'Generation that is enforced; absent when none is.').optional(),
  problem: field(z.string().max(4096), 'Why the newest generation is not enforced.').optional(),
});

const status = z.object({
  agentVersion: field(word, 'Version of the agent.').optional(),
  observedTime: field(z.string(), 'When this was observed. Changes only with the content.', {
    format: 'date-time',
  }).optional(),
  kernel: field(
    z.object({
      release: field(word, 'Kernel release (uname -r).'),
      features: field(
        words,
        'Capabilities for storage and network: btrfs-simple-quota, nftables, fscrypt.',
      ).optional(),
      cgroup: field(z.enum(['v1', 'v2', 'hybrid']), 'Version of the cgroup hierarchy.').optional(),
    }),
    'The kernel.',
    ONE_VALUE,
  ).optional(),
  operatingSystem: field(word, 'PRETTY_NAME of os-release.').optional(),
  cpu: field(cpu, 'Processors.', ONE_VALUE).optional(),
  memory: field(memory, 'Memory.', ONE_VALUE).optional(),
  disks: field(z.array(disk).max(256), 'Whole disks.').optional(),
  filesystems: field(words, 'File systems of the kernel.').optional(),
  interfaces: field(
    z.array(networkInterface).max(256),
    'Network interfaces of the machine, without those of pods.',
  ).optional(),
  pciDevices: field(z.array(pciDevice).max(256), 'PCI devices by class.').optional(),
  runtime: field(
    z.object({
      name: field(word, 'containerd, cri-o.'),
      version: field(word, 'Its version.'),
      proxied: field(
        z.boolean(),
        "Whether kubelet's calls pass through Keelson's CRI proxy, so that policies apply.",
      ),
    }),
    'The container runtime.',
    ONE_VALUE,
  ).optional(),
  network: field(
    z.object({
      ranges: field(z.array(z.string().max(43)).max(16), 'Pod address ranges.'),
      mtu: field(count, "MTU of pods' interfaces.").optional(),
    }),
    'The pod network of this node.',
    ONE_VALUE,
  ).optional(),
  policies: field(
    z.array(policy).max(512),
    "Runtime policies, as the node's CRI proxy reports them; absent without a proxy.",
  ).optional(),
  storage: field(storage, 'Pools and their usage.', ONE_VALUE).optional(),
  conditions,
});

/** Definition of the kind NodeInventory. */
export const NODE_INVENTORY_KIND: KindDefinition = {
  kind: 'NodeInventory',
  plural: 'nodeinventories',
  singular: 'nodeinventory',
  shortNames: ['ninv'],
  description:
    'Facts about a node, as its agent found them; it has the name of the node. Label rules read it, and the controller places volumes by it.',
  status: field(status, 'Observed state.'),
  columns: [
    conditionColumn('Ready'),
    { name: 'Capacity', type: 'string', jsonPath: '.status.storage.capacity' },
    { name: 'Allocated', type: 'string', jsonPath: '.status.storage.allocated' },
    { name: 'Volumes', type: 'integer', jsonPath: '.status.storage.volumes' },
    { name: 'Kernel', type: 'string', jsonPath: '.status.kernel.release' },
    { name: 'Runtime', type: 'string', jsonPath: '.status.runtime.version', priority: 1 },
    { name: 'Proxied', type: 'boolean', jsonPath: '.status.runtime.proxied', priority: 1 },
    { name: 'Agent', type: 'string', jsonPath: '.status.agentVersion' },
    AGE,
  ],
};

/** It has no spec: facts are not requested. */
export interface NodeInventory extends KubeObject {
  readonly status?: Frozen<z.output<typeof status>>;
}
/** The resource of NodeInventories. */
export const NODE_INVENTORIES = resourceOf<NodeInventory>(NODE_INVENTORY_KIND);
