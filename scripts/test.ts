/**
 * Runs whole suites of tests: `node scripts/test.ts test`, `e2e`, or both. Ends with the counts and
 * the time of each level, and one line with the totals. With CI=true a skipped test fails the run.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureKeelsonImage } from '../test/cluster/shipped.ts';
import { type OutputTurn, takeTurns } from './output-turns.ts';
import type { TestSummary } from './summary-reporter.ts';

const root = new URL('..', import.meta.url).pathname;

interface Suite {
  /** Reference tools, built from their Go modules on first use. */
  readonly tools: readonly string[];
  /**
   * Lanes run at the same time, the levels of a lane in turn: lanes share no kernel state, and most
   * of their time is waiting.
   */
  readonly lanes: readonly (readonly string[])[];
  /** Levels that do not need the tools, so that they run while those are built. */
  readonly early: ReadonlySet<string>;
  /**
   * Whether the image is built while levels run; a test that needs it waits for the build's lock.
   */
  readonly image: boolean;
}

const SUITES: Readonly<Record<string, Suite>> = {
  test: {
    tools: [
      ...['csi-sanity', 'cnitool', 'descriptors', 'critest', 'helm'],
      ...['containerd', 'ctr', 'containerd-shim-runc-v2', 'runc'],
    ],
    lanes: [['storage'], ['integration', 'conformance']],
    early: new Set(['storage']),
    image: false,
  },
  e2e: {
    tools: [
      ...['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubelet', 'kubectl'],
      ...['csi-snapshot-metadata', 'changed-blocks', 'containerd', 'ctr', 'containerd-shim-runc-v2', 'runc'],
    ],
    lanes: [['apiserver', 'e2e']],
    early: new Set(),
    image: true,
  },
};

/** How long the output of a level may continue after its exit. */
const AFTER_EXIT_MS = 2_000;

// A new mount namespace of another process keeps devices busy that tests mount: levels that mount
// have a namespace of their own. The machines of a cluster must be visible from outside.
const mayIsolate = spawnSync('unshare', ['--mount', 'true']).status === 0;
const isolate = mayIsolate ? ['unshare', '--mount', '--propagation', 'slave', '--'] : [];
const VISIBLE = new Set(['e2e', 'apiserver']);

const codes: Record<string, number> = {};
const seconds: Record<string, number> = {};

async function timed(name: string, work: () => Promise<number>): Promise<void> {
  const startedMs = performance.now();
  codes[name] = await work();
  seconds[name] = (performance.now() - startedMs) / 1000;
}

/** Runs a program to its exit; resolves to its code. */
async function run(
  [command = '', ...args]: readonly string[],
  env: NodeJS.ProcessEnv,
  output: Pick<OutputTurn, 'write'>,
): Promise<number> {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], env });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => output.write(data));
  const closed = new Promise((resolve) => child.once('close', resolve));
  const code = await new Promise<number>((resolve) => {
    child.once('error', (error) => {
      output.write(Buffer.from(`${error.message}\n`));
      resolve(127);
    });
    child.once('exit', (exitCode) => resolve(exitCode ?? 1));
  });
  // Processes that a failed test left running may keep the pipes open.
  await Promise.race([closed, sleep(AFTER_EXIT_MS, undefined, { ref: false })]);
  for (const stream of [child.stdout, child.stderr]) stream.destroy();
  return code;
}

async function runLevel(level: string, output: OutputTurn): Promise<void> {
  output.write(Buffer.from(`\n== ${level}\n`));
  const prefix = VISIBLE.has(level) ? [] : isolate;
  const reporters = ['--reporter=verbose', '--reporter=./scripts/summary-reporter.ts'];
  const command = [...prefix, `${root}node_modules/.bin/vitest`, 'run', '--project', level, ...reporters];
  const env = {
    ...process.env,
    SUMMARY_FILE: `${root}build/summary/${level}.json`,
    ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : {}),
  };
  await timed(level, () => run(command, env, output));
}

function summaryOf(level: string): TestSummary {
  const file = `${root}build/summary/${level}.json`;
  return existsSync(file)
    ? (JSON.parse(readFileSync(file, 'utf8')) as TestSummary)
    : {
        passed: 0,
        failures: [{ name: `the level ${level}`, error: 'ended without a summary' }],
        skipped: [],
      };
}

function report(levels: readonly string[]): void {
  const total = { passed: 0, failed: 0, skipped: 0 };
  console.log('');
  for (const level of levels) {
    const { passed, failures, skipped } = summaryOf(level);
    const time = seconds[level] === undefined ? '' : ` (${seconds[level].toFixed(0)} s)`;
    console.log(`${level}: passed ${passed}, failed ${failures.length}, skipped ${skipped.length}${time}`);
    for (const { name, error } of failures) console.log(`  failed: ${name}: ${error}`);
    for (const { name, reason } of skipped) console.log(`  skipped: ${name}: ${reason}`);
    total.passed += passed;
    total.failed += failures.length;
    total.skipped += skipped.length;
  }
  // Without Go, tests of the suite `test` skip what needs a tool; a cluster cannot do without.
  const broken = Object.entries(codes).filter(([name, code]) => code !== 0 && !/^tools of test$/.test(name));
  for (const [name, code] of broken) console.log(`${name} ended with exit code ${code}`);
  const strict = process.env['CI'] === 'true' && total.skipped > 0;
  if (strict) console.log('in CI no test may be skipped');
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  process.exitCode = broken.length > 0 || total.failed > 0 || strict ? 1 : 0;
}

const names = process.argv.slice(2);
const suites = names.flatMap((name) => SUITES[name] ?? []);
if (names.length === 0 || suites.length < names.length) {
  console.error(`usage: node scripts/test.ts SUITE...; suites: ${Object.keys(SUITES).join(', ')}`);
  process.exit(2);
}
rmSync(`${root}build/summary`, { recursive: true, force: true });

async function buildImage(): Promise<number> {
  try {
    await ensureKeelsonImage();
    return 0;
  } catch (error) {
    console.error(error);
    return 1;
  }
}

/** Runs one suite: its tools are built while levels run that need none. */
async function runSuite(name: string, { tools, lanes, early, image }: Suite): Promise<void> {
  console.log(`\n== reference tools of ${name}, built on first use: ${tools.join(' ')}`);
  const stderr = { write: (data: Uint8Array): void => void process.stderr.write(data) };
  const toolsBuilt = timed(`tools of ${name}`, () =>
    run([process.execPath, 'test/tools/build-tool.ts', ...tools], process.env, stderr),
  );
  const stdout = { write: (data: Uint8Array): void => void process.stdout.write(data) };
  const imageBuilt = image ? timed('image', buildImage) : undefined;
  if (name === 'test')
    await timed('check', () => run([process.execPath, 'scripts/check.ts'], process.env, stdout));
  console.log(`\n== at the same time: ${lanes.map((levels) => levels.join(', then ')).join('; ')}`);
  const outputs = takeTurns(lanes.length, (data) => void process.stdout.write(data));
  await Promise.all(
    lanes.map(async (levels, index) => {
      const output = outputs[index];
      if (output === undefined) return;
      for (const level of levels) {
        if (!early.has(level)) await toolsBuilt;
        await runLevel(level, output);
      }
      output.end();
    }),
  );
  await toolsBuilt;
  await imageBuilt;
}

for (const [index, suite] of suites.entries()) await runSuite(names[index] ?? '', suite);
const levels = suites.flatMap(({ lanes }) => lanes.flat());
report(names.includes('test') ? ['unit', ...levels] : levels);
