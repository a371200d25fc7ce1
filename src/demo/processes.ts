import { readdirSync, readFileSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename } from 'node:path';

export interface ProcessEntry {
  readonly pid: number;
  /** Clock ticks since boot (proc(5), field 22); unique together with the pid. */
  readonly startTicks: string;
  /** Base name of the binary; empty for a kernel thread. */
  readonly program: string;
  readonly args: readonly string[];
  /** Cgroup paths, one for each hierarchy. */
  readonly cgroups: readonly string[];
}

/** Returns all readable processes. */
export async function listProcesses(): Promise<ProcessEntry[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const entries = await Promise.all(pids.map(readProcess));
  return entries.filter((entry) => entry !== undefined);
}

/**
 * Returns processes with a matching command line. Cheap enough for polling: reads only the command
 * lines of the others, synchronously, which is faster than a thread pool.
 */
export async function findProcesses(matches: (args: readonly string[]) => boolean): Promise<ProcessEntry[]> {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const found = pids.filter((pid) => matches(readArgs(pid))).map(Number);
  const entries = await Promise.all(found.map(readProcess));
  // A process may have called exec meanwhile.
  return entries.filter((entry) => entry !== undefined && matches(entry.args)) as ProcessEntry[];
}

/** Returns an empty list for ended processes and kernel threads. */
function readArgs(pid: string): readonly string[] {
  try {
    return splitArgs(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
  } catch {
    return [];
  }
}

function splitArgs(cmdline: string): readonly string[] {
  return cmdline.split('\0').slice(0, -1);
}

/** Returns process `pid`; undefined if it does not exist. */
export async function readProcess(pid: number): Promise<ProcessEntry | undefined> {
  const read = (name: string): Promise<string> => readFile(`/proc/${pid}/${name}`, 'utf8');
  try {
    const [stat, cmdline, cgroup, exe] = await Promise.all([
      read('stat'),
      read('cmdline'),
      read('cgroup'),
      readlink(`/proc/${pid}/exe`).catch(() => ''),
    ]);
    // Fields after the name, which may contain any character. The first is the state.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return {
      pid,
      startTicks: fields[19] ?? '',
      program: basename(exe.replace(/ \(deleted\)$/, '')),
      args: splitArgs(cmdline),
      cgroups: cgroup
        .trim()
        .split('\n')
        .map((line) => line.split(':').slice(2).join(':')),
    };
  } catch {
    return undefined;
  }
}

/** Whether the process with `pid` and `startTicks` still runs. */
export async function isSameProcess(pid: number, startTicks: string): Promise<boolean> {
  return (await readProcess(pid))?.startTicks === startTicks;
}
