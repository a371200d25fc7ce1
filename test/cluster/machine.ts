import { mkdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { removeCgroup } from '../../node-agent/linux/process/cgroups.ts';
import { isSameProcess, findProcesses, listProcesses, type ProcessEntry } from '../../src/demo/processes.ts';
import { Fault } from '../../src/core/fault.ts';
import {
  type CommandOutput,
  endProcess,
  type ManagedProcess,
  type RunCommandOptions,
  runCommand,
  sendSignal,
  startProcess,
} from '../../src/runtime/child-process.ts';
import { linkSignals } from '../../src/runtime/signals.ts';
import { detachLoopDevices } from './loop-devices.ts';
import { waitFor } from './wait.ts';

export interface MachineOptions {
  readonly name: string;
  /**
   * Holds its disk and logs, and names it among all processes: absolute, and of this machine alone.
   */
  readonly directory: string;
  /** Name of its cgroup at the top of every hierarchy. */
  readonly cgroup: string;
  /** The script of its process 1; default: the one beside this file. */
  readonly init?: string;
}

/** A long-running program of a machine, recognised by how its command line ends. */
export interface Daemon {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

const INIT = join(import.meta.dirname, 'machine-init.sh');
const NAMESPACES = ['--mount', '--uts', '--ipc', '--net', '--pid'] as const;
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/**
 * Who enters namespaces from outside is still in the cgroups of outside; $0 names the machine's.
 */
const JOIN_CGROUP =
  'for group in /sys/fs/cgroup/*/"$0"/system; do echo 0 >"$group/cgroup.procs"; done; exec "$@"';

/**
 * Namespaces that stand for a machine. They live as long as their process 1, and all of the machine
 * dies with it: power off is one SIGKILL. No file says which process that is: its command line
 * names the machine's directory, so that it is found after any crash.
 */
export class Machine {
  readonly name: string;
  readonly directory: string;
  readonly #cgroup: string;
  readonly #script: string;
  #init: ProcessEntry | undefined;
  /** What this object has started last, by the names of daemons. */
  readonly #started = new Map<string, Pick<ManagedProcess, 'running'>>();

  constructor({ name, directory, cgroup, init = INIT }: MachineOptions) {
    this.#script = init;
    this.name = name;
    this.directory = directory;
    this.#cgroup = cgroup;
  }

  /** `/NAME` of the cgroup that its pods go beneath. */
  get cgroupPath(): string {
    return `/${this.#cgroup}`;
  }

  /** Whether it is switched on. */
  async running(): Promise<boolean> {
    return (await this.#findInit()) !== undefined;
  }

  /**
   * Process id of its process 1, as seen from outside. Rejects with `unavailable` when the machine
   * is off.
   */
  async initPid(): Promise<number> {
    const init = await this.#findInit();
    if (init === undefined) throw new Fault('unavailable', `machine ${this.name} is off`);
    return init.pid;
  }

  /** How to reach a file of the machine from outside. */
  async outside(path: string): Promise<string> {
    return `/proc/${await this.initPid()}/root${path}`;
  }

  /** Writes a file of the machine, with the directories above it. */
  async write(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
    const file = await this.outside(path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content, { mode });
  }

  /** Switches it on and waits until it has set itself up. True when it was off before. */
  async boot(signal?: AbortSignal): Promise<boolean> {
    const wasRunning = await this.running();
    if (!wasRunning) await this.#start();
    await waitFor(`machine ${this.name} boots`, () => this.#booted(), { timeoutMs: 60_000, signal });
    return !wasRunning;
  }

  async #start(): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    const init = await startProcess({
      name: `machine ${this.name}`,
      file: 'unshare',
      args: [...NAMESPACES, '--fork', '--', ...this.#initCommand()],
      logFile: join(this.directory, 'machine.log'),
      env: { PATH },
    });
    init.release();
  }

  /** Rejects with the end of its log if process 1 did not survive its own set-up. */
  async #booted(): Promise<true | undefined> {
    const init = await this.#findInit();
    if (init === undefined) {
      const log = await readFile(join(this.directory, 'machine.log'), 'utf8').catch(() => '');
      throw new Fault('unavailable', `its process 1 does not run: ${log.trimEnd().split('\n').at(-1) ?? ''}`);
    }
    await readFile(`/proc/${init.pid}/root/run/booted`);
    return true;
  }

  /** Runs a command to its end in all of the machine's namespaces. */
  async run(file: string, args: readonly string[], options: RunCommandOptions = {}): Promise<CommandOutput> {
    return await runCommand('nsenter', [...(await this.enterCommand()), file, ...args], {
      env: { PATH },
      ...options,
    });
  }

  /** As `run`, in its network alone: with the files and the process ids of the caller. */
  async runInNetwork(args: readonly string[], options: RunCommandOptions = {}): Promise<CommandOutput> {
    const [file = '', ...rest] = args;
    const enter = ['--target', String(await this.initPid()), '--net', '--', file, ...rest];
    return await runCommand('nsenter', enter, options);
  }

  /** Starts the daemon unless it runs. True when it did not. */
  async ensureDaemon(daemon: Daemon): Promise<boolean> {
    if ((await this.findDaemon(daemon)) !== undefined) return false;
    const started = await startProcess({
      name: daemon.name,
      file: 'nsenter',
      args: [
        ...(await this.enterCommand()),
        'sh',
        '-c',
        JOIN_CGROUP,
        this.#cgroup,
        daemon.file,
        ...daemon.args,
      ],
      logFile: this.logFile(daemon),
      env: { PATH, ...daemon.env },
    });
    started.release();
    this.#started.set(daemon.name, started);
    return true;
  }

  logFile({ name }: Pick<Daemon, 'name'>): string {
    return join(this.directory, `${name}.log`);
  }

  /**
   * Resolves with what `check` gives once it gives something; rejects with the end of the daemon's
   * log when that ends before.
   */
  async untilServing<T>(
    daemon: Daemon,
    check: () => Promise<T | undefined>,
    {
      timeoutMs = 120_000,
      signal,
    }: { readonly timeoutMs?: number; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    const ended = new AbortController();
    using waiting = linkSignals(signal, ended.signal);
    let known: ProcessEntry | undefined;
    let misses = 0;
    const checkWhileItRuns = async (): Promise<T | undefined> => {
      // It takes a moment until it has entered the machine, on a busy one seconds: until then, who
      // started it tells whether it has ended.
      known ??= await this.findDaemon(daemon);
      const runs =
        known === undefined
          ? this.#started.get(daemon.name)?.running === true
          : await isSameProcess(known.pid, known.startTicks);
      misses = runs ? 0 : misses + 1;
      if (misses === 5) ended.abort(new Fault('unavailable', `${daemon.name} of ${this.name} has ended`));
      return await check();
    };
    const options = { timeoutMs, signal: waiting.signal, everyMs: 100 };
    try {
      return await waitFor(`${daemon.name} of ${this.name} serves`, checkWhileItRuns, options);
    } catch (error) {
      if (signal?.aborted) throw error;
      const log = await readFile(this.logFile(daemon), 'utf8').catch(() => '');
      const end = log.trimEnd().split('\n').slice(-8).join('\n');
      throw new Fault('unavailable', `${Fault.from(error).message}\n${end}`, { cause: error });
    }
  }

  /** SIGTERM, SIGKILL after `graceMs`; resolves when the daemon has exited. Idempotent. */
  async stopDaemon(daemon: Daemon, graceMs = 5_000): Promise<void> {
    const found = await this.findDaemon(daemon);
    if (found !== undefined) await endProcess(found.pid, { graceMs });
  }

  /** The daemon's process; undefined when it does not run. */
  async findDaemon({ args }: Pick<Daemon, 'args'>): Promise<ProcessEntry | undefined> {
    const init = await this.#findInit();
    if (init === undefined) return undefined;
    const namespace = await pidNamespace(init.pid);
    for (const process of await findProcesses((candidate) => endsWith(candidate, args))) {
      if (namespace !== undefined && (await pidNamespace(process.pid)) === namespace) return process;
    }
    return undefined;
  }

  /** All processes in its process namespace, its pods' too. */
  async processes(): Promise<ProcessEntry[]> {
    const init = await this.#findInit();
    if (init === undefined) return [];
    const namespace = await pidNamespace(init.pid);
    const all = await listProcesses();
    const inside = await Promise.all(all.map(async ({ pid }) => (await pidNamespace(pid)) === namespace));
    return namespace === undefined ? [] : all.filter((_, index) => inside[index]);
  }

  /**
   * Power off, as by the plug: every process dies at once. What its kernel would forget is removed;
   * its disk stays. Idempotent.
   */
  async powerOff(): Promise<void> {
    for (let init = await this.#findInit(); init !== undefined; init = await this.#findInit()) {
      const { pid, startTicks } = init;
      if (await isSameProcess(pid, startTicks)) sendSignal(pid, 'SIGKILL');
      const deleted = async (): Promise<true | undefined> =>
        (await isSameProcess(pid, startTicks)) ? undefined : true;
      await waitFor(`machine ${this.name} goes off`, deleted, { timeoutMs: 60_000, everyMs: 10 });
      this.#init = undefined;
    }
    await removeCgroup(this.#cgroup);
    await detachLoopDevices(join(this.directory, 'disk'));
  }

  /** Arguments of nsenter(1) for all of its namespaces. */
  async enterCommand(): Promise<string[]> {
    return ['--target', String(await this.initPid()), ...NAMESPACES, '--'];
  }

  #initCommand(): string[] {
    return ['/bin/sh', this.#script, this.directory, this.name, this.#cgroup];
  }

  async #findInit(): Promise<ProcessEntry | undefined> {
    const known = this.#init;
    if (known !== undefined && (await isSameProcess(known.pid, known.startTicks))) return known;
    const command = this.#initCommand();
    // Anything may have such a command line for a moment, e.g. a child that is to become another
    // program: only one is process 1.
    const candidates = await findProcesses(
      (args) => args.length === command.length && endsWith(args, command),
    );
    const first = await Promise.all(candidates.map(({ pid }) => isFirstOfNamespace(pid)));
    this.#init = candidates.find((_, index) => first[index]);
    return this.#init;
  }
}

function endsWith(args: readonly string[], end: readonly string[]): boolean {
  return end.length > 0 && end.every((arg, index) => args[args.length - end.length + index] === arg);
}

async function pidNamespace(pid: number): Promise<string | undefined> {
  return await readlink(`/proc/${pid}/ns/pid`).catch(() => undefined);
}

/** NSpid lists a process's number in every namespace from ours inwards (proc(5)). */
async function isFirstOfNamespace(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return /^NSpid:\t\d+(?:\t\d+)*\t1$/m.test(status);
}
