import type { NodeInventory } from '../../api/node-inventory.ts';
import { formatLabels } from '../../core/pools/pool-selector.ts';
import { formatBytes, parseQuantity } from '../../core/kube-text/quantity.ts';
import type { NodeFacts } from '../../core/why/facts.ts';
import { renderTable } from '../../runtime/text-table.ts';
import { readOverview } from './overview.ts';
import { type ClusterVerb, renderHidden, writeOutput } from './verb.ts';

/** A node as it is listed. */
export interface NodeRow {
  readonly name: string;
  readonly agent: string;
  readonly version: string | undefined;
  readonly state: string;
  readonly pools: readonly PoolRow[];
  readonly ranges: readonly string[];
  readonly runtime: string | undefined;
  readonly isProxied: boolean | undefined;
  readonly kernel: string | undefined;
  readonly problems: readonly string[];
}

export interface PoolRow {
  readonly name: string;
  readonly backend: string;
  /** StorageClasses select it by these. */
  readonly labels: Readonly<Record<string, string>>;
  readonly isReady: boolean;
  readonly capacityBytes: bigint;
  readonly allocatedBytes: bigint;
  readonly freeBytes: bigint;
}

export const nodesVerb: ClusterVerb = {
  summary: 'List nodes with their agents, pools, pod ranges and problems',
  description: 'Lists every node: its agent, pools, pod range and container runtime, and its problems.',
  async run(context) {
    const { reader, client, systemNamespace, nowMs } = context;
    const { nodes, nodeObjects } = await readOverview({ systemNamespace, nowMs }, { client, reader });
    const rows = nodes.map((node) =>
      nodeRow(
        node,
        nodeObjects.inventories.find(({ metadata }) => metadata?.name === node.name),
      ),
    );
    const { hidden } = reader;
    writeOutput(context, { nodes: rows, hidden }, (wide) => renderNodes(rows, wide) + renderHidden(hidden));
    return true;
  },
};

/** What is shown of a node. */
export function nodeRow(node: NodeFacts, inventory: NodeInventory | undefined): NodeRow {
  const { status } = inventory ?? {};
  return {
    name: node.name,
    agent: node.agent.state === 'serves' ? 'serves' : node.agent.state.replaceAll('-', ' '),
    version: node.agent.version,
    state: [
      node.notReady === undefined ? 'Ready' : 'NotReady',
      ...(node.isCordoned ? ['cordoned'] : []),
    ].join(','),
    pools: (status?.storage?.pools ?? []).map((pool) => ({
      name: pool.name,
      backend: pool.backend,
      labels: pool.labels ?? {},
      isReady: pool.ready,
      capacityBytes: parseQuantity(pool.capacity, 'pool capacity'),
      allocatedBytes: parseQuantity(pool.allocated, 'pool allocated'),
      freeBytes: node.view.pools.find(({ name }) => name === pool.name)?.freeBytes ?? 0n,
    })),
    ranges: status?.network?.ranges ?? [],
    runtime: status?.runtime && `${status.runtime.name} ${status.runtime.version}`,
    isProxied: status?.runtime?.proxied,
    kernel: status?.kernel?.release,
    problems: nodeProblems(node, inventory),
  };
}

/** What is wrong with a node, in words. */
export function nodeProblems(node: NodeFacts, inventory: NodeInventory | undefined): readonly string[] {
  const conditions = inventory?.status?.conditions ?? [];
  const pools = inventory?.status?.storage?.pools ?? [];
  return [
    ...(node.notReady === undefined ? [] : [`it is not Ready: ${node.notReady}`]),
    ...(node.agent.state === 'never-reported' ? ['no agent has ever reported from it'] : []),
    ...(node.agent.state === 'does-not-serve'
      ? [`its agent does not serve: ${node.agent.message ?? 'no reason'}`]
      : []),
    ...(node.agent.state !== 'never-reported' && node.isRegistered === false
      ? ['its kubelet does not know the driver (CSINode lacks keelson.dev)']
      : []),
    ...node.taints
      .filter(({ key }) => key.startsWith('keelson.dev/'))
      .map(({ key, effect }) => `it has the taint ${key}:${effect}`),
    ...pools
      .filter(({ ready }) => !ready)
      .map(({ name, reason }) => `pool ${name} is not ready: ${reason ?? 'no reason'}`),
    ...conditions
      .filter(
        ({ type, status }) =>
          (type === 'Discovered' && status === 'False') || (type === 'OrphanedVolumes' && status === 'True'),
      )
      .map(
        ({ type, message }) =>
          `${type === 'Discovered' ? 'not all could be found out' : 'orphaned volumes'}: ${message}`,
      ),
  ];
}

/** Nodes as a person reads them: a line a pool, the problems below. */
export function renderNodes(nodes: readonly NodeRow[], wide: boolean): string {
  if (nodes.length === 0) return 'there are no nodes\n';
  const header = ['NODE', 'STATE', 'AGENT', 'VERSION', 'POOL', 'CAPACITY', 'FREE', 'POD RANGE', 'PROXIED'];
  const rows = nodes.flatMap((node) => {
    const pools = node.pools.length === 0 ? [undefined] : node.pools;
    return pools.map((pool, index) => [
      ...(index === 0 ? [node.name, node.state, node.agent, node.version ?? '-'] : ['', '', '', '']),
      pool === undefined ? '-' : pool.isReady ? pool.name : `${pool.name} (not ready)`,
      pool === undefined ? '-' : formatBytes(pool.capacityBytes),
      pool === undefined ? '-' : formatBytes(pool.freeBytes),
      ...(index === 0
        ? [node.ranges.join(',') || '-', node.isProxied === undefined ? '-' : node.isProxied ? 'yes' : 'no']
        : ['', '']),
      ...(wide
        ? [
            pool?.backend ?? '-',
            formatLabels(pool?.labels ?? {}) || '-',
            ...(index === 0 ? [node.runtime ?? '-', node.kernel ?? '-'] : ['', '']),
          ]
        : []),
    ]);
  });
  const more = wide ? ['BACKEND', 'LABELS', 'RUNTIME', 'KERNEL'] : [];
  const problems = nodes.flatMap(({ name, problems: found }) =>
    found.map((problem) => `${name}: ${problem}\n`),
  );
  return `${renderTable([...header, ...more], rows)}${problems.length === 0 ? '' : `\n${problems.join('')}`}`;
}
