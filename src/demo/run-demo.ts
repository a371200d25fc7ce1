import { writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { Fault } from '../core/fault.ts';
import { formatBytes } from '../core/kube-text/quantity.ts';
import { connectRpc } from '../rpc/client.ts';
import type { ManagedProcess } from '../runtime/child-process.ts';
import { type Clock, systemClock } from '../runtime/clock.ts';
import { describeMissing, evaluatePreflight } from '../preflight/preflight.ts';
import { probeMachine } from '../preflight/preflight-probe.ts';
import { describeLogs, describeNextSteps, HOW_TO_GO_ON } from './advice.ts';
import { cleanUp, type DemoParts } from './clean-up.ts';
import { createDemoDirectory, findDemos, removeDemo, writeDemoRecord } from './demo-directory.ts';
import { readMachine, type Resource } from './machine-state.ts';
import { formatDuration, ProgressReporter, type Terminal } from './progress-reporter.ts';
import {
  type NodeLayout,
  nodeLayout,
  type NodeOptions,
  prepareNode,
  startAgent,
  startCriProxy,
  startRuntime,
} from './node.ts';
import { choosePodRange } from './pod-range.ts';
import { PodRuntime } from './pods.ts';
import { type DemoFindings, type DemoOutcome, type DemoReport, renderFindings } from './report.ts';
import { type DemoPaths, demoRequirements } from './requirements.ts';
import { DemoSession } from './session.ts';
import { runScenario } from './scenario.ts';
import { CsiDriver } from './volumes.ts';

interface DemoOptions extends DemoPaths {
  /** Parent of the directory of the run, e.g. /var/tmp. */
  readonly baseDir: string;
  /** Value of PATH. */
  readonly path: string;
  /** Keep the node running and print commands to inspect it. */
  readonly keep: boolean;
  /** File for the report as JSON. */
  readonly reportFile?: string | undefined;
}

interface DemoDeps {
  readonly terminal: Terminal;
  /** Stops the scenario; the clean-up follows. */
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

/**
 * Runs the demo: starts a temporary node, runs pods on it, removes it and checks for leftovers.
 * Resolves to the report, also of a failed run; rejects for a bug only.
 */
export async function runDemo(options: DemoOptions, deps: DemoDeps): Promise<DemoReport> {
  const { terminal, signal, clock = systemClock } = deps;
  const startedMs = clock.monotonicMs();
  const progress = new ProgressReporter({ terminal, monotonicMs: () => clock.monotonicMs() });
  const findings: DemoFindings = { volumes: [], pods: [], pings: [] };
  const finish = async (outcome: DemoOutcome, rest: Partial<DemoReport> = {}): Promise<DemoReport> => {
    const durationMs = Math.round(clock.monotonicMs() - startedMs);
    const report = { ...findings, kept: false, ...rest, outcome, durationMs, steps: progress.steps };
    await writeReport(report, options.reportFile);
    progress.text(`\n${closingLine(report, progress)}\n`);
    return report;
  };

  let missing: string;
  try {
    missing = await checkMachine(options, progress, signal);
  } catch (error) {
    if (signal.aborted) return await finish('interrupted');
    return await finish('failed', { failure: Fault.from(error).message });
  }
  if (missing !== '') {
    progress.text(`\nThis machine does not meet the requirements; nothing was changed.\n\n${missing}`);
    return await finish('refused', { failure: missing });
  }

  await removeStale(options.baseDir, progress);
  const before = await readMachine();
  const { directory, name, podRange } = await createRun(options, before);
  const layout = nodeLayout(directory);
  const parts: DemoParts = {
    node: new AsyncDisposableStack(),
    resources: new AsyncDisposableStack(),
    detach: [],
  };

  const failure = await play({ ...options, layout, name, podRange, signal }, parts, progress, findings).then(
    () => undefined,
    (error: unknown) => Fault.from(error),
  );
  const outcome: DemoOutcome = signal.aborted ? 'interrupted' : failure === undefined ? 'passed' : 'failed';
  if (outcome === 'failed' && failure !== undefined) await printFailure(failure, layout, progress);
  if (outcome === 'passed') progress.text(renderFindings(findings, progress.steps));
  const facts = { failure: failure?.message, directory, podRange };

  if (options.keep && outcome !== 'interrupted') {
    for (const detach of parts.detach) detach();
    progress.text(describeNextSteps(layout, findings, options.keelson));
    return await finish(outcome, { ...facts, kept: true });
  }
  const cleaning = await cleanUp({ layout, name, podRange, before, orderly: outcome === 'passed' }, parts, {
    progress,
    findings,
  });
  if (outcome === 'passed' && cleaning.failure === undefined) progress.text(HOW_TO_GO_ON);
  return await finish(cleaning.failure === undefined ? outcome : 'failed', {
    ...facts,
    failure: facts.failure ?? cleaning.failure,
    leftovers: cleaning.leftovers,
  });
}

async function createRun(
  { baseDir, keep }: DemoOptions,
  before: readonly Resource[],
): Promise<{ readonly directory: string; readonly name: string; readonly podRange: string }> {
  const directory = await createDemoDirectory(baseDir);
  const name = basename(directory);
  const podRange = await freePodRange(baseDir, before, name);
  await writeDemoRecord(directory, { kept: keep, podRange });
  return { directory, name, podRange };
}

async function writeReport(report: DemoReport, file: string | undefined): Promise<void> {
  if (file !== undefined) await writeFile(file, `${JSON.stringify(report, undefined, 2)}\n`);
}

async function printFailure(
  { message }: Fault,
  layout: NodeLayout,
  progress: ProgressReporter,
): Promise<void> {
  const logs = await describeLogs(layout, message);
  progress.text(`\n${progress.style('red', 'Failed')}: ${message}\n${logs}`);
}

/** Removes all kept and killed runs under `baseDir`; resolves to their number. */
export async function removeAllDemos(baseDir: string, terminal: Terminal): Promise<number> {
  const progress = new ProgressReporter({ terminal, monotonicMs: () => systemClock.monotonicMs() });
  const demos = (await findDemos(baseDir)).filter(({ state }) => state !== 'running');
  for (const { directory, state } of demos) {
    await progress.step(
      `remove ${state} demo`,
      () => removeDemo(directory),
      () => directory,
    );
  }
  return demos.length;
}

async function checkMachine(
  options: DemoOptions,
  progress: ProgressReporter,
  signal: AbortSignal,
): Promise<string> {
  const requirements = demoRequirements(options);
  return await progress.step(
    'check this machine',
    async () => {
      const facts = await probeMachine(requirements, {
        dataDir: options.baseDir,
        path: options.path,
        signal,
      });
      return describeMissing(evaluatePreflight(facts, requirements));
    },
    (missing) => (missing === '' ? 'requirements met' : 'requirements not met'),
  );
}

async function removeStale(baseDir: string, progress: ProgressReporter): Promise<void> {
  for (const { directory, state } of await findDemos(baseDir)) {
    if (state !== 'stale') continue;
    await progress.step(
      'remove leftovers of a killed run',
      () => removeDemo(directory),
      () => directory,
    );
  }
}

async function freePodRange(baseDir: string, machine: readonly Resource[], name: string): Promise<string> {
  const routes = machine
    .filter(({ kind }) => kind === 'route')
    .map(({ trace }) => /^(?:\w+ )?([\da-f.:]+(?:\/\d+)?) /.exec(trace)?.[1] ?? '');
  const others = (await findDemos(baseDir)).map(({ podRange }) => podRange ?? '');
  const seed = Buffer.from(name).reduce((sum, byte) => (sum * 31 + byte) % 4096, 0);
  return choosePodRange([...routes, ...others], seed);
}

/** Starts the node and runs the scenario. */
async function play(
  node: NodeOptions,
  parts: DemoParts,
  progress: ProgressReporter,
  findings: DemoFindings,
): Promise<void> {
  const { layout, signal } = node;
  const { node: processes, resources, detach } = parts;
  progress.heading(`A temporary node in ${layout.directory}`);
  await progress.step(
    'network namespace and directories',
    () => prepareNode(node),
    () => `pod range ${node.podRange}`,
  );
  const started = await startProcesses(node, parts, progress, findings);
  const csiClient = processes.use(connectRpc(layout.csiSocket));
  const criClient = processes.use(connectRpc(layout.criSocket));
  detach.push(
    () => csiClient[Symbol.dispose](),
    () => criClient[Symbol.dispose](),
  );
  const csi = new CsiDriver(csiClient);
  findings.csiDriver = await progress.step(
    'CSI driver',
    async () => {
      const call = { signal, timeoutMs: 10_000 };
      const available = await csi.availableBytes(call);
      return `${await csi.pluginInfo(call)}, ${formatBytes(available)} available`;
    },
    (driver) => driver,
  );
  await runScenario(
    new DemoSession(
      { layout, name: node.name, signal },
      { progress, csi, pods: new PodRuntime(criClient), findings, resources },
    ),
  );
  for (const part of started) if (!part.running) await part.failed(signal);
}

/** Starts the agent and containerd concurrently, then the proxy. */
async function startProcesses(
  node: NodeOptions,
  { node: processes, detach }: DemoParts,
  progress: ProgressReporter,
  findings: DemoFindings,
): Promise<readonly ManagedProcess[]> {
  const [agent, containerd] = await Promise.allSettled([
    progress.step('keelson agent with a btrfs pool in a sparse file', () => startAgent(node)),
    progress.step(
      'containerd with busybox images',
      () => startRuntime(node),
      ({ version, socketPath }) => `${version} at ${socketPath}`,
    ),
  ]);
  // Both have settled. containerd needs the agent to remove pods, so it is disposed first.
  if (agent.status === 'fulfilled') processes.use(agent.value);
  if (containerd.status === 'fulfilled') processes.use(containerd.value);
  if (agent.status === 'rejected') throw agent.reason as Error;
  if (containerd.status === 'rejected') throw containerd.reason as Error;
  const runtime = containerd.value;
  findings.containerd = runtime.version;
  const proxy = await progress.step(
    'keelson cri-proxy for containerd',
    () => startCriProxy(node, runtime.socketPath),
    () => node.layout.criSocket,
  );
  processes.use(proxy);
  const started = [agent.value, runtime.process, proxy];
  for (const part of started) detach.push(() => part.release());
  return started;
}

function closingLine(report: DemoReport, progress: ProgressReporter): string {
  const took = formatDuration(report.durationMs);
  switch (report.outcome) {
    case 'passed':
      return progress.style('green', `The demo passed in ${took}.`);
    case 'failed':
      return progress.style(
        'red',
        `The demo failed in step '${failedStep(report)}' after ${took}: ${(report.failure ?? '').split('\n')[0] ?? ''}`,
      );
    case 'interrupted':
      return `Interrupted after ${took}.`;
    case 'refused':
      return 'Install what is missing, then run the demo again.';
  }
}

function failedStep({ steps }: DemoReport): string {
  return steps.find(({ ok }) => !ok)?.title ?? 'clean-up';
}
