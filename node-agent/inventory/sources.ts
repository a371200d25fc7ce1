import {
  isProxied,
  parseProxySocket,
  parseRuntimeVersion,
} from '../../src/core/inventory/inventory-parse.ts';
import { closePools, describePools, type MeasuredPool } from '../../src/core/inventory/inventory-pools.ts';
import { Fault } from '../../src/core/fault.ts';
import type { PolicyFacts } from '../../src/core/policies/policy-report.ts';
import type { PoolFacts } from '../../src/core/inventory/inventory.ts';
import type { InventorySource } from './collector.ts';
import type { FileReader } from './file-reader.ts';
import {
  readCpu,
  readDisks,
  readFilesystems,
  readInterfaces,
  readKernel,
  readMemory,
  readPciDevices,
} from './machine.ts';

/** Hardware and kernel rarely change. */
const MACHINE_MS = 5 * 60_000;

/** The sources that read /proc and /sys. */
export function machineSources(
  files: FileReader,
  {
    architecture,
    provenFeatures,
  }: { readonly architecture: string; readonly provenFeatures: readonly string[] },
): readonly InventorySource[] {
  const everyMs = MACHINE_MS;
  return [
    {
      name: 'kernel',
      fields: ['kernel', 'filesystems'],
      everyMs,
      read: async () => ({
        kernel: await readKernel(files, provenFeatures),
        filesystems: await readFilesystems(files),
      }),
    },
    {
      name: 'cpu',
      fields: ['cpu'],
      everyMs,
      read: async () => ({ cpu: await readCpu(files, architecture) }),
    },
    { name: 'memory', fields: ['memory'], everyMs, read: async () => ({ memory: await readMemory(files) }) },
    { name: 'disks', fields: ['disks'], everyMs, read: async () => ({ disks: await readDisks(files) }) },
    {
      name: 'interfaces',
      fields: ['interfaces'],
      everyMs,
      read: async () => ({ interfaces: await readInterfaces(files) }),
    },
    {
      name: 'pci',
      fields: ['pciDevices'],
      everyMs,
      read: async () => ({ pciDevices: await readPciDevices(files) }),
    },
  ];
}

/** What kubelet reports in its Node. */
export interface NodeInfo {
  readonly osImage: string;
  /** For example `containerd://2.1.0`. */
  readonly containerRuntimeVersion: string;
}

/** kubelet's facts about its machine; `nodeInfo` is undefined while the Node is unknown. */
export function kubeletSource(
  nodeInfo: () => NodeInfo | undefined,
  files: FileReader,
  kubeletDir: string | undefined,
): InventorySource {
  return {
    name: 'kubelet',
    fields: ['runtime', 'operatingSystem'],
    everyMs: 0,
    async read(last) {
      const info = nodeInfo();
      if (info === undefined) return last;
      const runtime = parseRuntimeVersion(info.containerRuntimeVersion);
      const config = kubeletDir === undefined ? undefined : await files.read(`${kubeletDir}/config.yaml`);
      const socket = parseProxySocket((await files.read('/proc/net/unix')) ?? '');
      return {
        operatingSystem: info.osImage,
        runtime: runtime && {
          ...runtime,
          // kubelet's configuration may be anywhere; while kubelet restarts, the proxy that waits
          // for it still counts.
          proxied:
            socket.connected || isProxied(config ?? '') || (socket.listens && last.runtime?.proxied === true),
        },
      };
    },
  };
}

/** The pod network of this node; `ranges` is undefined while it is being opened. */
export function networkSource(
  ranges: () => readonly string[] | undefined,
  { mtu }: { readonly mtu: number | 'auto' },
): InventorySource {
  return {
    name: 'network',
    fields: ['network'],
    everyMs: 0,
    async read(last) {
      const known = ranges();
      if (known === undefined) return last;
      return { network: { ranges: known, ...(mtu === 'auto' ? {} : { mtu }) } };
    },
  };
}

/** RuntimePolicies of the API that the CRI proxy applies. */
export function policySource(inForce: () => Promise<readonly PolicyFacts[] | undefined>): InventorySource {
  return {
    name: 'policies',
    fields: ['policies'],
    everyMs: 0,
    read: async () => ({ policies: await inForce() }),
  };
}

export interface StorageSourceDeps {
  /** Rejects while the pools cannot be measured. */
  readonly measure: () => Promise<readonly MeasuredPool[]>;
  /** Whether a volume operation happened since the last call: then small differences count too. */
  readonly takeChanged: () => boolean;
}

/**
 * The pools. A pool that cannot be measured accepts no volumes, which is a result and not a
 * failure.
 */
export function storageSource(
  configured: readonly Pick<PoolFacts, 'name' | 'backend' | 'labels'>[],
  { measure, takeChanged }: StorageSourceDeps,
): InventorySource {
  return {
    name: 'storage',
    fields: ['storage'],
    everyMs: 0,
    async read({ storage: last }) {
      const exact = takeChanged();
      try {
        return { storage: describePools(await measure(), exact ? undefined : last) };
      } catch (error) {
        return { storage: closePools(configured, Fault.from(error).message, last) };
      }
    },
  };
}
