import { toLabelValue } from './label-facts.ts';
import { isLabelValue, refuseKey } from '../kube-text/label-keys.ts';
import type { InventoryFacts, PciFacts } from '../inventory/inventory.ts';

export interface DefaultLabels {
  readonly labels: Readonly<Record<string, string>>;
  /** Whether nothing is known that would tell if a node has a default label of this key. */
  readonly isUnknown: (key: string) => boolean;
}

/** Part of the inventory, and what it says in labels. Each has prefixes of its own, so that what is not known can be kept. */
interface Section {
  readonly prefix: string;
  /** Names and values of labels under the prefix; undefined while the inventory does not tell. */
  readonly read: (facts: InventoryFacts) => readonly (readonly [name: string, value: string])[] | undefined;
}

const TRUE = 'true';
/** Of the flags of processors, those that programs ask for. */
const CPU_FEATURES = new Set([
  ...['sse4_2', 'aes', 'avx', 'avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_tile', 'sha_ni'],
  ...['vmx', 'svm', 'sgx'],
  ...['asimd', 'atomics', 'sha2', 'sve', 'sve2', 'bf16', 'i8mm'],
]);
/** Features that stay while the kernel does; of others it is told only once somebody has loaded their module. */
const KERNEL_FEATURES = new Set(['bpf-type-format', 'btrfs', 'btrfs-simple-quota', 'fscrypt', 'nftables']);
/** Makers of processors for graphics, by PCI vendor; display controllers of others are consoles. */
const GPU_VENDORS: Readonly<Record<string, string>> = { '10de': 'nvidia', '1002': 'amd', '8086': 'intel' };

const SECTIONS: readonly Section[] = [
  {
    prefix: 'pool.keelson.dev/',
    read: ({ storage }) => storage?.pools.map(({ name, backend }) => [name, backend] as const),
  },
  {
    prefix: 'disk.keelson.dev/',
    read: ({ disks }) => disks?.map(({ type }) => [type, TRUE] as const),
  },
  {
    prefix: 'cpu.keelson.dev/',
    read: ({ cpu }) =>
      cpu && [
        ...(cpu.vendor === undefined ? [] : [['vendor', toLabelValue(cpu.vendor)] as const]),
        ...(cpu.features ?? []).filter((name) => CPU_FEATURES.has(name)).map((name) => [name, TRUE] as const),
      ],
  },
  {
    prefix: 'memory.keelson.dev/',
    read: ({ memory }) =>
      memory && [
        ...((memory.numaNodes ?? 1) > 1 ? [['numa', TRUE] as const] : []),
        ...Object.keys(memory.hugePages ?? {}).map((size) => [`hugepages-${size}`, TRUE] as const),
      ],
  },
  {
    prefix: 'kernel.keelson.dev/',
    read: ({ kernel }) => {
      const version = /^\d+\.\d+/.exec(kernel?.release ?? '')?.[0];
      return (
        kernel && [
          ...(version === undefined ? [] : [['version', version] as const]),
          ...(kernel.cgroup === undefined ? [] : [['cgroup', kernel.cgroup] as const]),
          ...(kernel.features ?? [])
            .filter((name) => KERNEL_FEATURES.has(name))
            .map((name) => [name, TRUE] as const),
        ]
      );
    },
  },
  {
    prefix: 'gpu.keelson.dev/',
    read: ({ pciDevices }) => pciDevices?.flatMap((device) => gpuVendor(device) ?? []),
  },
  {
    prefix: 'runtime.keelson.dev/',
    read: ({ runtime }) =>
      runtime && [
        ['name', toLabelValue(runtime.name)] as const,
        ...(runtime.proxied ? [['proxied', TRUE] as const] : []),
      ],
  },
];

/** The labels that every node has of what it is; undefined facts are facts that are not known. */
export function defaultLabels(facts: InventoryFacts): DefaultLabels {
  const labels: Record<string, string> = {};
  const unknown: string[] = [];
  for (const { prefix, read } of SECTIONS) {
    const found = read(facts);
    if (found === undefined) unknown.push(prefix);
    for (const [name, value] of found ?? []) {
      const key = `${prefix}${name}`;
      // Names come from the node: one that is no label is left out, and takes no other with it.
      if (refuseKey(key, 'label') === undefined && isLabelValue(value)) labels[key] = value;
    }
  }
  return { labels, isUnknown: (key) => unknown.some((prefix) => key.startsWith(prefix)) };
}

/** For a controller that shall set no labels by itself: those that it has set go. */
export const NO_DEFAULT_LABELS: DefaultLabels = { labels: {}, isUnknown: () => false };

function gpuVendor({ class: code, vendor }: PciFacts): (readonly [string, string])[] | undefined {
  // 03: display controllers; 1200: processing accelerators.
  if (!code.startsWith('03') && !code.startsWith('1200')) return undefined;
  const name = GPU_VENDORS[vendor];
  return name === undefined ? undefined : [[name, TRUE]];
}
