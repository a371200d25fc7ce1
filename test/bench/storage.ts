/**
 * Volumes and snapshots by CSI calls: ours, and any other driver whose socket is given (PEER_CSI),
 * in the same run. `node test/bench/storage.ts` prints the figures; ratios of one run count, never
 * bare times.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import { runCommand } from '../../src/runtime/child-process.ts';
import { startAgent } from '../integration/host/agent-process.ts';
import { ensureTool } from '../tools/build-tool.ts';
import { CsiTarget, socketPath } from './csi-target.ts';
import { type ProcessUsage, readUsage } from './process-usage.ts';
import { median, quantile } from './quantile.ts';
import { findSocketOwner } from './socket-owner.ts';
import { textTable } from './text-table.ts';

export interface StorageBenchOptions {
  /** `unix:///…` of another driver on this machine. */
  readonly peer?: string | undefined;
  /** Data in the volumes that are snapshotted. */
  readonly dataMib?: readonly number[];
  readonly volumes?: number;
  readonly rounds?: number;
}

interface Contender {
  readonly who: string;
  readonly socket: string;
  readonly parameters?: Readonly<Record<string, string>>;
  /** The process whose memory is shown; one row shows it where contenders share it. */
  readonly pid: number | undefined;
}

export interface CopyRow {
  readonly dataMib: number;
  readonly snapshotMs: number;
  readonly restoreMs: number;
}

export interface ContenderResult {
  readonly who: string;
  readonly description: string;
  readonly createMs: readonly number[];
  readonly deleteMs: readonly number[];
  readonly parallelCreateMs: number;
  readonly parallelDeleteMs: number;
  readonly copies: readonly CopyRow[];
  readonly sanity: { readonly seconds: number; readonly summary: string };
  readonly memory: { readonly before: ProcessUsage; readonly after: ProcessUsage } | undefined;
}

export interface StorageBenchResult {
  readonly volumes: number;
  readonly rounds: number;
  readonly contenders: readonly ContenderResult[];
}

const SIZE_MIB = 32;
const WARM_UP = 3;

/** Runs the part; needs root and a build. */
export async function benchStorage({
  peer,
  dataMib = [10, 1024, 4096],
  volumes = 100,
  rounds = 3,
}: StorageBenchOptions = {}): Promise<StorageBenchResult> {
  await using cleanup = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'keelson-bench-storage-'));
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  // Room for a volume with the most data, and its copy, in backends that share nothing between
  // copies.
  const poolSize = `${Math.ceil((4 * Math.max(...dataMib)) / 1024) + 12}Gi`;
  const agent = cleanup.use(
    await startAgent({
      name: 'bench-storage',
      config: { log: { level: 'info' } },
      pools: (base) =>
        ['btrfs', 'image'].map((backend) => ({
          name: backend,
          backend,
          source: { file: join(base, `${backend}.img`), size: poolSize },
        })),
    }),
  );
  const own = (backend: string): Contender => ({
    who: `keelson ${backend}`,
    socket: agent.csiSocket,
    parameters: { pool: backend },
    pid: agent.pid,
  });
  const contenders: Contender[] = [own('btrfs'), own('image')];
  if (peer !== undefined) {
    const socket = socketPath(peer);
    contenders.push({ who: 'peer', socket, pid: await findSocketOwner(socket) });
  }
  const results: ContenderResult[] = [];
  for (const contender of contenders) {
    results.push(await measure(contender, { directory, dataMib, volumes, rounds }));
  }
  return { volumes, rounds, contenders: results };
}

interface Load {
  readonly directory: string;
  readonly dataMib: readonly number[];
  readonly volumes: number;
  readonly rounds: number;
}

async function measure(contender: Contender, load: Load): Promise<ContenderResult> {
  const { who, socket, parameters, pid } = contender;
  const report = (text: string): void => void process.stderr.write(`  ${who}: ${text}\n`);
  const options = { socket, directory: join(load.directory, 'mounts'), ...(parameters && { parameters }) };
  await using target = await CsiTarget.open(options);
  const description = await target.describe();
  const before = pid === undefined ? undefined : await readUsage(pid);
  const times = await oneByOne(target, load.volumes);
  report(`${load.volumes} volumes one after the other`);
  const parallel = await allAtOnce(target, load.volumes);
  report(`${load.volumes} volumes at once`);
  const copies: CopyRow[] = [];
  for (const dataMib of load.dataMib) {
    const row = await copy(target, dataMib, load.rounds);
    copies.push(row);
    report(
      `${dataMib} MiB of data: snapshot ${row.snapshotMs.toFixed(0)} ms, restore ${row.restoreMs.toFixed(0)} ms`,
    );
  }
  const sanity = await runSanity(contender, load.directory);
  report(`csi-sanity: ${sanity.summary}, ${sanity.seconds.toFixed(0)} s`);
  return {
    who,
    description,
    ...times,
    ...parallel,
    copies,
    sanity,
    memory: pid === undefined || before === undefined ? undefined : { before, after: await readUsage(pid) },
  };
}

async function oneByOne(
  target: CsiTarget,
  count: number,
): Promise<{ readonly createMs: readonly number[]; readonly deleteMs: readonly number[] }> {
  const [createMs, deleteMs]: [number[], number[]] = [[], []];
  for (let index = -WARM_UP; index < count; index += 1) {
    const [id, createdMs] = await timed(() => target.createVolume(`bench-${index + WARM_UP}`, SIZE_MIB));
    const [, deletedMs] = await timed(() => target.deleteVolume(id));
    if (index < 0) continue;
    createMs.push(createdMs);
    deleteMs.push(deletedMs);
  }
  return { createMs, deleteMs };
}

async function allAtOnce(
  target: CsiTarget,
  count: number,
): Promise<{ readonly parallelCreateMs: number; readonly parallelDeleteMs: number }> {
  const names = Array.from({ length: count }, (_, index) => `bench-parallel-${index}`);
  const [ids, parallelCreateMs] = await timed(() =>
    Promise.all(names.map((name) => target.createVolume(name, SIZE_MIB))),
  );
  const [, parallelDeleteMs] = await timed(() => Promise.all(ids.map((id) => target.deleteVolume(id))));
  return { parallelCreateMs, parallelDeleteMs };
}

/**
 * Medians of snapshot and restore of a volume with so much data; what was restored is compared
 * once.
 */
async function copy(target: CsiTarget, dataMib: number, rounds: number): Promise<CopyRow> {
  const sizeMib = Math.ceil(dataMib * 1.1) + 64;
  const source = await target.createVolume(`bench-source-${dataMib}`, sizeMib);
  const written = await target.fill(source, dataMib);
  const [snapshots, restores]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    const [snapshot, snapshotMs] = await timed(() =>
      target.createSnapshot(`bench-snapshot-${dataMib}-${round}`, source),
    );
    const [restored, restoreMs] = await timed(() =>
      target.restore(`bench-restored-${dataMib}-${round}`, sizeMib, snapshot),
    );
    snapshots.push(snapshotMs);
    restores.push(restoreMs);
    if (round === 0 && (await target.digest(restored)) !== written) {
      throw new Fault('bug', `a volume restored with ${dataMib} MiB of data holds something else`);
    }
    await target.deleteVolume(restored);
    await target.deleteSnapshot(snapshot);
  }
  await target.deleteVolume(source);
  return { dataMib, snapshotMs: median(snapshots), restoreMs: median(restores) };
}

/**
 * csi-sanity with the same options for everybody. A driver that fails some is measured all the
 * same, and the result says so.
 */
async function runSanity(
  { socket, parameters }: Contender,
  directory: string,
): Promise<ContenderResult['sanity']> {
  const file = join(directory, 'parameters.json');
  await writeFile(file, JSON.stringify(parameters ?? {}));
  const args = [
    `--csi.endpoint=${socket}`,
    `--csi.mountdir=${join(directory, 'sanity-target')}`,
    `--csi.stagingdir=${join(directory, 'sanity-staging')}`,
    `--csi.testvolumesize=${64 * 2 ** 20}`,
    `--csi.testvolumeexpandsize=${128 * 2 ** 20}`,
    `--csi.testvolumeparameters=${file}`,
    '--ginkgo.no-color',
  ];
  const program = await ensureTool('csi-sanity');
  const [{ stdout }, ms] = await timed(() => runCommand(program, args, { timeoutMs: 600_000, accept: [1] }));
  const ran = /Ran (\d+) of (\d+) Specs/.exec(stdout);
  const ended = /(\d+) Passed \| (\d+) Failed/.exec(stdout);
  if (ran === null || ended === null) {
    throw new Fault('unavailable', `csi-sanity printed no result:\n${stdout.slice(-500)}`);
  }
  return { seconds: ms / 1000, summary: `${ran[1]} of ${ran[2]} specs run, ${ended[1]} pass` };
}

async function timed<T>(work: () => Promise<T>): Promise<[T, number]> {
  const startedMs = performance.now();
  const value = await work();
  return [value, performance.now() - startedMs];
}

/** The result as lines for people. */
export function formatStorageBench({ volumes, rounds, contenders }: StorageBenchResult): string {
  const peer = contenders.find(({ who }) => who === 'peer');
  const ms = (value: number): string => value.toFixed(value < 100 ? 1 : 0);
  const rows: { readonly label: string; readonly of: (result: ContenderResult) => number }[] = [
    { label: 'CreateVolume p50 ms', of: ({ createMs }) => median(createMs) },
    { label: 'CreateVolume p99 ms', of: ({ createMs }) => quantile(createMs, 0.99) },
    { label: 'DeleteVolume p50 ms', of: ({ deleteMs }) => median(deleteMs) },
    { label: 'DeleteVolume p99 ms', of: ({ deleteMs }) => quantile(deleteMs, 0.99) },
    { label: `${volumes} created at once, ms`, of: ({ parallelCreateMs }) => parallelCreateMs },
    { label: `${volumes} deleted at once, ms`, of: ({ parallelDeleteMs }) => parallelDeleteMs },
    ...(contenders[0]?.copies ?? []).flatMap(({ dataMib }, index) => [
      {
        label: `snapshot of ${dataMib} MiB, ms`,
        of: (r: ContenderResult) => r.copies[index]?.snapshotMs ?? NaN,
      },
      {
        label: `restore of ${dataMib} MiB, ms`,
        of: (r: ContenderResult) => r.copies[index]?.restoreMs ?? NaN,
      },
    ]),
    { label: 'csi-sanity, s', of: ({ sanity }) => sanity.seconds },
  ];
  const own = contenders.filter((result) => result !== peer);
  const table = textTable([
    ['', ...contenders.map(({ who }) => who), ...(peer ? own.map(({ who }) => `${who}/peer`) : [])],
    ...rows.map(({ label, of }) => [
      label,
      ...contenders.map((result) => ms(of(result))),
      ...(peer ? own.map((result) => ratioText(of(result) / of(peer))) : []),
    ]),
  ]);
  const memory = contenders.map(({ who, memory: usage }) =>
    usage === undefined
      ? `memory of ${who}: its process is not to be seen from here`
      : `memory of ${who}'s process (PSS, RSS in brackets): ${figure(usage.before)} before, ${figure(usage.after)} after`,
  );
  return [
    peer === undefined
      ? 'no peer was given: name the socket of another CSI driver on this machine in PEER_CSI, as unix:///run/driver/csi.sock'
      : `peer: ${peer.description}`,
    `volumes of ${SIZE_MIB} MiB; snapshots and restores: medians of ${rounds}; what was restored was compared with what was written`,
    table,
    ...contenders.map(({ who, sanity }) => `csi-sanity on ${who}: ${sanity.summary}`),
    ...memory,
  ].join('\n');
}

/** Two decimals, or one figure that says something. */
function ratioText(ratio: number): string {
  return `${ratio < 0.01 ? Number(ratio.toPrecision(1)) : ratio.toFixed(2)}x`;
}

function figure({ pssMib, rssMib }: ProcessUsage): string {
  return `${pssMib.toFixed(0)} (${rssMib.toFixed(0)}) MiB`;
}

if (import.meta.main) {
  const { PEER_CSI: peer } = process.env;
  process.stdout.write(`${formatStorageBench(await benchStorage({ peer }))}\n`);
}
