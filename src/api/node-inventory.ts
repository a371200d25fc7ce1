import { z } from 'zod';
import type { KubeObject } from '../kube/resource.ts';
import { AGE, conditionColumn, type KindDefinition, resourceOf } from './kind.ts';
import { field, quantity } from '../core/kube-text/document-schema.ts';
import { conditions, type Frozen } from './schema.ts';

const word = z.string().max(128);
const words = z.array(word).max(512);
const count = z.int().min(0);

/**
 * All but the conditions is the agent's alone, and each part is written as a whole: books on the owner of every flag of a processor would be
 * half of the object, and most of what a write costs the API server.
 */
const ONE_VALUE = { atomic: true } as const;

const pool = z.object({
  name: field(word, 'The StoragePool.'),
  backend: field(z.enum(['btrfs', 'image', 'directory']), 'How it makes volumes.'),
  origin: field(
    z.enum(['config', 'api']),
    "Who wishes for it: the node's configuration file (config), or the StoragePool of its name (api).",
  ).optional(),
  labels: field(
    z.record(z.string(), z.string().max(63)),
    'Those of the StoragePool, or of the pool in the configuration file; the poolSelector of StorageClasses selects by them.',
  ).optional(),
  ready: field(z.boolean(), 'Whether it takes volumes.'),
  reason: field(z.string().max(1024), 'Why it does not.').optional(),
  capacity: field(quantity, 'What volumes may have in all, without the reserve and with the overcommit.'),
  allocated: field(quantity, 'Of that, promised to volumes and snapshots.'),
  largestVolume: field(quantity, 'The largest volume that could be made now.'),
  volumes: field(count, 'Volumes and snapshots.'),
  features: field(words, 'E.g. snapshot, clone, block, encryption.').optional(),
});

const storage = z.object({
  capacity: field(quantity, 'Of all pools.'),
  allocated: field(quantity, 'Of all pools.'),
  volumes: field(count, 'Of all pools.'),
  pools: field(z.array(pool).max(64), 'Each pool of this node.'),
});

const cpu = z.object({
  architecture: field(word, 'As in kubernetes.io/arch: amd64, arm64.'),
  vendor: field(word, 'E.g. GenuineIntel.').optional(),
  model: field(word, 'As the maker calls it.').optional(),
  sockets: field(count, 'Packages.').optional(),
  cores: field(count, 'Physical cores.').optional(),
  threads: field(count, 'What the kernel schedules on.'),
  features: field(words, 'Flags of the kernel: avx2, sha_ni.').optional(),
});

const memory = z.object({
  total: field(quantity, 'Memory that the kernel has.'),
  swap: field(quantity, 'Swap space.').optional(),
  hugePages: field(z.record(z.string(), count), 'Preallocated pages by size: 2Mi, 1Gi.', {
    maxProperties: 16,
  }).optional(),
  numaNodes: field(count, 'Memory nodes.').optional(),
});

const disk = z.object({
  name: field(word, 'Of the kernel: nvme0n1.'),
  type: field(z.enum(['nvme', 'ssd', 'hdd', 'virtual']), 'What it is.'),
  rotational: field(z.boolean(), 'Whether seeking costs.'),
  size: field(quantity, 'Its size.'),
  model: field(word, 'As the maker calls it.').optional(),
  inUse: field(z.boolean(), 'Carries a signature, or is mounted.').optional(),
});

const networkInterface = z.object({
  name: field(word, 'Of the kernel: eth0.'),
  driver: field(word, 'Kernel driver.').optional(),
  speedMbps: field(count, 'Speed of the link.').optional(),
  mtu: field(count, 'Largest packet.').optional(),
});

const pciDevice = z.object({
  class: field(word, 'Class code, six hexadecimal digits: 030000.'),
  vendor: field(word, 'Vendor code, four hexadecimal digits: 10de.'),
  device: field(word, 'Device code, four hexadecimal digits.'),
  count: field(count, 'How many of them.'),
});

const policy = z.object({
  name: field(z.string().max(253), 'The RuntimePolicy.'),
  uid: field(word, 'Of that object.'),
  generation: field(count, 'What is in force is this generation of it; nothing is when absent.').optional(),
  problem: field(z.string().max(4096), 'Why the newest generation is not.').optional(),
});

const status = z.object({
  agentVersion: field(word, 'Version of the agent that wrote this.').optional(),
  observedTime: field(z.string(), 'When this was found out. Changes only with the content.', {
    format: 'date-time',
  }).optional(),
  kernel: field(
    z.object({
      release: field(word, 'As uname -r says.'),
      features: field(
        words,
        'Capabilities that matter to storage and network: btrfs-simple-quota, nftables, fscrypt.',
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
  filesystems: field(words, 'File systems that the kernel has.').optional(),
  interfaces: field(
    z.array(networkInterface).max(256),
    'Network interfaces of the machine, not those of pods.',
  ).optional(),
  pciDevices: field(z.array(pciDevice).max(256), 'PCI devices by class.').optional(),
  runtime: field(
    z.object({
      name: field(word, 'containerd, cri-o.'),
      version: field(word, 'Its version.'),
      proxied: field(z.boolean(), "Whether kubelet's calls pass through our proxy, so that policies apply."),
    }),
    'The container runtime.',
    ONE_VALUE,
  ).optional(),
  network: field(
    z.object({
      ranges: field(z.array(z.string().max(43)).max(16), 'Ranges of pod addresses.'),
      mtu: field(count, "Of pods' interfaces.").optional(),
    }),
    'The pod network of this node.',
    ONE_VALUE,
  ).optional(),
  policies: field(
    z.array(policy).max(512),
    "Runtime policies, as the node's CRI proxy has them; absent when it has no proxy.",
  ).optional(),
  storage: field(storage, 'Pools and what is in them.', ONE_VALUE).optional(),
  conditions,
});

export const NODE_INVENTORY_KIND: KindDefinition = {
  kind: 'NodeInventory',
  plural: 'nodeinventories',
  singular: 'nodeinventory',
  shortNames: ['ninv'],
  description:
    'What a node is and has, as its agent found it; it bears the name of the node. Rules for labels read it, and the controller places volumes by it.',
  status: field(status, 'What was found.'),
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

/** There is no spec: nobody wishes what a node is. */
export interface NodeInventory extends KubeObject {
  readonly status?: Frozen<z.output<typeof status>>;
}
export const NODE_INVENTORIES = resourceOf<NodeInventory>(NODE_INVENTORY_KIND);
