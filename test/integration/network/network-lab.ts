import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compileShim } from '../../../scripts/compile-shim.ts';
import { sleep } from '../../../src/runtime/clock.ts';
import type { Attachment } from '../../../src/core/network/attachment.ts';
import { cniConfig } from '../../../src/core/cni/cni-config.ts';
import type { AgentCommand, AgentSettings } from './network-agent.ts';

/** What one execution of a CNI plugin gave. */
export interface CniRun {
  readonly status: number;
  readonly stdout: string;
  readonly json: Record<string, unknown>;
}

export interface CniOptions {
  readonly command: string;
  readonly containerId: string;
  readonly netns?: string;
  readonly ifname?: string;
  readonly version?: string;
  readonly config?: Record<string, unknown>;
  readonly env?: Record<string, string>;
  readonly binary?: string;
}

/**
 * A node in a network namespace of its own, with an uplink to another that stands for the rest of
 * the world and has no route to the pods; pods are further namespaces. Everything is under one
 * directory and removed when disposed.
 */
export class NetworkLab implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'keelson-net-'));
  readonly node = join(this.directory, 'node');
  readonly outside = join(this.directory, 'outside');
  readonly socketPath = join(this.directory, 'run/cni.sock');
  readonly binary: string;
  readonly #namespaces = new Set<string>();
  readonly #children = new Set<ChildProcess>();
  #agent: ChildProcess | undefined;

  constructor() {
    this.binary = compileShim(join(this.directory, 'bin'));
    for (const path of [this.node, this.outside]) this.#addNamespace(path);
    this.exec(this.node, 'ip link set lo up && ip link add up0 type veth peer name out0');
    this.exec(this.node, `ip link set out0 netns ${this.#pidIn(this.outside)}`);
    this.exec(
      this.outside,
      'ip link set lo up && ip addr add 192.0.2.1/24 dev out0 && ip addr add 2001:db8::1/64 dev out0 nodad && ip link set out0 up',
    );
    this.exec(
      this.node,
      'ip addr add 192.0.2.2/24 dev up0 && ip addr add 2001:db8::2/64 dev up0 nodad && ip link set up0 mtu 1450 up && ip route add default via 192.0.2.1 && ip -6 route add default via 2001:db8::1',
    );
  }

  /** Runs a shell command in a namespace; throws with its output when it fails. */
  exec(netns: string, command: string): string {
    return execFileSync('nsenter', [`--net=${netns}`, 'sh', '-c', command], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Runs a piece of JavaScript in a namespace and returns what it prints. */
  evaluate(netns: string, script: string): string {
    return execFileSync('nsenter', [`--net=${netns}`, process.execPath, '-e', script], { encoding: 'utf8' });
  }

  /** As `exec`, but false when it fails. */
  succeeds(netns: string, command: string): boolean {
    try {
      this.exec(netns, command);
      return true;
    } catch {
      return false;
    }
  }

  /** `ip -j` of a namespace, parsed. */
  ip<T = Record<string, unknown>>(netns: string, command: string): T[] {
    const output = this.exec(netns, `ip -j ${command}`);
    return output.trim() === '' ? [] : (JSON.parse(output) as T[]);
  }

  addPod(name: string): string {
    const path = join(this.directory, `pod-${name}`);
    this.#addNamespace(path);
    return path;
  }

  removePod(path: string): void {
    execFileSync('umount', ['-l', path]);
    rmSync(path);
    this.#namespaces.delete(path);
  }

  /**
   * A process in a namespace that lives until the lab is disposed; resolves when it has printed a
   * line.
   */
  async serve(netns: string, script: string): Promise<ChildProcess> {
    const child = spawn('nsenter', [`--net=${netns}`, process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#children.add(child);
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    return child;
  }

  async startAgent(settings: Partial<AgentSettings> = {}): Promise<void> {
    const all: AgentSettings = {
      socketPath: this.socketPath,
      stateDir: join(this.directory, 'run'),
      ranges: ['10.88.0.0/24', 'fd00:88::/64'],
      logLevel: process.env['KEELSON_TEST_LOG'] === undefined ? 'silent' : 'debug',
      ...settings,
    };
    const program = join(import.meta.dirname, 'network-agent.ts');
    const child = spawn('nsenter', [`--net=${this.node}`, process.execPath, program, JSON.stringify(all)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#agent = child;
    await new Promise((resolve, reject) => {
      child.once('message', resolve);
      child.once('exit', (code) => reject(new Error(`the agent ended with ${code}`)));
    });
  }

  async ask<T = unknown>(command: AgentCommand): Promise<T> {
    const agent = this.#agent;
    if (agent === undefined) throw new Error('no agent runs');
    const reply = Promise.withResolvers<{ result: T }>();
    const answered = reply.resolve as (message: unknown) => void;
    const ended = (code: number | null): void =>
      reply.reject(new Error(`the agent ended with ${code ?? 'a signal'} instead of an answer`));
    agent.once('message', answered).once('exit', ended);
    agent.send(command);
    try {
      return (await reply.promise).result;
    } finally {
      agent.off('message', answered).off('exit', ended);
    }
  }

  async attachments(): Promise<readonly Attachment[]> {
    return await this.ask('list');
  }

  /** Ends the agent: in order, or at once. */
  async endAgent({ kill }: { readonly kill: boolean }): Promise<void> {
    const agent = this.#agent;
    if (agent === undefined) return;
    this.#agent = undefined;
    const ended = new Promise((resolve) => agent.once('exit', resolve));
    if (kill) agent.kill('SIGKILL');
    else agent.send('stop' satisfies AgentCommand);
    await ended;
  }

  signalAgent(signal: NodeJS.Signals): void {
    const pid = this.#agent?.pid;
    if (pid === undefined) throw new Error('no agent runs');
    process.kill(pid, signal);
  }

  /**
   * Calls that the agent has not ended yet, also of callers that have disconnected. Its end of a
   * connection has the name that it listens at, before that is published, and is listed with the
   * network namespace of its caller.
   */
  openCalls(): number {
    const sockets = readFileSync('/proc/self/net/unix', 'utf8').split('\n');
    return sockets.filter((line) => line.endsWith(` ${this.socketPath}~`)).length;
  }

  /** Waits until `holds`; the test's own timeout bounds it. */
  async until(holds: () => boolean | Promise<boolean>): Promise<void> {
    while (!(await holds())) await sleep(10);
  }

  /** Executes the exec binary as a runtime does. */
  async cni(options: CniOptions): Promise<CniRun> {
    const {
      command,
      containerId,
      netns = '',
      ifname = 'eth0',
      version = '1.0.0',
      config = {},
      env = {},
    } = options;
    const [plugin] = cniConfig({ agentSocket: this.socketPath })['plugins'] as Record<string, unknown>[];
    const stdin = JSON.stringify({ cniVersion: version, name: 'keelson', ...plugin, ...config });
    return await runPlugin(options.binary ?? this.binary, stdin, {
      CNI_COMMAND: command,
      CNI_CONTAINERID: containerId,
      CNI_NETNS: netns,
      CNI_IFNAME: ifname,
      CNI_PATH: '/opt/cni/bin',
      ...env,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.endAgent({ kill: true });
    for (const child of this.#children) child.kill('SIGKILL');
    for (const path of this.#namespaces) execFileSync('umount', ['-l', path]);
    rmSync(this.directory, { recursive: true, force: true });
  }

  #addNamespace(path: string): void {
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, '');
    execFileSync('unshare', [`--net=${path}`, 'true']);
    this.#namespaces.add(path);
  }

  /**
   * `ip link set netns` takes a process id: one that lives in the namespace for as long as the lab
   * does.
   */
  #pidIn(netns: string): number {
    const child = spawn('nsenter', [`--net=${netns}`, 'sleep', 'infinity'], { stdio: 'ignore' });
    this.#children.add(child);
    const { pid } = child;
    if (pid === undefined) throw new Error('nsenter did not start');
    const own = execFileSync('stat', ['-Lc', '%i', netns], { encoding: 'utf8' });
    const entered = (): boolean =>
      execFileSync('stat', ['-Lc', '%i', `/proc/${pid}/ns/net`], { encoding: 'utf8' }) === own;
    while (!entered()) execFileSync('sleep', ['0.01']);
    return pid;
  }
}

/**
 * Runs a CNI plugin binary with this input and environment, and nothing else in the environment.
 */
export function runPlugin(binary: string, stdin: string, env: Record<string, string>): Promise<CniRun> {
  return new Promise((resolve, reject) => {
    const child = execFile(binary, { env, encoding: 'utf8' }, (error, stdout) => {
      if (error !== null && typeof error.code !== 'number') {
        reject(new Error(`${binary} did not run`, { cause: error }));
        return;
      }
      let json: Record<string, unknown> = {};
      try {
        json = stdout.trim() === '' ? {} : (JSON.parse(stdout) as Record<string, unknown>);
      } catch {
        reject(new Error(`no JSON: ${stdout}`));
        return;
      }
      resolve({ status: typeof error?.code === 'number' ? error.code : 0, stdout, json });
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(stdin);
  });
}
