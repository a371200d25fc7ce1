import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type OutputTurn, takeTurns } from './output-turns.ts';
import type { TestSummary } from './summary-reporter.ts';

// Every level that exists, then one line that says what came of them.
const root = new URL('..', import.meta.url).pathname;
/** Of each level the files, where it is not all: what else a whole Kubernetes proves takes longer, and is in `make e2e`. */
const LEVELS: Readonly<Record<string, readonly string[]>> = {
  integration: [],
  conformance: [],
  e2e: ['shipped', 'claims', 'snapshots', 'storage-pools', 'pod-network', 'runtime-policies'].map(
    (name) => `test/e2e/${name}.test.ts`,
  ),
};
/**
 * Lanes run at the same time, the levels of one in turn: most of what they do is waiting, for timers of Kubernetes and its peers. What is
 * in one lane may share what a machine has once, such as the addresses of a reference plugin.
 */
const LANES = [['integration', 'conformance'], ['e2e']] as const;

/** How long the last words of a level may take after its end. */
const AFTER_EXIT_MS = 2_000;

function run(command: string, args: readonly string[]): number {
  return spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status ?? 1;
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

// Whoever makes a mount namespace meanwhile would keep the devices busy that the tests mount: nobody sees them in one of their own.
const mayIsolate = spawnSync('unshare', ['--mount', 'true']).status === 0;
const isolate = mayIsolate ? ['unshare', '--mount', '--propagation', 'slave', '--'] : [];

// Built before any test waits for one: on a new machine kube-apiserver alone takes minutes. Without Go the tests say what they skip.
const TOOLS = [
  ...['csi-sanity', 'cnitool', 'descriptors', 'critest'],
  ...['containerd', 'ctr', 'containerd-shim-runc-v2', 'runc'],
  'helm',
];
const KUBERNETES = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubelet', 'kubectl'];
console.log('== reference tools, built on first use');
run(process.execPath, ['test/tools/build-tool.ts', ...TOOLS]);
const hasKubernetes = run(process.execPath, ['test/tools/build-tool.ts', ...KUBERNETES]) === 0;

rmSync(`${root}build/summary`, { recursive: true, force: true });
const codes: Record<string, number> = { check: run(process.execPath, ['scripts/check.ts']) };
const seconds: Record<string, number> = {};

/** Runs a level to its end. */
async function runLevel(level: string, output: OutputTurn): Promise<void> {
  const startedMs = performance.now();
  output.write(Buffer.from(`\n== ${level}\n`));
  // The machines of a cluster have mount namespaces of their own, and are to be found from outside.
  const prefix = level === 'e2e' ? [] : isolate;
  const [command, ...isolation] = [...prefix, `${root}node_modules/.bin/vitest`];
  const reporters = ['--reporter=verbose', '--reporter=./scripts/summary-reporter.ts'];
  const child = spawn(
    command,
    [...isolation, 'run', '--project', level, ...reporters, ...(LEVELS[level] ?? [])],
    {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        SUMMARY_FILE: `${root}build/summary/${level}.json`,
        ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : {}),
      },
    },
  );
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => output.write(data));
  const said = new Promise((resolve) => child.once('close', resolve));
  codes[level] = await new Promise<number>((resolve) => {
    child.once('error', (error) => {
      output.write(Buffer.from(`${error.message}\n`));
      resolve(127);
    });
    child.once('exit', (code) => resolve(code ?? 1));
  });
  // What a failed test has left running may keep the pipes open.
  await Promise.race([said, sleep(AFTER_EXIT_MS, undefined, { ref: false })]);
  for (const stream of [child.stdout, child.stderr]) stream.destroy();
  seconds[level] = (performance.now() - startedMs) / 1000;
}

console.log(`\n== at the same time: ${LANES.map((levels) => levels.join(', then ')).join('; ')}`);
const outputs = takeTurns(LANES.length, (data) => void process.stdout.write(data));
await Promise.all(
  LANES.map(async (levels, index) => {
    const output = outputs[index];
    if (output === undefined) return;
    for (const level of levels) if (level !== 'e2e' || hasKubernetes) await runLevel(level, output);
    output.end();
  }),
);

const summaries = {
  unit: summaryOf('unit'),
  integration: summaryOf('integration'),
  conformance: summaryOf('conformance'),
  e2e: hasKubernetes
    ? summaryOf('e2e')
    : {
        passed: 0,
        failures: [],
        skipped: [{ name: 'the level e2e', reason: 'Kubernetes could not be built; see above' }],
      },
};
let passed = 0;
let failed = 0;
let skipped = 0;
console.log('');
for (const [level, summary] of Object.entries(summaries)) {
  console.log(
    `${level}: passed ${summary.passed}, failed ${summary.failures.length}, skipped ${summary.skipped.length}${
      seconds[level] === undefined ? '' : ` (${seconds[level].toFixed(0)} s)`
    }`,
  );
  for (const { name, error } of summary.failures) console.log(`  failed: ${name}: ${error}`);
  for (const { name, reason } of summary.skipped) console.log(`  skipped: ${name}: ${reason}`);
  passed += summary.passed;
  failed += summary.failures.length;
  skipped += summary.skipped.length;
}
const broken = Object.entries(codes).filter(([, code]) => code !== 0);
for (const [level, code] of broken) console.log(`${level} ended with exit code ${code}`);
const strict = process.env['CI'] === 'true' && skipped > 0;
if (strict) console.log('in CI nothing may be skipped');
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = broken.length > 0 || failed > 0 || strict ? 1 : 0;
