import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { removeDemo } from '../../../src/demo/demo-directory.ts';
import type { DemoReport } from '../../../src/demo/report.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { containerdFromModules } from '../../real/module-containerd.ts';
import { requireTool } from '../../tools/require-tool.ts';

const KEELSON = new URL('../../../bin/keelson', import.meta.url).pathname;
const GIB = 2 ** 30;
/** The demo's own aim is 10 s; a loaded machine gets more. */
const RUN = 120_000;

let baseDir: string;
beforeEach(async () => {
  baseDir = await mkdtemp('/var/tmp/keelson-dt-');
});
afterEach(async () => {
  for (const name of await readdir(baseDir)) {
    if (name.startsWith('keelson-demo-')) await removeDemo(join(baseDir, name));
  }
  await rm(baseDir, { recursive: true });
});

interface Run {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  output(): string;
  /** Resolves when the output has `text`. */
  saw(text: string): Promise<void>;
  report(): Promise<DemoReport>;
}

function startDemo(...flags: readonly string[]): Run {
  const reportFile = join(baseDir, 'report.json');
  const child = spawn(KEELSON, ['demo', '--base-dir', baseDir, '--report', reportFile, ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const spoke = new EventEmitter();
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      output += chunk;
      spoke.emit('more');
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  void ended.then(() => spoke.emit('more'));
  return {
    child,
    ended,
    output: () => output,
    async saw(text) {
      // At once, not at the next look: a busy machine would be past the moment that a test means.
      while (!output.includes(text) && child.exitCode === null) await once(spoke, 'more');
      expect(output).toContain(text);
    },
    report: async () => JSON.parse(await readFile(reportFile, 'utf8')) as DemoReport,
  };
}

/** Looked for apart from the demo's own check: what still names the directory of this test. */
async function traces(): Promise<string[]> {
  const [mounts, loops, processes, cgroups] = await Promise.all([
    readFile('/proc/self/mountinfo', 'utf8'),
    runCommand('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE']),
    runCommand('ps', ['-eo', 'pid,stat,args', '--no-headers']),
    runCommand('find', ['/sys/fs/cgroup', '-maxdepth', '2', '-name', 'keelson-demo-*']),
  ]);
  const ours = new RegExp(`${baseDir}/keelson-demo-`);
  const demos = (await readdir(baseDir)).filter((name) => name.startsWith('keelson-demo-'));
  return [
    ...[mounts, loops.stdout, processes.stdout].flatMap((text) =>
      text.split('\n').filter((line) => ours.test(line)),
    ),
    ...cgroups.stdout.split('\n').filter((path) => demos.some((name) => path.endsWith(name))),
    ...demos,
  ];
}

function expectEveryEffect(report: DemoReport): void {
  expect(report).toMatchObject({ outcome: 'passed', kept: false, leftovers: { own: [] } });
  expect(report.volumes.map(({ name, sizeBytes }) => [name, sizeBytes])).toEqual([
    ['data', String(GIB)],
    ['data-clone', String(GIB)],
  ]);
  expect(report.volumes[1]?.source).toMatch(/^snapshot /);
  expect(report.pods.map(({ name }) => name)).toEqual(['writer', 'neighbour', 'reader']);
  const addresses = report.pods.map((pod) => pod.addresses[0] ?? '');
  const network = (report.podRange ?? '').replace(/0\/24$/, '');
  expect(new Set(addresses).size).toBe(3);
  expect(addresses.filter((address) => !address.startsWith(network))).toEqual([]);
  expect(report.pings.map(({ from, what }) => `${from} → ${what}`)).toEqual([
    'writer → its gateway',
    'the node → pod writer',
    'writer → pod neighbour',
    'neighbour → pod writer',
  ]);
  expect(report.pings[2]?.to).toBe(addresses[1]);
  expect(report.overfill?.error).toMatch(/^(No space left on device|Disk quota exceeded)$/);
  // A volume that refuses much earlier would not be worth its size.
  expect(report.overfill?.writtenBytes).toBeGreaterThan(0.9 * GIB);
  expect(report.overfill?.writtenBytes).toBeLessThanOrEqual(GIB);
  expect(report.checksums?.readFromClone).toBe(report.checksums?.written);
  expect(report.checksums?.written).toMatch(/^[0-9a-f]{64}$/);
  expect(report.policy).toMatchObject({ before: 'unset', after: 'hello-from-the-policy' });
  expect(report.policy?.denial).toContain('demo-unwanted');
  expect(report.remaining).toEqual({ volumes: 0, snapshots: 0, attachments: 0 });
}

describe('keelson demo', () => {
  test('shows every effect, leaves nothing, and does the same right after', {
    timeout: 2 * RUN,
  }, async () => {
    for (let round = 1; round <= 2; round += 1) {
      const run = startDemo();
      expect(await run.ended, run.output()).toBe(0);
      expectEveryEffect(await run.report());
      expect(run.output()).toContain('no mount, no loop device');
      expect(run.output()).not.toContain('\x1b');
      expect(await traces()).toEqual([]);
    }
  });

  test('works the same on containerd 2.4 with runc 1.5', { timeout: 600_000 }, async (context) => {
    await requireTool(context, 'containerd');
    await using binaries = await containerdFromModules();
    const run = startDemo('--containerd-dir', binaries.binDir);
    expect(await run.ended, run.output()).toBe(0);
    const report = await run.report();
    expectEveryEffect(report);
    expect(report.containerd).toMatch(/^v?2\.4\./);
    expect(await traces()).toEqual([]);
  });

  test.each([
    ['while the node starts', 'network namespace and directories'],
    ['while pods start', 'NodePublishVolume'],
    ['while the volume is filled', 'neighbour pings pod writer'],
    ['after the policy', 'with that label is denied'],
  ])('Ctrl-C %s cleans up', { timeout: RUN }, async (_, seen) => {
    const run = startDemo();
    await run.saw(seen);
    run.child.kill('SIGINT');
    expect(await run.ended, run.output()).toBe(130);
    expect(await run.report()).toMatchObject({ outcome: 'interrupted', leftovers: { own: [] } });
    expect(await traces()).toEqual([]);
  });

  test('Ctrl-C again during the cleaning up changes nothing', { timeout: RUN }, async () => {
    const run = startDemo();
    await run.saw('StartContainer');
    run.child.kill('SIGINT');
    await run.saw('Cleaning up');
    run.child.kill('SIGINT');
    run.child.kill('SIGINT');
    expect(await run.ended, run.output()).toBe(130);
    expect(await traces()).toEqual([]);
  });

  test('a run whose output is no longer read cleans up', { timeout: RUN }, async () => {
    const run = startDemo();
    await run.saw('StartContainer');
    run.child.stdout?.destroy();
    expect(await run.ended).toBe(130);
    expect(await traces()).toEqual([]);
  });

  test('two concurrent runs do not conflict, and the next run removes both after a kill', {
    timeout: 3 * RUN,
  }, async () => {
    const [first, second] = [startDemo(), startDemo()];
    // Each at its own moment: the faster one may be done before the other gets there.
    const killAt = async ({ saw, child, ended }: Run, seen: string): Promise<void> => {
      await saw(seen);
      child.kill('SIGKILL');
      await ended;
    };
    await Promise.all([killAt(first, 'CreateSnapshot'), killAt(second, 'StartContainer')]);
    expect(await traces()).not.toEqual([]);

    const run = startDemo();
    expect(await run.ended, run.output()).toBe(0);
    expect(run.output().match(/remove leftovers of a killed run/g)).toHaveLength(2);
    expect(await traces()).toEqual([]);
  });

  test('--keep leaves the node running for inspection, and --clean removes it', {
    timeout: 2 * RUN,
  }, async () => {
    const run = startDemo('--keep');
    expect(await run.ended, run.output()).toBe(0);
    const { directory = '', pods, kept } = await run.report();
    expect(kept).toBe(true);
    const ping = ['ping', '-c', '1', '-W', '3', pods[0]?.addresses[0] ?? ''];
    const inNode = async (...command: readonly string[]): Promise<string> =>
      (await runCommand(`${directory}/enter`, command)).stdout;
    expect(await inNode('busybox', ...ping)).toContain('1 packets received');
    expect(await inNode(KEELSON, 'status', '--run-dir', `${directory}/run`)).toContain('demo-data-clone');

    await runCommand(KEELSON, ['demo', '--clean', '--base-dir', baseDir]);
    expect(await traces()).toEqual([]);
  });

  test('a machine that lacks a requirement gets a message and is not changed', { timeout: RUN }, async () => {
    const run = startDemo('--containerd-dir', join(baseDir, 'nothing-here'));
    expect(await run.ended).toBe(1);
    expect(run.output()).toContain('nothing was changed');
    expect(run.output()).toMatch(/program \S+\/runc: not found\n {4}why: .+\n {4}do: {2}.+/);
    expect(await traces()).toEqual([]);
  });

  test('a step that fails is named, with the log, and everything is cleaned up', {
    timeout: RUN,
  }, async () => {
    const binDir = join(baseDir, 'bin');
    await mkdir(binDir);
    for (const name of ['containerd', 'ctr', 'containerd-shim-runc-v2']) {
      await symlink(`/usr/bin/${name}`, join(binDir, name));
    }
    await writeFile(join(binDir, 'runc'), '#!/bin/sh\necho the test broke runc >&2\nexit 1\n');
    await chmod(join(binDir, 'runc'), 0o755);
    const run = startDemo('--containerd-dir', binDir);
    expect(await run.ended, run.output()).toBe(1);
    const report = await run.report();
    expect(report).toMatchObject({ outcome: 'failed', leftovers: { own: [] } });
    expect(report.steps.find(({ ok }) => !ok)?.title).toBe('RunPodSandbox');
    expect(run.output()).toContain('Last lines of the log of containerd');
    expect(await traces()).toEqual([]);
  });
});
