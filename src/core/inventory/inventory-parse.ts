import type { CpuFacts, KernelFacts, MemoryFacts, PciFacts } from './inventory.ts';
import { formatQuantity } from '../kube-text/quantity.ts';

/** Limit of the API schema for any list of words. */
const MAX_WORDS = 512;
const MAX_WORD_LENGTH = 128;

/** Returns the words sorted, without duplicates, up to the limit. */
export function toWords(words: Iterable<string>): readonly string[] {
  return [...new Set(words)]
    .filter((word) => word !== '' && word.length <= MAX_WORD_LENGTH)
    .sort()
    .slice(0, MAX_WORDS);
}

/** Returns the text of a sysfs attribute as the API accepts it; undefined for an empty one. */
export function toWord(text: string | undefined): string | undefined {
  const word = text?.replace(/\s+/g, ' ').trim().slice(0, MAX_WORD_LENGTH);
  return word === '' ? undefined : word;
}

/**
 * Parses /proc/cpuinfo, whose keys differ by architecture; `architecture` as Kubernetes names it.
 */
export function parseCpu(text: string, architecture: string): CpuFacts {
  const blocks = text.split(/\n\s*\n/).map(parseFields);
  const threads = blocks.filter((block) => block.has('processor'));
  const first = threads[0] ?? new Map<string, string>();
  const sockets = new Set<string>();
  const cores = new Set<string>();
  for (const block of threads) {
    const socket = block.get('physical id');
    const core = block.get('core id');
    if (socket === undefined || core === undefined) continue;
    sockets.add(socket);
    cores.add(`${socket}/${core}`);
  }
  const vendor = toWord(first.get('vendor_id') ?? first.get('CPU implementer'));
  const model = toWord(first.get('model name') ?? first.get('CPU part'));
  return {
    architecture,
    ...(vendor === undefined ? {} : { vendor }),
    ...(model === undefined ? {} : { model }),
    ...(sockets.size === 0 ? {} : { sockets: sockets.size, cores: cores.size }),
    threads: threads.length,
    features: toWords((first.get('flags') ?? first.get('Features') ?? '').split(/\s+/)),
  };
}

/** Kernel files with facts about memory. */
export interface MemorySources {
  /** /proc/meminfo. */
  readonly meminfo: string;
  /** `nr_hugepages` by folder, for example `hugepages-2048kB`. */
  readonly hugePages: readonly (readonly [folder: string, count: string])[];
  readonly numaNodes: number;
}

/** Returns the memory of the machine; constant while it runs. */
export function parseMemory({ meminfo, hugePages, numaNodes }: MemorySources): MemoryFacts | undefined {
  const fields = parseFields(meminfo);
  const total = kibibytes(fields.get('MemTotal'));
  if (total === undefined) return undefined;
  const swap = kibibytes(fields.get('SwapTotal')) ?? 0n;
  const pages = hugePages.flatMap(([folder, count]) => {
    const size = kibibytes(/^hugepages-(\d+kB)$/.exec(folder)?.[1]?.replace('kB', ' kB'));
    return size === undefined || !(Number(count) > 0) ? [] : [[formatQuantity(size), Number(count)] as const];
  });
  return {
    total: formatQuantity(total),
    ...(swap === 0n ? {} : { swap: formatQuantity(swap) }),
    ...(pages.length === 0 ? {} : { hugePages: Object.fromEntries(pages) }),
    ...(numaNodes === 0 ? {} : { numaNodes }),
  };
}

/** File systems without a block device that pods or volumes may use. */
const WANTED_NODEV = new Set(['9p', 'ceph', 'cifs', 'fuse', 'nfs', 'nfs4', 'overlay', 'tmpfs', 'virtiofs']);

/** Parses /proc/filesystems: file systems that can be mounted now, without internal ones. */
export function parseFilesystems(text: string): readonly string[] {
  return toWords(
    text.split('\n').flatMap((line) => {
      const [kind = '', name = ''] = line.split('\t');
      return kind === 'nodev' && !WANTED_NODEV.has(name) ? [] : [name];
    }),
  );
}

/** Parses /proc/self/cgroup: v2 has hierarchy 0 only, v1 lacks it, hybrid has both. */
export function parseCgroup(text: string): KernelFacts['cgroup'] {
  const hierarchies = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(':', 1)[0]);
  if (!hierarchies.includes('0')) return 'v1';
  return hierarchies.length === 1 ? 'v2' : 'hybrid';
}

/** Counts devices by kind, each in sysfs' form: `0x030000`, `0x10de`, `0x2204`. */
export function countPci(devices: readonly Omit<PciFacts, 'count'>[]): readonly PciFacts[] {
  const kinds = new Map<string, PciFacts>();
  for (const device of devices) {
    const kind = {
      class: hex(device.class, 6),
      vendor: hex(device.vendor, 4),
      device: hex(device.device, 4),
    };
    const key = `${kind.class} ${kind.vendor} ${kind.device}`;
    kinds.set(key, { ...kind, count: (kinds.get(key)?.count ?? 0) + 1 });
  }
  return [...kinds].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, kind]) => kind);
}

/** Parses `containerd://2.1.0`, as kubelet reports it. */
export function parseRuntimeVersion(
  text: string,
): { readonly name: string; readonly version: string } | undefined {
  const match = /^([^:]+):\/\/(.+)$/.exec(text);
  const [, name = '', version = ''] = match ?? [];
  return match === null ? undefined : { name, version };
}

/** Whether the endpoint in kubelet's configuration file is Keelson's CRI proxy. */
export function isProxied(kubeletConfig: string): boolean {
  const endpoint = /^containerRuntimeEndpoint:\s*["']?([^\s"']+)/m.exec(kubeletConfig)?.[1];
  return endpoint?.split('/').some((part) => part.startsWith('keelson')) ?? false;
}

/**
 * Parses /proc/net/unix: whether the proxy's socket listens, and whether a client (kubelet, while
 * it runs) is connected.
 */
export function parseProxySocket(text: string): { readonly listens: boolean; readonly connected: boolean } {
  const states = text.split('\n').flatMap((line) => {
    const [, , , , , state = '', , path = ''] = line.trim().split(/\s+/);
    // A socket that was bound before it was moved into place is listed under its first name.
    return /\/keelson[^/]*\/cri[^/]*\.sock~?$|\/keelson-cri[^/]*\.sock~?$/.test(path) ? [state] : [];
  });
  return { listens: states.includes('01'), connected: states.includes('03') };
}

function parseFields(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon).trim(), line.slice(colon + 1).trim());
  }
  return fields;
}

function kibibytes(text: string | undefined): bigint | undefined {
  const digits = /^(\d+) kB$/.exec(text ?? '')?.[1];
  return digits === undefined ? undefined : BigInt(digits) * 1024n;
}

function hex(text: string, digits: number): string {
  return text.trim().replace(/^0x/, '').toLowerCase().padStart(digits, '0');
}
