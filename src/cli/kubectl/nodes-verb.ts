import type { NodeInventory } from '../../api/node-inventory.ts';
import { formatLabels } from '../../core/volumes/pool-selector.ts';
import { formatBytes, parseQuantity } from '../../core/kube-text/quantity.ts';
import type { NodeFacts } from '../../core/why/facts.ts';
import { renderTable } from '../../runtime/text-table.ts';
import { readOverview } from './overview.ts';
import { type ClusterVerb, renderHidden, writeOutput } from './verb.ts';

/** One listed node. */
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

interface PoolRow {
  readonly name: string;
  readonly backend: string;
  /** StorageClasses select pools by labels. */
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

/** Returns the listed facts of a node. */
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

/** Returns the problems of a node, human-readable. */
export function nodeProblems(node: NodeFacts, inventory: NodeInventory | undefined): readonly string[] {
  const conditions = inventory?.status?.conditions ?? [];
  const pools = inventory?.status?.storage?.pools ?? [];
  return [
    ...(node.notReady === undefined ? [] : [`node is not Ready: ${node.notReady}`]),
    ...(node.agent.state === 'never-reported' ? ['no agent has reported yet'] : []),
    ...(node.agent.state === 'does-not-serve'
      ? [`agent is not ready: ${node.agent.message ?? 'no reason given'}`]
      : []),
    ...(node.agent.state !== 'never-reported' && node.isRegistered === false
      ? ['driver keelson.dev is not registered with kubelet (CSINode)']
      : []),
    ...node.taints
      .filter(({ key }) => key.startsWith('keelson.dev/'))
      .map(({ key, effect }) => `tainted ${key}:${effect}`),
    ...pools
      .filter(({ ready }) => !ready)
      .map(({ name, reason }) => `pool ${name} is not ready: ${reason ?? 'no reason given'}`),
    ...conditions
      .filter(
        ({ type, status }) =>
          (type === 'Discovered' && status === 'False') || (type === 'OrphanedVolumes' && status === 'True'),
      )
      .map(
        ({ type, message }) =>
          `${type === 'Discovered' ? 'discovery is incomplete' : 'orphaned volumes'}: ${message}`,
      ),
  ];
}

/** Returns a table with a line for each pool, and the problems. */
export function renderNodes(nodes: readonly NodeRow[], wide: boolean): string {
  if (nodes.length === 0) return 'no nodes found\n';
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
