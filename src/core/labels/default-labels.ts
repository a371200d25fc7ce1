import { toLabelValue } from './label-facts.ts';
import { isLabelValue, refuseKey } from '../kube-text/label-keys.ts';
import type { InventoryFacts, PciFacts } from '../inventory/inventory.ts';

/** The default labels of a node. */
export interface DefaultLabels {
  readonly labels: Readonly<Record<string, string>>;
  /** Whether the inventory lacks the facts behind a default label of this key. */
  readonly isUnknown: (key: string) => boolean;
}

/**
 * A part of the inventory and its labels. Each has its own prefixes, so that labels of unknown
 * facts can be kept.
 */
interface Section {
  readonly prefix: string;
  /** Names and values of labels under the prefix; undefined while the inventory lacks the facts. */
  readonly read: (facts: InventoryFacts) => readonly (readonly [name: string, value: string])[] | undefined;
}

const TRUE = 'true';
/** Processor features that programs check for. */
const CPU_FEATURES = new Set([
  ...['sse4_2', 'aes', 'avx', 'avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_tile', 'sha_ni'],
  ...['vmx', 'svm', 'sgx'],
  ...['asimd', 'atomics', 'sha2', 'sve', 'sve2', 'bf16', 'i8mm'],
]);
/** Features that only depend on the kernel; others show only once their module is loaded. */
const KERNEL_FEATURES = new Set(['bpf-type-format', 'btrfs', 'btrfs-simple-quota', 'fscrypt', 'nftables']);
/** GPU vendors by PCI ID; display controllers of other vendors are consoles. */
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

/** Returns the default labels of a node; undefined facts are unknown. */
export function defaultLabels(facts: InventoryFacts): DefaultLabels {
  const labels: Record<string, string> = {};
  const unknown: string[] = [];
  for (const { prefix, read } of SECTIONS) {
    const found = read(facts);
    if (found === undefined) unknown.push(prefix);
    for (const [name, value] of found ?? []) {
      const key = `${prefix}${name}`;
      // Names come from the node: an invalid one is omitted without affecting the others.
      if (refuseKey(key, 'label') === undefined && isLabelValue(value)) labels[key] = value;
    }
  }
  return { labels, isUnknown: (key) => unknown.some((prefix) => key.startsWith(prefix)) };
}

/** For a controller without default labels: removes those it has set. */
export const NO_DEFAULT_LABELS: DefaultLabels = { labels: {}, isUnknown: () => false };

function gpuVendor({ class: code, vendor }: PciFacts): (readonly [string, string])[] | undefined {
  // 03: display controllers; 1200: processing accelerators.
  if (!code.startsWith('03') && !code.startsWith('1200')) return undefined;
  const name = GPU_VENDORS[vendor];
  return name === undefined ? undefined : [[name, TRUE]];
}
