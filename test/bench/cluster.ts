/**
 * Claims and pods on a real cluster: ours, the floor that no provisioner can go below, and any
 * other provisioner's class (PEER_CLASS), in turn. `node test/bench/cluster.ts` prints the figures;
 * ratios of one run count, never bare times.
 */
import { Fault, isFault } from '../../src/core/fault.ts';
import { NODE_INVENTORIES } from '../../src/api/node-inventory.ts';
import { LOCAL_VOLUMES } from '../../src/api/local-volume.ts';
import { NAMESPACES, STORAGE_CLASSES } from '../../src/kube/built-in.ts';
import { listAll } from '../../src/kube/client.ts';
import { waitFor } from '../cluster/wait.ts';
import { pauseProcesses } from './bystanders.ts';
import { ClaimLoad } from './claim-load.ts';
import { type ClusterLab, openClusterLab } from './cluster-lab.ts';
import { FLOOR, runFloorProvisioner } from './floor-provisioner.ts';
import { countServerRequests, type RequestCounts, requestsSince, sumRequests } from './metrics-text.ts';
import { parsePeerProcesses } from './peer-processes.ts';
import { benchPodStart } from './pod-start.ts';
import { type ProcessUsage, readUsage } from './process-usage.ts';
import { median } from './quantile.ts';
import { fetchServerMetrics } from './server-metrics.ts';
import { textTable } from './text-table.ts';

export interface ClusterBenchOptions {
  readonly kubeconfig?: string | undefined;
  readonly cluster?: string | undefined;
  readonly peerClass?: string | undefined;
  /** Process ids of what the peer needs on one node, by name. */
  readonly peerProcesses?: ReadonlyMap<string, number> | undefined;
  /** One after the other; of the rounds of each, in which all take turns, the medians count. */
  readonly loads?: readonly Load[];
  readonly podRounds?: number;
}

export interface Load {
  /** At once. */
  readonly claims: number;
  readonly rounds: number;
}

export interface ClaimRow {
  readonly who: string;
  readonly claims: number;
  readonly rounds: number;
  readonly boundMs: number;
  readonly deletedMs: number;
  /** Of everybody to the API server, for one claim. */
  readonly requests: number;
}

export interface ClusterBenchResult {
  readonly description: string;
  readonly peerClass: string | undefined;
  readonly rows: readonly ClaimRow[];
  /**
   * Of Keelson's processes for one claim from its creation to its end; undefined where they are out
   * of reach.
   */
  readonly ownRequests: RequestCounts | undefined;
  /** p50 by class; without a class: no volume. */
  readonly podMs: ReadonlyMap<string | undefined, number>;
  readonly podRounds: number;
  readonly memory: readonly ProcessMemory[];
  /** Of the peer's processes; empty when none were named. */
  readonly peerMemory: readonly ProcessMemory[];
}

/** One process before and after all loads. */
export interface ProcessMemory {
  readonly name: string;
  readonly before: ProcessUsage;
  readonly after: ProcessUsage;
}

/** What the environment says of the cluster and of the peer in it. */
export function clusterBenchOptionsOf(
  env: Readonly<Record<string, string | undefined>>,
): ClusterBenchOptions {
  const { BENCH_KUBECONFIG: kubeconfig, BENCH_CLUSTER: cluster } = env;
  const { PEER_CLASS: peerClass, PEER_PROCESSES: processes } = env;
  const peerProcesses = processes === undefined ? undefined : parsePeerProcesses(processes);
  return { kubeconfig, cluster, peerClass, peerProcesses };
}

/** Runs the part; needs root for a cluster of its own, a kubeconfig for another. */
export async function benchCluster({
  kubeconfig,
  cluster,
  peerClass,
  peerProcesses = new Map(),
  loads = [
    { claims: 100, rounds: 5 },
    { claims: 500, rounds: 1 },
  ],
  podRounds = 10,
}: ClusterBenchOptions = {}): Promise<ClusterBenchResult> {
  const report = (text: string): void => void process.stderr.write(`  ${text}\n`);
  await using lab = await openClusterLab({ kubeconfig, cluster, report });
  await using cleanup = new AsyncDisposableStack();
  const { client, classes } = lab;
  if (peerClass !== undefined) await checkPeer(lab, peerClass);
  await client.create(STORAGE_CLASSES, { metadata: { name: FLOOR }, provisioner: FLOOR });
  cleanup.defer(() => client.delete(STORAGE_CLASSES, { name: FLOOR }));
  const contenders = [
    { who: 'floor', className: FLOOR },
    { who: 'keelson', className: classes.immediate },
    ...(peerClass === undefined ? [] : [{ who: peerClass, className: peerClass }]),
  ];
  const before = await memoryOf(await lab.processes());
  const peerBefore = await memoryOf(peerProcesses);
  const rows: ClaimRow[] = [];
  let own: RequestCounts | undefined;
  for (const { claims, rounds } of loads) {
    const runs = contenders.map((): LoadRun[] => []);
    for (let round = 0; round < rounds; round += 1) {
      for (const [index, { who, className }] of contenders.entries()) {
        await using _alone = pauseProcesses([
          ...(who === 'keelson' ? [] : await controllers(lab)),
          ...(who === peerClass ? [] : peerProcesses.values()),
        ]);
        await using place = await useNamespace(lab, `bench-${claims}-${round}-${index}`);
        // Runs in its own turn only: the others must not pay for its watches.
        await using _floor = who === 'floor' ? startFloor(client) : undefined;
        const volumes = await countVolumes(lab);
        await catchUp(lab, { namespace: place.name, className });
        // Of others it is of no interest, and a stopped controller does not answer.
        const asked = who === 'keelson' ? await lab.requests() : undefined;
        const run = await runLoad(lab, { namespace: place.name, className, count: claims });
        report(
          `${claims} claims, ${who}: Bound after ${seconds(run.boundMs)} s, deleted after ${seconds(run.deletedMs)} s`,
        );
        runs[index]?.push(run);
        if (who !== 'keelson') continue;
        await waitUntilEmpty(lab, volumes);
        const since = await lab.requests();
        if (asked !== undefined && since !== undefined) own = perClaim(requestsSince(asked, since), claims);
      }
    }
    for (const [index, { who }] of contenders.entries()) {
      const of = (field: keyof LoadRun): number => median((runs[index] ?? []).map((run) => run[field]));
      rows.push({
        ...{ who, claims, rounds },
        ...{ boundMs: of('boundMs'), deletedMs: of('deletedMs'), requests: of('requests') },
      });
    }
  }
  const after = await memoryOf(await lab.processes());
  const peerAfter = await memoryOf(peerProcesses);
  const startPods = async (
    namespace: string,
    ...of: readonly (string | undefined)[]
  ): ReturnType<typeof benchPodStart> => {
    await using place = await useNamespace(lab, namespace);
    return await benchPodStart(
      { namespace: place.name, image: lab.image, rounds: podRounds, classes: of },
      client,
    );
  };
  const times = new Map(await startPods('bench-pods', undefined, classes.waiting));
  try {
    if (peerClass !== undefined)
      for (const [name, values] of await startPods('bench-peer-pods', peerClass)) times.set(name, values);
  } catch (error) {
    // Such as a peer without its attacher: what was measured before is not lost with that.
    if (!isFault(error, 'timeout')) throw error;
    report(`no pod start of ${peerClass}: ${error.message}`);
  }
  return {
    description: lab.description,
    peerClass,
    rows,
    ownRequests: own,
    podMs: new Map([...times].map(([name, values]) => [name, median(values)])),
    podRounds,
    memory: inBoth(before, after),
    peerMemory: inBoth(peerBefore, peerAfter),
  };
}

function startFloor(client: ClusterLab['client']): AsyncDisposable {
  const stop = new AbortController();
  const floor = runFloorProvisioner(client, stop.signal);
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await floor;
    },
  };
}

/**
 * Those of Keelson that follow claims and volumes of others too; its agents know of none but their
 * own.
 */
async function controllers(lab: ClusterLab): Promise<readonly number[]> {
  const processes = await lab.processes();
  return [...(processes ?? [])].filter(([name]) => name.startsWith('controller')).map(([, pid]) => pid);
}

type LoadRun = Pick<ClaimRow, 'boundMs' | 'deletedMs' | 'requests'>;

async function runLoad(
  lab: ClusterLab,
  options: { readonly namespace: string; readonly className: string; readonly count: number },
): Promise<LoadRun> {
  const served = await servedBy(lab);
  await using load = new ClaimLoad(options, lab.client);
  const boundMs = await load.bind();
  const deletedMs = await load.remove();
  const requests = sumRequests(requestsSince(served, await servedBy(lab))) / options.count;
  return { boundMs, deletedMs, requests };
}

/**
 * One claim that does not count, from its creation to its deletion. A stopped process is idle
 * before the next turn begins, but so is one whose connections stay silent until the sender
 * retries: it has a claim Bound when it has read what it missed.
 */
async function catchUp(
  { client }: ClusterLab,
  options: { readonly namespace: string; readonly className: string },
): Promise<void> {
  await using load = new ClaimLoad({ ...options, count: 1 }, client);
  await load.bind();
  await load.remove();
}

function seconds(ms: number): string {
  return (ms / 1_000).toFixed(1);
}

function inBoth(
  before: ReadonlyMap<string, ProcessUsage>,
  after: ReadonlyMap<string, ProcessUsage>,
): readonly ProcessMemory[] {
  return [...before].flatMap(([name, usage]) => {
    const later = after.get(name);
    return later === undefined ? [] : [{ name, before: usage, after: later }];
  });
}

/** The result as lines for people. */
export function formatClusterBench(result: ClusterBenchResult): string {
  const { description, peerClass, rows, ownRequests, podMs, podRounds } = result;
  const of = (who: string, claims: number): ClaimRow | undefined =>
    rows.find((row) => row.who === who && row.claims === claims);
  const ratio = (row: ClaimRow, peer: ClaimRow | undefined, field: 'boundMs' | 'deletedMs'): string =>
    peer === undefined || row.who !== 'keelson' ? '' : `${(row[field] / peer[field]).toFixed(2)}x`;
  const others = ['floor', ...(peerClass === undefined ? [] : [peerClass])];
  const table = textTable([
    [
      'claims at once',
      'rounds',
      'Bound s',
      'deleted s',
      'requests each',
      ...others.flatMap((who) => [`Bound/${who}`, `deleted/${who}`]),
    ],
    ...rows.map((row) => [
      `${row.claims} ${row.who}`,
      `${row.rounds}`,
      seconds(row.boundMs),
      seconds(row.deletedMs),
      row.requests.toFixed(1),
      ...others.flatMap((who) => {
        const peer = of(who, row.claims);
        return [ratio(row, peer, 'boundMs'), ratio(row, peer, 'deletedMs')];
      }),
    ]),
  ]);
  const own = [...(ownRequests ?? [])].sort(([, a], [, b]) => b - a);
  const bare = podMs.get(undefined) ?? Number.NaN;
  const pods = [...podMs].map(([name, ms]) =>
    name === undefined
      ? `  without a volume: ${seconds(ms)} s`
      : `  with one of class ${name}: ${seconds(ms)} s, ${seconds(ms - bare)} s more`,
  );
  return [
    `Keelson on ${description}`,
    peerClass === undefined
      ? 'no peer was given: name a StorageClass of another provisioner in PEER_CLASS, in the cluster of BENCH_KUBECONFIG'
      : `peer: StorageClass ${peerClass}`,
    table,
    ownRequests === undefined
      ? 'requests of Keelson itself: not to be had from outside'
      : `requests of Keelson itself for each claim, from its creation to its end: ${sumRequests(ownRequests).toFixed(1)}` +
        ` (${own.map(([key, count]) => `${key} ${count.toFixed(2)}`).join(', ')})`,
    `pod until its container runs, p50 of ${podRounds}`,
    ...pods,
    ...memoryLines(result),
  ].join('\n');
}

/**
 * A controller serves the cluster and an agent its node: together they stand for a peer on one
 * node.
 */
function memoryLines({ memory, peerMemory }: ClusterBenchResult): readonly string[] {
  const line = ({ name, before, after }: ProcessMemory): string =>
    `  ${name}: ${before.pssMib.toFixed(0)} (${before.rssMib.toFixed(0)}) and ${after.pssMib.toFixed(0)} (${after.rssMib.toFixed(0)}) MiB`;
  const sum = (of: readonly ProcessMemory[], when: 'before' | 'after'): number =>
    of.reduce((total, process) => total + process[when].pssMib, 0);
  const sums = (of: readonly ProcessMemory[]): string =>
    `${sum(of, 'before').toFixed(0)} and ${sum(of, 'after').toFixed(0)} MiB`;
  if (memory.length === 0) return ['memory of Keelson: not to be had from outside'];
  const agents = memory.filter(({ name }) => name.startsWith('agent'));
  const oneNode = memory.filter((process) => !agents.includes(process) || process === agents[0]);
  const ratio = (when: 'before' | 'after'): string =>
    `${(sum(oneNode, when) / sum(peerMemory, when)).toFixed(2)}x`;
  return [
    'memory before and after all loads (PSS, RSS in brackets)',
    ...memory.map(line),
    `  the controller and one agent: ${sums(oneNode)}`,
    ...(peerMemory.length === 0
      ? ["  no peer's memory: name its processes of one node in PEER_PROCESSES (NAME=PID,NAME=PID)"]
      : [
          ...peerMemory.map(line),
          `  the peer: ${sums(peerMemory)}; ours are ${ratio('before')} and ${ratio('after')} of it`,
        ]),
  ];
}

async function checkPeer({ client }: ClusterLab, name: string): Promise<void> {
  try {
    const { volumeBindingMode, reclaimPolicy } = await client.get(STORAGE_CLASSES, { name });
    if (volumeBindingMode === 'Immediate' && reclaimPolicy === 'Delete') return;
    throw new Fault(
      'precondition',
      `PEER_CLASS ${name} has volumeBindingMode ${volumeBindingMode} and reclaimPolicy ${reclaimPolicy}; needed are Immediate and Delete`,
    );
  } catch (error) {
    if (!isFault(error, 'not-found')) throw error;
    throw new Fault('not-found', `PEER_CLASS ${name}: the cluster has no such StorageClass`);
  }
}

/** A namespace that goes with everything in it. */
async function useNamespace(
  { client }: ClusterLab,
  name: string,
): Promise<AsyncDisposable & { readonly name: string }> {
  await client.create(NAMESPACES, { metadata: { name } });
  return {
    name,
    [Symbol.asyncDispose]: async () => {
      await client.delete(NAMESPACES, { name });
    },
  };
}

/** LocalVolumes, and volumes on disk by the agents' own count. */
async function countVolumes({ client }: ClusterLab): Promise<number> {
  const objects = (await listAll(client, LOCAL_VOLUMES)).length;
  const inventories = await listAll(client, NODE_INVENTORIES);
  return inventories.reduce((sum, { status }) => sum + (status?.storage?.volumes ?? 0), objects);
}

/**
 * PersistentVolumes go last: with them nothing of the load may be there any more, in the API or on
 * disk.
 */
async function waitUntilEmpty(lab: ClusterLab, before: number): Promise<void> {
  const isSettled = async (): Promise<true | undefined> => {
    const left = (await countVolumes(lab)) - before;
    if (left === 0) return true;
    throw new Fault('busy', `${left} LocalVolumes and volumes on disk are left of the load`);
  };
  await waitFor('nothing is left of a load', isSettled, { timeoutMs: 30_000 });
}

async function servedBy({ access }: ClusterLab): Promise<RequestCounts> {
  return countServerRequests(await fetchServerMetrics(access));
}

function perClaim(counts: RequestCounts, claims: number): RequestCounts {
  return new Map([...counts].map(([key, count]) => [key, count / claims]));
}

async function memoryOf(
  processes: ReadonlyMap<string, number> | undefined,
): Promise<ReadonlyMap<string, ProcessUsage>> {
  const usages = [...(processes ?? [])].map(async ([name, pid]) => [name, await readUsage(pid)] as const);
  return new Map(await Promise.all(usages));
}

if (import.meta.main) {
  process.stdout.write(`${formatClusterBench(await benchCluster(clusterBenchOptionsOf(process.env)))}\n`);
}
