import { formatAge, MARK_MEANINGS, type VolumeMark } from '../../core/volumes/cluster-volumes.ts';
import { formatBytes } from '../../core/kube-text/quantity.ts';
import { renderTable } from '../../runtime/text-table.ts';
import { ageOf } from './claim-facts.ts';
import { leaderFacts } from './leader.ts';
import { type NodeRow, nodeRow } from './nodes-verb.ts';
import { type Overview, readOverview, type VolumeRow, type WaitingClaim } from './overview.ts';
import { type ClusterVerb, renderHidden, writeOutput } from './verb.ts';

/** One screen about the whole. */
export interface ClusterStatus {
  readonly controller: ControllerStatus;
  readonly agents: { readonly serving: number; readonly nodes: number; readonly versions: readonly string[] };
  readonly pools: readonly PoolStatus[];
  readonly volumes: Readonly<Record<string, number>>;
  readonly snapshots: number;
  readonly waiting: readonly WaitingClaim[];
  readonly problems: readonly string[];
}

export interface ControllerStatus {
  /** Undefined where nobody holds the lease. */
  readonly holder: string | undefined;
  readonly image: string | undefined;
  readonly leadsForSeconds: number | undefined;
  readonly silentSeconds: number | undefined;
  readonly isAlive: boolean | undefined;
}

export interface PoolStatus {
  readonly name: string;
  readonly nodes: number;
  readonly ready: number;
  readonly capacityBytes: bigint;
  readonly allocatedBytes: bigint;
  readonly largest: { readonly bytes: bigint; readonly node: string } | undefined;
}

export const statusVerb: ClusterVerb = {
  summary: 'Show the controller, agents, pools, volumes, pending claims and problems',
  description: 'Shows the controller, agents, pools, volumes, pending claims and problems on one screen.',
  async run(context) {
    const { reader, client, systemNamespace, nowMs } = context;
    const overview = await readOverview({ systemNamespace, nowMs }, { client, reader });
    const status = summarize(overview, nowMs);
    const { hidden } = reader;
    writeOutput(
      context,
      { ...status, hidden },
      (wide) => renderClusterStatus(status, wide) + renderHidden(hidden),
    );
    return true;
  },
};

/** The figures of an overview. */
export function summarize(overview: Overview, nowMs: number): ClusterStatus {
  const { nodes, nodeObjects, volumes, waiting } = overview;
  const rows = nodes.map((node) =>
    nodeRow(
      node,
      nodeObjects.inventories.find(({ metadata }) => metadata?.name === node.name),
    ),
  );
  const controller = controllerStatus(overview, nowMs);
  const serving = nodes.filter(({ agent }) => agent.state === 'serves');
  const versions = [...new Set(nodes.flatMap(({ agent }) => agent.version ?? []))].sort();
  return {
    controller,
    agents: { serving: serving.length, nodes: nodes.length, versions },
    pools: poolStatus(rows),
    volumes: countBy(volumes.filter(({ type }) => type === 'Volume').map(({ phase }) => phase)),
    snapshots: volumes.filter(({ type }) => type === 'Snapshot').length,
    waiting,
    problems: [
      ...(controller.isAlive === false
        ? [
            `controller: its lease was renewed ${controller.silentSeconds ?? 0} s ago by ${controller.holder ?? 'nobody'}: does it run?`,
          ]
        : []),
      ...rows.flatMap(({ name, problems }) => problems.map((problem) => `${name}: ${problem}`)),
      ...markProblems(volumes),
    ],
  };
}

function controllerStatus({ lease, systemPods }: Overview, nowMs: number): ControllerStatus {
  const leader = leaderFacts(lease, nowMs);
  if (lease === undefined || leader === undefined || leader.holder === '') {
    const none = {
      holder: undefined,
      image: undefined,
      leadsForSeconds: undefined,
      silentSeconds: leader?.silentSeconds,
    };
    return { ...none, isAlive: leader === undefined ? undefined : false };
  }
  // Its identity is the name of its pod and a random suffix.
  const pod = systemPods.find(({ metadata }) => leader.holder.startsWith(`${metadata?.name ?? ''}_`));
  return {
    holder: leader.holder,
    image: pod?.spec?.containers[0]?.image,
    leadsForSeconds: ageOf(lease.spec?.acquireTime, nowMs),
    silentSeconds: leader.silentSeconds,
    isAlive: leader.silentSeconds <= leader.leaseSeconds,
  };
}

function poolStatus(nodes: readonly NodeRow[]): readonly PoolStatus[] {
  const all = nodes.flatMap(({ name, pools }) => pools.map((pool) => ({ node: name, pool })));
  const byName = Map.groupBy(all, ({ pool }) => pool.name);
  return [...byName]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, members]) => {
      const [most] = members
        .filter(({ pool }) => pool.isReady)
        .sort((a, b) => (a.pool.freeBytes < b.pool.freeBytes ? 1 : -1));
      return {
        name,
        nodes: members.length,
        ready: members.filter(({ pool }) => pool.isReady).length,
        capacityBytes: members.reduce((sum, { pool }) => sum + pool.capacityBytes, 0n),
        allocatedBytes: members.reduce((sum, { pool }) => sum + pool.allocatedBytes, 0n),
        largest: most && { bytes: most.pool.freeBytes, node: most.node },
      };
    });
}

function markProblems(volumes: readonly VolumeRow[]): readonly string[] {
  const marks = countBy(volumes.flatMap(({ mark }) => mark ?? [])) as Readonly<Record<VolumeMark, number>>;
  return (Object.entries(marks) as [VolumeMark, number][]).map(
    ([mark, count]) =>
      `${count} of the volumes ${count === 1 ? 'is' : 'are'} ${mark}: ${MARK_MEANINGS[mark]} (kubectl keelson volumes)`,
  );
}

function countBy(words: readonly string[]): Readonly<Record<string, number>> {
  return Object.fromEntries([...Map.groupBy(words, (word) => word)].map(([word, all]) => [word, all.length]));
}

/** Without `-o wide`. */
const SHOWN_CLAIMS = 8;

/** The status as a person reads it. */
export function renderClusterStatus(
  { controller, agents, pools, volumes, snapshots, waiting, problems }: ClusterStatus,
  wide: boolean,
): string {
  const counted = Object.entries(volumes).map(([phase, count]) => `${count} ${phase}`);
  const facts = [
    ['controller', describeController(controller)],
    [
      'agents',
      `${agents.serving} of ${agents.nodes} nodes served${agents.versions.length === 0 ? '' : `, version ${agents.versions.join(' and ')}`}`,
    ],
    ['volumes', `${counted.join(', ') || 'none'}${snapshots === 0 ? '' : `; ${snapshots} snapshots`}`],
    [
      'claims',
      waiting.length === 0
        ? 'none waits'
        : `${waiting.length} ${waiting.length === 1 ? 'waits' : 'wait'} for a volume`,
    ],
  ];
  const sections = [
    facts.map(([name = '', text = '']) => `${name.padEnd(12)}${text}\n`).join(''),
    renderTable(
      ['POOL', 'NODES', 'CAPACITY', 'ALLOCATED', 'LARGEST VOLUME'],
      pools.map((pool) => [
        pool.name,
        pool.ready === pool.nodes ? String(pool.nodes) : `${pool.ready} of ${pool.nodes}`,
        formatBytes(pool.capacityBytes),
        formatBytes(pool.allocatedBytes),
        pool.largest === undefined ? '-' : `${formatBytes(pool.largest.bytes)} on ${pool.largest.node}`,
      ]),
    ),
    renderTable(
      ['WAITING CLAIM', 'SIZE', 'CLASS', 'AGE', 'ASK'],
      waiting
        .slice(0, wide ? waiting.length : SHOWN_CLAIMS)
        .map(({ namespace, name, size, className, ageSeconds }) => [
          `${namespace}/${name}`,
          size,
          className,
          formatAge(ageSeconds),
          `kubectl keelson why pvc/${name} -n ${namespace}`,
        ]),
    ),
    problems.length === 0 ? '' : `problems:\n${problems.map((problem) => `  - ${problem}\n`).join('')}`,
  ];
  return sections.filter((section) => section !== '').join('\n');
}

function describeController({
  holder,
  image,
  leadsForSeconds,
  silentSeconds,
  isAlive,
}: ControllerStatus): string {
  if (holder === undefined)
    return isAlive === undefined
      ? 'no lease: it runs without leader election, or not at all'
      : 'nobody holds its lease';
  const since = leadsForSeconds === undefined ? '' : ` leads for ${formatAge(leadsForSeconds)}`;
  const alive = isAlive === true ? '' : `, silent for ${silentSeconds ?? 0} s`;
  return `${holder}${image === undefined ? '' : ` (${image})`}${since}${alive}`;
}
