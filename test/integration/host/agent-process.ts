import { constants } from 'node:fs';
import { access, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { Fault } from '../../../src/core/fault.ts';
import {
  type ManagedProcess,
  runCommand,
  sendSignal,
  startProcess,
} from '../../../src/runtime/child-process.ts';
import { sleep } from '../../../src/runtime/clock.ts';
import type { Skippable } from '../../tools/require-tool.ts';

const ROOT = join(import.meta.dirname, '../../..');
export const KEELSON = join(ROOT, 'bin/keelson');
/** An emulated machine takes longer. */
const READY_WITHIN_MS = Number(process.env['KEELSON_READY_WITHIN_MS'] ?? 120_000);
/** What has been killed takes a moment to go. */
const GONE_WITHIN_MS = 30_000;

export interface AgentProcessOptions {
  /** Shows in paths and names of this agent, e.g. `csi-sanity`. */
  readonly name: string;
  /** Goes into its configuration file, over what tests have in common. */
  readonly config?: Readonly<Record<string, unknown>>;
  /**
   * Pools, where a test wants others than the embedded default: given the agent's own directory.
   */
  readonly pools?: (directory: string) => readonly object[];
}

/**
 * A real agent in a network namespace that stands for its node; its mount namespace is the test's.
 * Disposing it stops it, fails when a process of it is left, and removes what it has on this
 * machine.
 */
export interface AgentProcess extends AsyncDisposable {
  /** Everything of this agent is below it, including what a test wants to be deleted with it. */
  readonly directory: string;
  readonly configFile: string;
  readonly nodeName: string;
  /** The node's network namespace, by the name that `ip netns` knows. */
  readonly netns: string;
  readonly csiSocket: string;
  readonly cniSocket: string;
  readonly pid: number;
  /** All that it has logged. */
  readLog(): Promise<string>;
  /**
   * SIGTERM, SIGKILL when that takes too long; what it has on the machine stays for a `start` to
   * find.
   */
  stop(): Promise<void>;
  /** Starts it again after `stop`, on the same directories. */
  start(): Promise<void>;
}

/** A machine that cannot run an agent skips the test and says why; in CI that is a failure. */
export async function requireAgent(context: Skippable): Promise<void> {
  const reasons = [
    process.getuid?.() === 0 ? undefined : 'the agent needs root',
    (await exists(join(ROOT, 'dist/keelson.mjs')))
      ? undefined
      : 'dist/keelson.mjs is missing: run `make build`',
  ].filter((reason) => reason !== undefined);
  if (reasons.length === 0) return;
  if (process.env['CI'] === 'true') throw new Fault('precondition', reasons.join('; '));
  context.skip(reasons.join('; '));
}

/**
 * Starts `bin/keelson agent` on directories of its own; resolves when its sockets are there,
 * rejects with the end of its log.
 */
export async function startAgent({ name, config = {}, pools }: AgentProcessOptions): Promise<AgentProcess> {
  await using undo = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), `keelson-${name}-`));
  undo.defer(() => removeLeftovers(directory));
  const paths = {
    configFile: join(directory, 'agent.yaml'),
    logFile: join(directory, 'agent.log'),
    runDir: join(directory, 'run'),
    stateDir: join(directory, 'state'),
  };
  const nodeName = `node-${name}`;
  const netns = `keelson-${name}-${process.pid}`;
  await runCommand('ip', ['netns', 'add', netns]);
  undo.defer(async () => {
    await runCommand('ip', ['netns', 'delete', netns]);
  });
  await mkdir(paths.runDir);
  await mkdir(paths.stateDir);
  const { stateDir, runDir } = paths;
  const common = { nodeName, stateDir, runDir, metrics: { address: 'off' }, log: { level: 'trace' } };
  await writeFile(
    paths.configFile,
    stringify({ ...common, ...(pools && { pools: pools(directory) }), ...config }),
  );
  const sockets = { csiSocket: join(paths.runDir, 'csi.sock'), cniSocket: join(paths.runDir, 'cni.sock') };

  const launch = async (): Promise<ManagedProcess> => {
    const file = 'nsenter';
    const args = [`--net=/run/netns/${netns}`, KEELSON, 'agent', '--config', paths.configFile];
    const started = await startProcess({ name: `agent ${name}`, file, args, logFile: paths.logFile });
    try {
      await untilReady(started, Object.values(sockets));
    } catch (error) {
      await started.stop();
      throw error;
    }
    return started;
  };

  let running = await launch();
  undo.defer(async () => {
    await running.stop();
    await checkExited(running);
  });
  const owned = undo.move();
  return {
    directory,
    configFile: paths.configFile,
    nodeName,
    netns,
    ...sockets,
    get pid() {
      return running.pid;
    },
    readLog: () => readFile(paths.logFile, 'utf8'),
    async stop() {
      await running.stop();
      await checkExited(running);
    },
    async start() {
      running = await launch();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function untilReady(agent: ManagedProcess, sockets: readonly string[]): Promise<void> {
  const over = new AbortController();
  const failed = agent.failed(over.signal);
  try {
    const deadlineMs = performance.now() + READY_WITHIN_MS;
    for (let missing: string[] = [...sockets]; missing.length > 0; ) {
      await Promise.race([sleep(20), failed]);
      const there = await Promise.all(missing.map(exists));
      missing = missing.filter((_, index) => there[index] !== true);
      if (missing.length > 0 && performance.now() > deadlineMs) {
        throw new Fault(
          'timeout',
          `${agent.name} made no ${missing.join(', ')} in ${READY_WITHIN_MS} ms:\n${await agent.tail(12)}`,
        );
      }
    }
  } finally {
    failed.catch(() => undefined);
    over.abort();
  }
}

/** The process and all of its group: a worker or a tool that outlives its agent is a leak. */
async function checkExited(agent: ManagedProcess): Promise<void> {
  const deadlineMs = performance.now() + GONE_WITHIN_MS;
  while (sendSignal(-agent.pid, 0)) {
    if (performance.now() > deadlineMs) {
      sendSignal(-agent.pid, 'SIGKILL');
      throw new Fault('bug', `${agent.name} has left processes in group ${agent.pid}`);
    }
    await sleep(20);
  }
}

/** Mounts and loop devices outlive an agent by design, so that pods do not notice its restart. */
async function removeLeftovers(directory: string): Promise<void> {
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith(`${directory}/`));
  for (const path of mounts.reverse()) await runCommand('umount', ['--lazy', path]);
  for (const device of await readdir('/sys/block')) {
    const backing = await readFile(`/sys/block/${device}/loop/backing_file`, 'utf8').catch(() => '');
    if (backing.startsWith(`${directory}/`)) await runCommand('losetup', ['--detach', `/dev/${device}`]);
  }
  await rm(directory, { recursive: true, force: true });
}

async function exists(path: string): Promise<boolean> {
  return await access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}
