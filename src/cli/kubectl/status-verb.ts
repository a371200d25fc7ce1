import { formatAge, MARK_MEANINGS, type VolumeMark } from '../../core/volumes/cluster-volumes.ts';
import { formatBytes } from '../../core/kube-text/quantity.ts';
import { renderTable } from '../../runtime/text-table.ts';
import { ageOf } from './claim-facts.ts';
import { leaderFacts } from './leader.ts';
import { type NodeRow, nodeRow } from './nodes-verb.ts';
import { type Overview, readOverview, type VolumeRow, type PendingClaim } from './overview.ts';
import { type ClusterVerb, renderHidden, writeOutput } from './verb.ts';

/** Summary of a cluster. */
interface ClusterStatus {
  readonly controller: ControllerStatus;
  readonly agents: { readonly serving: number; readonly nodes: number; readonly versions: readonly string[] };
  readonly pools: readonly PoolStatus[];
  readonly volumes: Readonly<Record<string, number>>;
  readonly snapshots: number;
  readonly pending: readonly PendingClaim[];
  readonly problems: readonly string[];
}

interface ControllerStatus {
  /** Undefined if the Lease has no holder. */
  readonly holder: string | undefined;
  readonly image: string | undefined;
  readonly leadsForSeconds: number | undefined;
  readonly lastRenewalSeconds: number | undefined;
  readonly isResponsive: boolean | undefined;
}

interface PoolStatus {
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

/** Summarizes an overview. */
function summarize(overview: Overview, nowMs: number): ClusterStatus {
  const { nodes, nodeObjects, volumes, pending } = overview;
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
    pending,
    problems: [
      ...(controller.isResponsive === false
        ? [
            `controller: lease last renewed ${controller.lastRenewalSeconds ?? 0} s ago by ${controller.holder ?? 'no holder'}; check its pods`,
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
      lastRenewalSeconds: leader?.silentSeconds,
    };
    return { ...none, isResponsive: leader === undefined ? undefined : false };
  }
  // The identity is the pod's name and a random suffix.
  const pod = systemPods.find(({ metadata }) => leader.holder.startsWith(`${metadata?.name ?? ''}_`));
  return {
    holder: leader.holder,
    image: pod?.spec?.containers[0]?.image,
    leadsForSeconds: ageOf(lease.spec?.acquireTime, nowMs),
    lastRenewalSeconds: leader.silentSeconds,
    isResponsive: leader.silentSeconds <= leader.leaseSeconds,
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
      `${count} volume${count === 1 ? '' : 's'} ${mark}: ${MARK_MEANINGS[mark]} (see kubectl keelson volumes)`,
  );
}

function countBy(words: readonly string[]): Readonly<Record<string, number>> {
  return Object.fromEntries([...Map.groupBy(words, (word) => word)].map(([word, all]) => [word, all.length]));
}

/** Without `-o wide`. */
const SHOWN_CLAIMS = 8;

/** Returns the summary as text; `wide` lists all pending claims. */
function renderClusterStatus(
  { controller, agents, pools, volumes, snapshots, pending, problems }: ClusterStatus,
  wide: boolean,
): string {
  const counted = Object.entries(volumes).map(([phase, count]) => `${count} ${phase}`);
  const facts = [
    ['controller', describeController(controller)],
    [
      'agents',
      `${agents.serving} of ${agents.nodes} ready${agents.versions.length === 0 ? '' : `, version ${agents.versions.join(' and ')}`}`,
    ],
    [
      'volumes',
      `${counted.join(', ') || 'none'}${snapshots === 0 ? '' : `; ${snapshots} ${snapshots === 1 ? 'snapshot' : 'snapshots'}`}`,
    ],
    ['claims', pending.length === 0 ? 'none pending' : `${pending.length} pending`],
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
      ['PENDING CLAIM', 'SIZE', 'CLASS', 'AGE', 'EXPLAIN'],
      pending
        .slice(0, wide ? pending.length : SHOWN_CLAIMS)
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
  lastRenewalSeconds,
  isResponsive,
}: ControllerStatus): string {
  if (holder === undefined)
    return isResponsive === undefined
      ? 'no lease: not running, or running without leader election'
      : 'its lease has no holder';
  const since = leadsForSeconds === undefined ? '' : `, leader for ${formatAge(leadsForSeconds)}`;
  const alive = isResponsive === true ? '' : `, last renewal ${lastRenewalSeconds ?? 0} s ago`;
  return `${holder}${image === undefined ? '' : ` (${image})`}${since}${alive}`;
}
