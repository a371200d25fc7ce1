/**
 * Claims and pods on a real cluster: ours, the floor that no provisioner can go below, and any other provisioner's class (PEER_CLASS), in
 * turn. `node test/bench/cluster.ts` prints the figures; ratios of one run count, never bare times.
 */
import { Fault, isFault } from '../../src/core/fault.ts';
import { NODE_INVENTORIES } from '../../src/api/node-inventory.ts';
import { LOCAL_VOLUMES } from '../../src/api/local-volume.ts';
import { NAMESPACES, STORAGE_CLASSES } from '../../src/kube/built-in.ts';
import { listAll } from '../../src/kube/client.ts';
import { waitFor } from '../cluster/wait.ts';
import { ClaimLoad } from './claim-load.ts';
import { type ClusterLab, openClusterLab } from './cluster-lab.ts';
import { FLOOR, runFloorProvisioner } from './floor-provisioner.ts';
import { countServerRequests, type RequestCounts, requestsSince, sumRequests } from './metrics-text.ts';
import { benchPodStart } from './pod-start.ts';
import { type ProcessUsage, readUsage } from './process-usage.ts';
import { median } from './quantile.ts';
import { fetchServerMetrics } from './server-metrics.ts';
import { textTable } from './text-table.ts';

export interface ClusterBenchOptions {
  readonly kubeconfig?: string | undefined;
  readonly cluster?: string | undefined;
  readonly peerClass?: string | undefined;
  /** Claims at once, one load after the other. */
  readonly counts?: readonly number[];
  readonly podRounds?: number;
}

export interface ClaimRow {
  readonly who: string;
  readonly claims: number;
  readonly boundMs: number;
  readonly goneMs: number;
  /** Of everybody to the API server, for one claim. */
  readonly requests: number;
}

export interface ClusterBenchResult {
  readonly description: string;
  readonly peerClass: string | undefined;
  readonly rows: readonly ClaimRow[];
  /** Of Keelson's processes for one claim from its creation to its end; undefined where they are out of reach. */
  readonly ownRequests: RequestCounts | undefined;
  /** p50 by class; without a class: no volume. */
  readonly podMs: ReadonlyMap<string | undefined, number>;
  readonly podRounds: number;
  readonly memory: readonly {
    readonly name: string;
    readonly before: ProcessUsage;
    readonly after: ProcessUsage;
  }[];
}

/** Runs the part; needs root for a cluster of its own, a kubeconfig for another. */
export async function benchCluster({
  kubeconfig,
  cluster,
  peerClass,
  counts = [100, 500],
  podRounds = 10,
}: ClusterBenchOptions = {}): Promise<ClusterBenchResult> {
  const report = (text: string): void => void process.stderr.write(`  ${text}\n`);
  await using lab = await openClusterLab({ kubeconfig, cluster, report });
  await using cleanup = new AsyncDisposableStack();
  const { client, classes } = lab;
  if (peerClass !== undefined) await checkPeer(lab, peerClass);
  await client.create(STORAGE_CLASSES, { metadata: { name: FLOOR }, provisioner: FLOOR });
  cleanup.defer(() => client.delete(STORAGE_CLASSES, { name: FLOOR }));
  const stop = new AbortController();
  const floor = runFloorProvisioner(client, stop.signal);
  cleanup.defer(async () => {
    stop.abort();
    await floor;
  });
  const contenders = [
    { who: 'floor', className: FLOOR },
    { who: 'keelson', className: classes.immediate },
    ...(peerClass === undefined ? [] : [{ who: peerClass, className: peerClass }]),
  ];
  const before = await memoryOf(lab);
  const rows: ClaimRow[] = [];
  let own: RequestCounts | undefined;
  for (const claims of counts) {
    for (const { who, className } of contenders) {
      await using place = await useNamespace(
        lab,
        `bench-${claims}-${contenders.findIndex((c) => c.who === who)}`,
      );
      const [volumes, served, asked] = [await countVolumes(lab), await servedBy(lab), await lab.requests()];
      await using load = new ClaimLoad({ namespace: place.name, className, count: claims }, client);
      const boundMs = await load.bind();
      report(`${claims} claims, ${who}: Bound after ${(boundMs / 1_000).toFixed(1)} s`);
      const goneMs = await load.remove();
      report(`${claims} claims, ${who}: gone after ${(goneMs / 1_000).toFixed(1)} s`);
      const requests = sumRequests(requestsSince(served, await servedBy(lab))) / claims;
      if (who === 'keelson') {
        await untilNothingIsLeft(lab, volumes);
        const since = await lab.requests();
        if (asked !== undefined && since !== undefined) own = perClaim(requestsSince(asked, since), claims);
      }
      rows.push({ who, claims, boundMs, goneMs, requests });
    }
  }
  const after = await memoryOf(lab);
  await using pods = await useNamespace(lab, 'bench-pods');
  const times = await benchPodStart(
    {
      namespace: pods.name,
      image: lab.image,
      rounds: podRounds,
      classes: [undefined, classes.waiting, ...(peerClass === undefined ? [] : [peerClass])],
    },
    client,
  );
  return {
    description: lab.description,
    peerClass,
    rows,
    ownRequests: own,
    podMs: new Map([...times].map(([name, values]) => [name, median(values)])),
    podRounds,
    memory: [...before].flatMap(([name, usage]) => {
      const later = after.get(name);
      return later === undefined ? [] : [{ name, before: usage, after: later }];
    }),
  };
}

/** The result as lines for people. */
export function formatClusterBench(result: ClusterBenchResult): string {
  const { description, peerClass, rows, ownRequests, podMs, podRounds, memory } = result;
  const seconds = (ms: number): string => (ms / 1_000).toFixed(1);
  const of = (who: string, claims: number): ClaimRow | undefined =>
    rows.find((row) => row.who === who && row.claims === claims);
  const ratio = (row: ClaimRow, peer: ClaimRow | undefined, field: 'boundMs' | 'goneMs'): string =>
    peer === undefined || row.who !== 'keelson' ? '' : `${(row[field] / peer[field]).toFixed(2)}x`;
  const others = ['floor', ...(peerClass === undefined ? [] : [peerClass])];
  const table = textTable([
    [
      'claims at once',
      'Bound s',
      'gone s',
      'requests each',
      ...others.flatMap((who) => [`Bound/${who}`, `gone/${who}`]),
    ],
    ...rows.map((row) => [
      `${row.claims} ${row.who}`,
      seconds(row.boundMs),
      seconds(row.goneMs),
      row.requests.toFixed(1),
      ...others.flatMap((who) => {
        const peer = of(who, row.claims);
        return [ratio(row, peer, 'boundMs'), ratio(row, peer, 'goneMs')];
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
  const sum = (when: 'before' | 'after'): number =>
    memory.reduce((total, usage) => total + usage[when].pssMib, 0);
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
    ...(memory.length === 0
      ? ['memory of Keelson: not to be had from outside']
      : [
          `memory of Keelson before and after (PSS, RSS in brackets): ${sum('before').toFixed(0)} and ${sum('after').toFixed(0)} MiB`,
          ...memory.map(
            ({ name, before, after }) =>
              `  ${name}: ${before.pssMib.toFixed(0)} (${before.rssMib.toFixed(0)}) and ${after.pssMib.toFixed(0)} (${after.rssMib.toFixed(0)}) MiB`,
          ),
        ]),
  ].join('\n');
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

/** PersistentVolumes go last: with them nothing of the load may be there any more, in the API or on disk. */
async function untilNothingIsLeft(lab: ClusterLab, before: number): Promise<void> {
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

async function memoryOf(lab: ClusterLab): Promise<ReadonlyMap<string, ProcessUsage>> {
  const processes = (await lab.processes()) ?? new Map<string, number>();
  const usages = [...processes].map(async ([name, pid]) => [name, await readUsage(pid)] as const);
  return new Map(await Promise.all(usages));
}

if (import.meta.main) {
  const { BENCH_KUBECONFIG: kubeconfig, BENCH_CLUSTER: cluster, PEER_CLASS: peerClass } = process.env;
  process.stdout.write(`${formatClusterBench(await benchCluster({ kubeconfig, cluster, peerClass }))}\n`);
}
