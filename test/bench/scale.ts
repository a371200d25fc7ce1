/**
 * A cluster of many nodes, simulated but for what is measured: a real API server, Kubernetes' own
 * volume controllers, and the controller as a process; the agents are played by this process. `node
 * test/bench/scale.ts [NODES] [CLAIMS] [IDLE_MS] [CONTROLLER_FLAG...]` prints the figures.
 */
import { LOCAL_VOLUMES } from '../../src/api/local-volume.ts';
import { Fault } from '../../src/core/fault.ts';
import { listAll } from '../../src/kube/client.ts';
import { CSI_STORAGE_CAPACITIES, NAMESPACES } from '../../src/kube/built-in.ts';
import { SELECTED_NODE } from '../../src/controller/context/views.ts';
import { sleep } from '../../src/runtime/clock.ts';
import { waitFor } from '../cluster/wait.ts';
import { ClaimLoad } from './claim-load.ts';
import { runFloorProvisioner } from './floor-provisioner.ts';
import {
  countOwnRequests,
  countServerRequests,
  isWrite,
  type RequestCounts,
  requestsSince,
  sumRequests,
} from './metrics-text.ts';
import { type ProcessUsage, readUsage } from './process-usage.ts';
import { CLASSES, type ScaleLab, startScaleLab } from './scale-lab.ts';
import { SimulatedNodes } from './simulated-nodes.ts';
import { textTable } from './text-table.ts';

export interface ScaleBenchOptions {
  readonly nodes?: number;
  readonly claims?: number;
  /** How long nothing happens, to see who writes all the same. */
  readonly idleMs?: number;
  /** Further arguments of the controller. */
  readonly controllerArgs?: readonly string[];
}

/** One load from its first request to the last. */
export interface ScalePhase {
  readonly name: string;
  readonly claims: number;
  readonly ms: number;
  readonly cpuMs: ReadonlyMap<string, number>;
  /** Of the controller. */
  readonly requests: RequestCounts;
  /** Of everybody. */
  readonly serverRequests: number;
}

export interface ScaleBenchResult {
  readonly nodes: number;
  readonly phases: readonly ScalePhase[];
  /** Of the controller, before the load and at the end. */
  readonly before: ProcessUsage;
  readonly after: ProcessUsage;
  readonly idleMs: number;
  readonly idleWrites: number;
}

const POOL_BYTES = 1n << 40n;

/** Runs the simulation; some minutes. */
export async function benchScale({
  nodes: count = 500,
  claims = 5_000,
  idleMs = 60_000,
  controllerArgs = [],
}: ScaleBenchOptions = {}): Promise<ScaleBenchResult> {
  let nodes: SimulatedNodes | undefined;
  await using lab = await startScaleLab({ controllerArgs }, async (client) => {
    nodes = new SimulatedNodes({ count, poolBytes: POOL_BYTES }, client);
    await nodes.register();
  });
  if (nodes === undefined) throw new Fault('bug', 'the laboratory has not registered its nodes');
  const simulated = nodes;
  const stop = new AbortController();
  const running = Promise.all([simulated.run(stop.signal), runFloorProvisioner(lab.client, stop.signal)]);
  const phases: ScalePhase[] = [];
  const { names } = simulated;
  try {
    // Its first work is to publish what each node has room for.
    await waitFor(
      'the capacity of every node is published',
      async () => ((await listAll(lab.client, CSI_STORAGE_CAPACITIES)).length === count ? true : undefined),
      { timeoutMs: 120_000, everyMs: 500 },
    );
    await untilQuiet(lab);
    const before = await readUsage(lab.processes.get('keelson controller') ?? 0);
    const loads = [
      { name: 'floor: one write a claim', className: CLASSES.floor },
      { name: 'Immediate', className: CLASSES.immediate },
      {
        name: 'selected-node',
        className: CLASSES.waiting,
        annotations: (i: number) => ({ [SELECTED_NODE]: names[i % names.length] ?? '' }),
      },
    ];
    for (const [index, { name, ...load }] of loads.entries()) {
      const namespace = `scale-${index}`;
      await lab.client.create(NAMESPACES, { metadata: { name: namespace } });
      await using run = new ClaimLoad(
        { namespace, count: claims, timeoutMs: 1_800_000, ...load },
        lab.client,
      );
      phases.push(await measure(lab, `${name}: Bound`, claims, () => run.bind()));
      await untilQuiet(lab);
      phases.push(await measure(lab, `${name}: deleted`, claims, () => run.remove()));
      await untilQuiet(lab);
      const left = (await listAll(lab.client, LOCAL_VOLUMES)).length + simulated.volumes;
      if (left > 0) throw new Fault('bug', `${left} LocalVolumes or volumes on nodes are left of ${name}`);
    }
    const idle = await countWrites(lab, idleMs);
    const after = await readUsage(lab.processes.get('keelson controller') ?? 0);
    return { nodes: count, phases, before, after, idleMs, idleWrites: idle };
  } finally {
    stop.abort();
    await running;
  }
}

/** The result as lines for people. */
export function formatScaleBench({
  nodes,
  phases,
  before,
  after,
  idleMs,
  idleWrites,
}: ScaleBenchResult): string {
  const seconds = (ms: number): string => (ms / 1_000).toFixed(1);
  const names = [...(phases[0]?.cpuMs.keys() ?? [])];
  const header = ['', 'claims', 'time s', ...names.map((name) => `${name} CPU s`)];
  const rows = phases.map(({ name, claims, ms, cpuMs }) => [
    name,
    String(claims),
    seconds(ms),
    ...names.map((process) => seconds(cpuMs.get(process) ?? 0)),
  ]);
  const requests = phases
    .filter(({ requests: counts }) => counts.size > 0)
    .map(({ name, claims, requests: counts, serverRequests }) => {
      const each = [...counts]
        .sort(([, a], [, b]) => b - a)
        .map(([key, value]) => `${key} ${(value / claims).toFixed(2)}`);
      const total = (sumRequests(counts) / claims).toFixed(2);
      return `  ${name}: ${total} of ${(serverRequests / claims).toFixed(1)} in all: ${each.join(', ')}`;
    });
  return [
    `${nodes} nodes`,
    textTable([header, ...rows]),
    'requests of the controller for each claim',
    ...requests,
    `memory of the controller: ${before.rssMib.toFixed(0)} MiB before, ${after.rssMib.toFixed(0)} MiB after, ${after.peakRssMib.toFixed(0)} MiB at most`,
    `writes of the controller in ${seconds(idleMs)} s without work: ${idleWrites}`,
  ].join('\n');
}

async function measure(
  lab: ScaleLab,
  name: string,
  claims: number,
  load: () => Promise<number>,
): Promise<ScalePhase> {
  const before = await snapshot(lab);
  const ms = await load();
  const after = await snapshot(lab);
  const cpuMs = new Map(
    [...after.cpuMs].map(([process, spent]) => [process, spent - (before.cpuMs.get(process) ?? 0)]),
  );
  return {
    name,
    claims,
    ms,
    cpuMs,
    requests: requestsSince(before.requests, after.requests),
    serverRequests: sumRequests(requestsSince(before.served, after.served)),
  };
}

async function snapshot(lab: ScaleLab): Promise<{
  readonly cpuMs: ReadonlyMap<string, number>;
  readonly requests: RequestCounts;
  readonly served: RequestCounts;
}> {
  const usages = await Promise.all(
    [...lab.processes].map(async ([name, pid]) => [name, (await readUsage(pid)).cpuMs] as const),
  );
  return {
    cpuMs: new Map(usages),
    requests: countOwnRequests(await lab.controllerMetrics()),
    served: countServerRequests(await lab.serverMetrics()),
  };
}

/**
 * Waits until the controller has written nothing for a second: the aftermath of a load must not
 * count for the next one.
 */
async function untilQuiet(lab: ScaleLab): Promise<void> {
  const isQuiet = async (): Promise<true | undefined> =>
    (await countWrites(lab, 1_000)) === 0 ? true : undefined;
  await waitFor('the controller writes nothing', isQuiet, { timeoutMs: 300_000 });
}

async function countWrites(lab: ScaleLab, forMs: number): Promise<number> {
  const before = countOwnRequests(await lab.controllerMetrics());
  await sleep(forMs);
  const after = countOwnRequests(await lab.controllerMetrics());
  return sumRequests(requestsSince(before, after), isWrite);
}

if (import.meta.main) {
  const [nodes = '500', claims = '5000', idleMs = '60000', ...controllerArgs] = process.argv.slice(2);
  const options = { nodes: Number(nodes), claims: Number(claims), idleMs: Number(idleMs), controllerArgs };
  process.stdout.write(`${formatScaleBench(await benchScale(options))}\n`);
}
