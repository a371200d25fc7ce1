import { writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { Fault } from '../core/fault.ts';
import { formatBytes } from '../core/kube-text/quantity.ts';
import { connectRpc } from '../rpc/client.ts';
import { type Clock, systemClock } from '../runtime/clock.ts';
import { describeMissing, evaluatePreflight } from '../preflight/preflight.ts';
import { probeMachine } from '../preflight/preflight-probe.ts';
import { describeLogs, describeNextSteps, HOW_TO_GO_ON } from './advice.ts';
import { cleanUp, type DemoParts } from './clean-up.ts';
import { createDemoDirectory, findDemos, removeDemo, writeDemoRecord } from './demo-directory.ts';
import { readMachine } from './machine-state.ts';
import { formatDuration, Narrator, type Terminal } from './narrator.ts';
import {
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
import { Stage } from './stage.ts';
import { tellStory } from './story.ts';
import { CsiDriver } from './volumes.ts';

interface DemoOptions extends DemoPaths {
  /** Where the directory of the run is made, e.g. /var/tmp. */
  readonly baseDir: string;
  /** The machine's PATH. */
  readonly path: string;
  /** Leaves the node running at the end, and says how to look around. */
  readonly keep: boolean;
  /** Gets the report as JSON. */
  readonly reportFile?: string | undefined;
}

interface DemoDeps {
  readonly terminal: Terminal;
  /** Ends the story where it is; the cleaning up follows all the same. */
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

/**
 * Shows the whole product on a node of its own: starts it, runs pods on it, takes it down again, and looks whether anything is left.
 * Resolves with what happened, also when it failed; rejects for a bug alone.
 */
export async function runDemo(options: DemoOptions, deps: DemoDeps): Promise<DemoReport> {
  const { terminal, signal, clock = systemClock } = deps;
  const startedMs = clock.monotonicMs();
  const narrator = new Narrator({ terminal, monotonicMs: () => clock.monotonicMs() });
  const findings: DemoFindings = { volumes: [], pods: [], pings: [] };
  const finish = async (outcome: DemoOutcome, rest: Partial<DemoReport> = {}): Promise<DemoReport> => {
    const durationMs = Math.round(clock.monotonicMs() - startedMs);
    const report = { ...findings, kept: false, ...rest, outcome, durationMs, steps: narrator.steps };
    if (options.reportFile !== undefined) {
      await writeFile(options.reportFile, `${JSON.stringify(report, undefined, 2)}\n`);
    }
    narrator.text(`\n${closingLine(report, narrator)}\n`);
    return report;
  };

  let missing: string;
  try {
    missing = await checkMachine(options, narrator, signal);
  } catch (error) {
    if (signal.aborted) return await finish('interrupted');
    return await finish('failed', { failure: Fault.from(error).message });
  }
  if (missing !== '') {
    narrator.text(`\nThis machine lacks what the demo needs; nothing was touched.\n\n${missing}`);
    return await finish('refused', { failure: missing });
  }

  await removeStale(options.baseDir, narrator);
  const before = await readMachine();
  const directory = await createDemoDirectory(options.baseDir);
  const name = basename(directory);
  const podRange = await freePodRange(options.baseDir, before, name);
  await writeDemoRecord(directory, { kept: options.keep, podRange });
  const layout = nodeLayout(directory);
  const parts: DemoParts = { node: new AsyncDisposableStack(), made: new AsyncDisposableStack(), letGo: [] };

  const failure = await play({ ...options, layout, name, podRange, signal }, parts, narrator, findings).then(
    () => undefined,
    (error: unknown) => Fault.from(error),
  );
  const outcome: DemoOutcome = signal.aborted ? 'interrupted' : failure === undefined ? 'passed' : 'failed';
  if (outcome === 'failed' && failure !== undefined) {
    narrator.text(
      `\n${narrator.style('red', 'It failed')}: ${failure.message}\n${await describeLogs(layout, failure.message)}`,
    );
  }
  if (outcome === 'passed') narrator.text(renderFindings(findings, narrator.steps));
  const story = { failure: failure?.message, directory, podRange };

  if (options.keep && outcome !== 'interrupted') {
    for (const letGo of parts.letGo) letGo();
    narrator.text(describeNextSteps(layout, findings, options.keelson));
    return await finish(outcome, { ...story, kept: true });
  }
  const cleaning = await cleanUp({ layout, name, podRange, before, orderly: outcome === 'passed' }, parts, {
    narrator,
    findings,
  });
  if (outcome === 'passed' && cleaning.failure === undefined) narrator.text(HOW_TO_GO_ON);
  return await finish(cleaning.failure === undefined ? outcome : 'failed', {
    ...story,
    failure: story.failure ?? cleaning.failure,
    leftovers: cleaning.leftovers,
  });
}

/** Removes every run under `baseDir` that was kept, or that was killed. Resolves with how many. */
export async function removeAllDemos(baseDir: string, terminal: Terminal): Promise<number> {
  const narrator = new Narrator({ terminal, monotonicMs: () => systemClock.monotonicMs() });
  const demos = (await findDemos(baseDir)).filter(({ state }) => state !== 'running');
  for (const { directory, state } of demos) {
    await narrator.step(
      `${state} demo removed`,
      () => removeDemo(directory),
      () => directory,
    );
  }
  return demos.length;
}

async function checkMachine(options: DemoOptions, narrator: Narrator, signal: AbortSignal): Promise<string> {
  const requirements = demoRequirements(options);
  return await narrator.step(
    'this machine is checked',
    async () => {
      const facts = await probeMachine(requirements, {
        dataDir: options.baseDir,
        path: options.path,
        signal,
      });
      return describeMissing(evaluatePreflight(facts, requirements));
    },
    (missing) => (missing === '' ? 'it has what is needed' : 'something is missing'),
  );
}

async function removeStale(baseDir: string, narrator: Narrator): Promise<void> {
  for (const { directory, state } of await findDemos(baseDir)) {
    if (state !== 'stale') continue;
    await narrator.step(
      'what a killed run left is removed',
      () => removeDemo(directory),
      () => directory,
    );
  }
}

async function freePodRange(
  baseDir: string,
  machine: Awaited<ReturnType<typeof readMachine>>,
  name: string,
): Promise<string> {
  const routes = machine
    .filter(({ kind }) => kind === 'route')
    .map(({ trace }) => /^(?:\w+ )?([\da-f.:]+(?:\/\d+)?) /.exec(trace)?.[1] ?? '');
  const others = (await findDemos(baseDir)).map(({ podRange }) => podRange ?? '');
  const seed = Buffer.from(name).reduce((sum, byte) => (sum * 31 + byte) % 4096, 0);
  return choosePodRange([...routes, ...others], seed);
}

/** The chapters, from the first process to the last policy. */
async function play(
  node: NodeOptions,
  { node: processes, made, letGo }: DemoParts,
  narrator: Narrator,
  findings: DemoFindings,
): Promise<void> {
  const { layout, signal } = node;
  narrator.heading(`A node of its own in ${layout.directory}`);
  await narrator.step(
    'network namespace and directories',
    () => prepareNode(node),
    () => `pods get addresses of ${node.podRange}`,
  );
  const [agent, containerd] = await Promise.allSettled([
    narrator.step('keelson agent: a btrfs pool in a sparse file', () => startAgent(node)),
    narrator.step(
      'containerd with images made of busybox',
      () => startRuntime(node),
      ({ version, socketPath }) => `${version} at ${socketPath}`,
    ),
  ]);
  // Both were waited for even if one failed. The daemon needs the agent for the pods that it takes down: it is ended first.
  if (agent.status === 'fulfilled') processes.use(agent.value);
  if (containerd.status === 'fulfilled') processes.use(containerd.value);
  if (agent.status === 'rejected') throw agent.reason as Error;
  if (containerd.status === 'rejected') throw containerd.reason as Error;
  const runtime = containerd.value;
  findings.containerd = runtime.version;
  const proxy = await narrator.step(
    'keelson cri-proxy before containerd',
    () => startCriProxy(node, runtime.socketPath),
    () => layout.criSocket,
  );
  processes.use(proxy);
  for (const part of [agent.value, runtime.process, proxy]) letGo.push(() => part.release());

  const csiClient = processes.use(connectRpc(layout.csiSocket));
  const criClient = processes.use(connectRpc(layout.criSocket));
  letGo.push(
    () => csiClient[Symbol.dispose](),
    () => criClient[Symbol.dispose](),
  );
  const csi = new CsiDriver(csiClient);
  findings.csiDriver = await narrator.step(
    'CSI answers',
    async () => {
      const call = { signal, timeoutMs: 10_000 };
      const available = await csi.availableBytes(call);
      return `${await csi.pluginInfo(call)}, ${formatBytes(available)} available`;
    },
    (driver) => driver,
  );
  await tellStory(
    new Stage(
      { layout, name: node.name, signal },
      { narrator, csi, pods: new PodRuntime(criClient), findings, made },
    ),
  );
  for (const part of [agent.value, runtime.process, proxy]) {
    if (!part.running) await part.failed(signal);
  }
}

function closingLine(report: DemoReport, narrator: Narrator): string {
  const took = formatDuration(report.durationMs);
  switch (report.outcome) {
    case 'passed':
      return narrator.style('green', `Everything worked, in ${took}.`);
    case 'failed':
      return narrator.style(
        'red',
        `The demo failed at '${failedStep(report)}' after ${took}: ${(report.failure ?? '').split('\n')[0] ?? ''}`,
      );
    case 'interrupted':
      return `Interrupted after ${took}.`;
    case 'refused':
      return 'Mend this, then run the demo again.';
  }
}

function failedStep({ steps }: DemoReport): string {
  return steps.find(({ ok }) => !ok)?.title ?? 'its end';
}
