import type { ConditionReason } from '../reasons/condition-reasons.ts';
import type { BackendKind } from '../volumes/backend-features.ts';
import {
  type ApiCondition,
  apiTime,
  canonicalJson,
  clip,
  settleConditions,
} from '../kube-text/api-status.ts';
import { formatAge } from '../volumes/cluster-volumes.ts';
import type { PolicyFacts } from '../policies/policy-report.ts';

/**
 * Facts about a node, by the fields of NodeInventory.status that its sources fill in. Sizes are
 * quantities.
 */
export interface InventoryFacts {
  readonly kernel?: KernelFacts | undefined;
  readonly operatingSystem?: string | undefined;
  readonly cpu?: CpuFacts | undefined;
  readonly memory?: MemoryFacts | undefined;
  readonly disks?: readonly DiskFacts[] | undefined;
  readonly filesystems?: readonly string[] | undefined;
  readonly interfaces?: readonly InterfaceFacts[] | undefined;
  readonly pciDevices?: readonly PciFacts[] | undefined;
  readonly runtime?: RuntimeFacts | undefined;
  readonly network?: { readonly ranges: readonly string[]; readonly mtu?: number | undefined } | undefined;
  readonly policies?: readonly PolicyFacts[] | undefined;
  readonly storage?: StorageFacts | undefined;
}

/** Facts about the kernel. */
export interface KernelFacts {
  readonly release: string;
  readonly features?: readonly string[] | undefined;
  readonly cgroup?: 'v1' | 'v2' | 'hybrid' | undefined;
}

/** Facts about the processors. */
export interface CpuFacts {
  readonly architecture: string;
  readonly vendor?: string | undefined;
  readonly model?: string | undefined;
  readonly sockets?: number | undefined;
  readonly cores?: number | undefined;
  readonly threads: number;
  readonly features?: readonly string[] | undefined;
}

/** Facts about the memory. */
export interface MemoryFacts {
  readonly total: string;
  readonly swap?: string | undefined;
  readonly hugePages?: Readonly<Record<string, number>> | undefined;
  readonly numaNodes?: number | undefined;
}

/** Facts about one disk. */
export interface DiskFacts {
  readonly name: string;
  readonly type: 'nvme' | 'ssd' | 'hdd' | 'virtual';
  readonly rotational: boolean;
  readonly size: string;
  readonly model?: string | undefined;
  /** Absent where no use was detected: it may still have a signature. */
  readonly inUse?: boolean | undefined;
}

/** Facts about one network interface. */
export interface InterfaceFacts {
  readonly name: string;
  readonly driver?: string | undefined;
  readonly speedMbps?: number | undefined;
  readonly mtu?: number | undefined;
}

/** One kind of PCI devices, and their number. */
export interface PciFacts {
  readonly class: string;
  readonly vendor: string;
  readonly device: string;
  readonly count: number;
}

interface RuntimeFacts {
  readonly name: string;
  readonly version: string;
  readonly proxied: boolean;
}

/** One pool and its usage. */
export interface PoolFacts {
  readonly name: string;
  readonly backend: BackendKind;
  /**
   * Where the pool is defined: the node's configuration file, or a StoragePool. Absent: not
   * reported.
   */
  readonly origin?: 'config' | 'api' | undefined;
  /** Labels that classes select. Absent: not reported. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly ready: boolean;
  readonly reason?: string | undefined;
  readonly capacity: string;
  readonly allocated: string;
  readonly largestVolume: string;
  readonly volumes: number;
  readonly features?: readonly string[] | undefined;
}

/** The pools of a node, and their totals. */
export interface StorageFacts {
  readonly capacity: string;
  readonly allocated: string;
  readonly volumes: number;
  readonly pools: readonly PoolFacts[];
}

/** NodeInventory.status. */
export interface InventoryStatus extends InventoryFacts {
  readonly agentVersion?: string | undefined;
  readonly observedTime?: string | undefined;
  readonly conditions?: readonly ApiCondition[] | undefined;
}

/** Why a source of facts failed. */
export interface SourceProblem {
  readonly source: string;
  readonly message: string;
}

/** What the status of a NodeInventory depends on. */
export interface InventoryFindings {
  readonly agentVersion: string;
  readonly facts: InventoryFacts;
  /** Why the agent cannot serve; undefined when it can. */
  readonly notServing: string | undefined;
  readonly problems: readonly SourceProblem[];
  /** Volumes on disk without an API object; undefined while that is unknown. */
  readonly orphans: readonly string[] | undefined;
  /** After how long they are removed; undefined where they are kept. */
  readonly orphanGraceMs?: number | undefined;
  /** Undefined while the network is being opened. */
  readonly network: NetworkFindings | undefined;
}

/** Findings about the pod network. */
export interface NetworkFindings {
  /** Why pods of other nodes cannot be reached, a line for each range. */
  readonly unreachable: readonly string[];
  /** Pods with addresses of former ranges. */
  readonly strays: readonly string[];
}

/** A condition lists this many volumes, pods or nodes. */
const NAMED = 10;

/**
 * Returns the status to publish, or undefined when `previous` is equal: an idle node does not
 * write.
 */
export function planInventory(
  findings: InventoryFindings,
  previous: InventoryStatus | undefined,
  now: Date,
): InventoryStatus | undefined {
  const time = apiTime(now);
  const conditions = conditionsOf(findings, previous, time);
  const next: InventoryStatus = {
    agentVersion: findings.agentVersion,
    ...findings.facts,
    conditions: settleConditions(previous?.conditions, conditions),
  };
  const { observedTime: _then, ...known } = previous ?? {};
  return canonicalJson(next) === canonicalJson(known) ? undefined : { ...next, observedTime: time };
}

function conditionsOf(
  { notServing, problems, orphans, orphanGraceMs, network }: InventoryFindings,
  previous: InventoryStatus | undefined,
  time: string,
): readonly ApiCondition[] {
  const condition = (
    type: string,
    holds: boolean,
    reason: ConditionReason,
    message: string,
  ): ApiCondition => ({
    type,
    status: holds ? 'True' : 'False',
    reason,
    message: clip(message, 4_096),
    lastTransitionTime: time,
  });
  return [
    condition(
      'Ready',
      notServing === undefined,
      notServing === undefined ? 'Serving' : 'NotServing',
      notServing ?? '',
    ),
    condition(
      'Discovered',
      problems.length === 0,
      problems.length === 0 ? 'AllSourcesRead' : 'SourceFailed',
      problems.map(({ source, message }) => `${source}: ${message}; its last facts are kept`).join('\n'),
    ),
    ...(orphans === undefined
      ? (previous?.conditions ?? []).filter(({ type }) => type === 'OrphanedVolumes')
      : [
          condition(
            'OrphanedVolumes',
            orphans.length > 0,
            orphans.length > 0 ? 'NoLocalVolume' : 'None',
            describeOrphans(orphans, orphanGraceMs),
          ),
        ]),
    ...(network === undefined
      ? (previous?.conditions ?? []).filter(({ type }) => NETWORK_CONDITIONS.includes(type))
      : [
          condition(
            'PeersReachable',
            network.unreachable.length === 0,
            network.unreachable.length === 0 ? 'RoutesInstalled' : 'NoRoute',
            first(network.unreachable).join('\n'),
          ),
          condition(
            'FormerAddresses',
            network.strays.length > 0,
            network.strays.length > 0 ? 'RangesChanged' : 'None',
            network.strays.length === 0
              ? ''
              : `pods with addresses of former ranges, which other nodes do not route to this node: ${first(network.strays).join(', ')}. Re-create them`,
          ),
        ]),
  ];
}

const NETWORK_CONDITIONS = ['PeersReachable', 'FormerAddresses'];

function first(all: readonly string[]): readonly string[] {
  return all.length <= NAMED ? all : [...all.slice(0, NAMED), `and ${all.length - NAMED} more`];
}

function describeOrphans(orphans: readonly string[], graceMs: number | undefined): string {
  if (orphans.length === 0) return '';
  const fate =
    graceMs === undefined
      ? 'They are kept; delete those that are not needed'
      : `Those that are unused and unreferenced are removed after ${formatAge(Math.round(graceMs / 1_000))}`;
  return `on this node without a LocalVolume: ${first(orphans).join(', ')}. ${fate}`;
}
