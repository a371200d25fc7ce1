import { basename } from 'node:path';
import { describeDisk } from '../../src/core/inventory/inventory-disks.ts';
import {
  countPci,
  parseCgroup,
  parseCpu,
  parseFilesystems,
  parseMemory,
  toWords,
} from '../../src/core/inventory/inventory-parse.ts';
import { parseMountTable } from '../../src/core/volumes/mount-table.ts';
import type {
  CpuFacts,
  DiskFacts,
  InterfaceFacts,
  KernelFacts,
  MemoryFacts,
  PciFacts,
} from '../../src/core/inventory/inventory.ts';
import { Fault } from '../../src/core/fault.ts';
import type { FileReader } from './file-reader.ts';

/** The API accepts no more. */
const MAX_DEVICES = 256;

/** Kernel features that the presence of a path shows. */
const KERNEL_FEATURES: readonly (readonly [feature: string, path: string])[] = [
  ['bpf-type-format', '/sys/kernel/btf/vmlinux'],
  ['btrfs', '/sys/fs/btrfs/features'],
  ['btrfs-simple-quota', '/sys/fs/btrfs/features/simple_quota'],
  ['fscrypt', '/sys/fs/ext4/features/encryption'],
  ['kvm', '/sys/module/kvm'],
  ['overlay', '/sys/module/overlay'],
  ['vxlan', '/sys/module/vxlan'],
  ['wireguard', '/sys/module/wireguard'],
];

/**
 * Reads the kernel's facts; `proven` are features that the agent uses itself and that leave no
 * trace in /sys.
 */
export async function readKernel(files: FileReader, proven: readonly string[] = []): Promise<KernelFacts> {
  const found = await Promise.all(
    KERNEL_FEATURES.map(async ([feature, path]) => {
      const there = (await files.list(path)).length > 0 || (await hasEntry(files, path));
      return there ? [feature] : [];
    }),
  );
  return {
    release: (await required(files, '/proc/sys/kernel/osrelease')).trim(),
    features: toWords([...found.flat(), ...proven]),
    cgroup: parseCgroup(await required(files, '/proc/self/cgroup')),
  };
}

/** `architecture` as Node names it. */
export async function readCpu(files: FileReader, architecture: string): Promise<CpuFacts> {
  const names: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };
  return parseCpu(await required(files, '/proc/cpuinfo'), names[architecture] ?? architecture);
}

export async function readMemory(files: FileReader): Promise<MemoryFacts> {
  const folder = '/sys/kernel/mm/hugepages';
  const sizes = await files.list(folder);
  const hugePages = await Promise.all(
    sizes.map(async (size) => [size, (await files.read(`${folder}/${size}/nr_hugepages`)) ?? '0'] as const),
  );
  const nodes = await files.list('/sys/devices/system/node');
  const memory = parseMemory({
    meminfo: await required(files, '/proc/meminfo'),
    hugePages,
    numaNodes: nodes.filter((name) => /^node\d+$/.test(name)).length,
  });
  if (memory === undefined) throw new Fault('precondition', '/proc/meminfo has no MemTotal');
  return memory;
}

export async function readFilesystems(files: FileReader): Promise<readonly string[]> {
  return parseFilesystems(await required(files, '/proc/filesystems'));
}

/** Reads the whole disks of the machine. */
export async function readDisks(files: FileReader): Promise<readonly DiskFacts[]> {
  // Of the host, also when the agent runs in a pod, whose own mounts are few.
  const mounts = parseMountTable((await files.read('/proc/1/mountinfo')) ?? '');
  const mounted = new Set(mounts.map(({ device }) => device));
  const disks: DiskFacts[] = [];
  for (const name of await files.list('/sys/block')) {
    const at = (attribute: string): string => `/sys/block/${name}/${attribute}`;
    const entries = await files.list(at('.'));
    const holders = await files.list(at('holders'));
    const disk = describeDisk(
      {
        name,
        sectors: await files.read(at('size')),
        rotational: await files.read(at('queue/rotational')),
        model: await files.read(at('device/model')),
        hasDevice: entries.includes('device'),
        parts: entries.filter((entry) => entry.startsWith(name)).length + holders.length,
        number: await files.read(at('dev')),
      },
      mounted,
    );
    if (disk !== undefined) disks.push(disk);
  }
  return disks.slice(0, MAX_DEVICES);
}

/**
 * Interfaces backed by hardware, and bonds of such; links of pods and bridges are not the
 * machine's.
 */
export async function readInterfaces(files: FileReader): Promise<readonly InterfaceFacts[]> {
  const interfaces: InterfaceFacts[] = [];
  for (const name of await files.list('/sys/class/net')) {
    const at = (attribute: string): string => `/sys/class/net/${name}/${attribute}`;
    const entries = await files.list(at('.'));
    if (!entries.includes('device') && !entries.includes('bonding')) continue;
    const driver = await files.link(at('device/driver'));
    const speed = Number((await files.read(at('speed'))) ?? -1);
    const mtu = Number((await files.read(at('mtu'))) ?? 0);
    interfaces.push({
      name,
      ...(driver === undefined ? {} : { driver: basename(driver) }),
      ...(speed > 0 ? { speedMbps: speed } : {}),
      ...(mtu > 0 ? { mtu } : {}),
    });
  }
  return interfaces.slice(0, MAX_DEVICES);
}

export async function readPciDevices(files: FileReader): Promise<readonly PciFacts[]> {
  const folder = '/sys/bus/pci/devices';
  const devices = await Promise.all(
    (await files.list(folder)).map(async (address) => ({
      class: (await files.read(`${folder}/${address}/class`)) ?? '',
      vendor: (await files.read(`${folder}/${address}/vendor`)) ?? '',
      device: (await files.read(`${folder}/${address}/device`)) ?? '',
    })),
  );
  return countPci(devices.filter((device) => device.class !== '')).slice(0, MAX_DEVICES);
}

/** Checked by its folder: some of these files are large, or may not be read. */
async function hasEntry(files: FileReader, path: string): Promise<boolean> {
  const slash = path.lastIndexOf('/');
  return (await files.list(path.slice(0, slash))).includes(path.slice(slash + 1));
}

async function required(files: FileReader, path: string): Promise<string> {
  const text = await files.read(path);
  if (text === undefined) throw new Fault('precondition', `${path} not found; check that /proc is mounted`);
  return text;
}
