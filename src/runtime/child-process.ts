import { type ChildProcess, spawn } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { Fault, type FaultKind } from '../core/fault.ts';
import { sleep } from './clock.ts';
import { deadlineSignal, raceSignal } from './signals.ts';

export type ProcessEnvironment = Readonly<Record<string, string | undefined>>;

/** How a process ended: by an exit code or by a signal, never both. */
interface ExitStatus {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RunCommandOptions {
  readonly signal?: AbortSignal | undefined;
  /** Default 60 s. */
  readonly timeoutMs?: number;
  /** Written to its standard input, which is otherwise empty. */
  readonly input?: string | Uint8Array;
  /** Replaces the inherited environment. */
  readonly env?: ProcessEnvironment;
  readonly cwd?: string;
  /** Exit codes besides 0 that are not failures. */
  readonly accept?: readonly number[];
}

export interface CommandOutput {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
}

/** Limit of the output; more indicates misuse of a tool. */
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

/**
 * Runs a program to its end, without a shell. Rejects with `unsupported` when it cannot be started,
 * `precondition` with the end of its stderr when it fails, `timeout` or the signal's reason when it
 * was ended; its whole process group has exited by then.
 */
export async function runCommand(
  file: string,
  args: readonly string[],
  { signal, timeoutMs = 60_000, input, env, cwd, accept = [] }: RunCommandOptions = {},
): Promise<CommandOutput> {
  signal?.throwIfAborted();
  using deadline = deadlineSignal(timeoutMs, { signal });
  const child = spawn(file, args, {
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    detached: true,
    ...(env === undefined ? {} : { env }),
    ...(cwd === undefined ? {} : { cwd }),
  });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input);
  const kill = (): void => signalGroup(child, 'SIGKILL');
  deadline.signal.addEventListener('abort', kill, { once: true });
  const status = await closed(child, file).finally(() => deadline.signal.removeEventListener('abort', kill));
  if (deadline.signal.aborted) {
    if (signal?.aborted) throw signal.reason as Error;
    throw new Fault('timeout', `${file} ${args.join(' ')} did not finish within ${timeoutMs} ms`);
  }
  if (status.code === null || (status.code !== 0 && !accept.includes(status.code))) {
    const reason = lastLines(stderr(), 5) || lastLines(stdout(), 5) || 'no message';
    throw new Fault('precondition', `${file} ${args.join(' ')} ${describeExit(status)}: ${reason}`, {
      fields: { program: file, exit: status.code ?? String(status.signal) },
    });
  }
  return { stdout: stdout(), stderr: stderr(), code: status.code };
}

export interface StartProcessOptions {
  /** Name in messages, for example `agent`. */
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  /**
   * File for its standard output and error: it never blocks on, or fails with, the process that
   * started it.
   */
  readonly logFile: string;
  readonly env?: ProcessEnvironment;
  readonly cwd?: string;
}

/**
 * A long-lived child in its own process group and session: a terminal's Ctrl-C only reaches its
 * owner.
 */
export interface ManagedProcess extends AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  /** Resolves when it has exited, for any reason. */
  readonly exited: Promise<ExitStatus>;
  readonly running: boolean;
  /** Returns the last lines that it wrote. */
  tail(lines: number): Promise<string>;
  /**
   * Rejects with `unavailable` and the end of its log when it exits; for racing with a wait for
   * readiness.
   */
  failed(signal: AbortSignal): Promise<never>;
  /**
   * Sends SIGTERM, then SIGKILL to its group after `graceMs` (default 10 s). Disposing does the
   * same.
   */
  stop(options?: { readonly graceMs?: number }): Promise<ExitStatus>;
  /** Detaches the child: it keeps running when this process ends. */
  release(): void;
}

const TAIL_BYTES = 64 * 1024;

/** Starts a long-lived child. Rejects with `unsupported` when the program cannot be started. */
export async function startProcess({
  name,
  file,
  args,
  logFile,
  env,
  cwd,
}: StartProcessOptions): Promise<ManagedProcess> {
  await using log = await open(logFile, 'a', 0o600);
  const child = spawn(file, args, {
    stdio: ['ignore', log.fd, log.fd],
    detached: true,
    ...(env === undefined ? {} : { env }),
    ...(cwd === undefined ? {} : { cwd }),
  });
  const exited = new Promise<ExitStatus>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  await started(child, file);
  const { pid } = child;
  if (pid === undefined) throw new Fault('bug', `${file} has no process ID after its start`);

  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  const tail = async (lines: number): Promise<string> => lastLines(await readEnd(logFile), lines);
  const stop = async ({ graceMs = 10_000 } = {}): Promise<ExitStatus> => {
    if (isRunning()) {
      child.kill('SIGTERM');
      using grace = deadlineSignal(graceMs);
      grace.signal.addEventListener('abort', () => signalGroup(child, 'SIGKILL'), { once: true });
      await exited;
    }
    return await exited;
  };
  return {
    name,
    pid,
    exited,
    get running() {
      return isRunning();
    },
    tail,
    async failed(signal) {
      const status = await raceSignal(exited, signal);
      throw new Fault('unavailable', `${name} ${describeExit(status)}:\n${await tail(12)}`, {
        fields: { process: name, logFile },
      });
    },
    stop,
    release: () => child.unref(),
    [Symbol.asyncDispose]: async () => {
      await stop();
    },
  };
}

async function readEnd(file: string): Promise<string> {
  await using handle = await open(file);
  const { size } = await handle.stat();
  const length = Math.min(size, TAIL_BYTES);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length);
  return buffer.toString('utf8', 0, bytesRead);
}

/**
 * Ends the process `pid`, which is not a child: SIGTERM, and SIGKILL after `graceMs`. Resolves when
 * it has exited.
 */
export async function endProcess(
  pid: number,
  { graceMs = 2_000 }: { readonly graceMs?: number } = {},
): Promise<void> {
  if (!sendSignal(pid, 'SIGTERM')) return;
  const killAtMs = performance.now() + graceMs;
  for (let killed = false; await isAlive(pid); ) {
    if (!killed && performance.now() >= killAtMs) killed = sendSignal(pid, 'SIGKILL');
    await sleep(20);
  }
}

/** Whether `pid` runs: a zombie does not. */
export async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  // proc(5): the state follows the name, which is in parentheses and may contain anything.
  return stat !== undefined && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}

/** Sends a signal; false when the process does not exist. Signal 0 only checks. */
export function sendSignal(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid !== undefined) sendSignal(-child.pid, signal);
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream?.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= MAX_OUTPUT_BYTES) chunks.push(chunk);
  });
  return () => Buffer.concat(chunks).toString('utf8');
}

function closed(child: ChildProcess, file: string): Promise<ExitStatus> {
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(notStarted(file, error)));
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
}

function started(child: ChildProcess, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(notStarted(file, error)));
    child.once('spawn', () => resolve());
  });
}

function notStarted(file: string, error: NodeJS.ErrnoException): Fault {
  const kind: FaultKind = error.code === 'ENOENT' ? 'unsupported' : 'precondition';
  return new Fault(kind, `cannot start ${file}: ${error.code ?? error.message}`, {
    fields: { program: file },
    cause: error,
  });
}

function describeExit({ code, signal }: ExitStatus): string {
  return signal === null ? `exited with code ${code ?? 'unknown'}` : `was terminated by ${signal}`;
}

function lastLines(text: string, count: number): string {
  return text.trimEnd().split('\n').slice(-count).join('\n');
}
