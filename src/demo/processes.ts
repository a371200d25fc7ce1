import { readdirSync, readFileSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename } from 'node:path';

export interface ProcessEntry {
  readonly pid: number;
  /** Clock ticks since boot (proc(5), field 22): with the pid it names one process for ever. */
  readonly startTicks: string;
  /** Base name of its binary; empty for a kernel thread. */
  readonly program: string;
  readonly args: readonly string[];
  /** Its cgroup paths, one a hierarchy. */
  readonly cgroups: readonly string[];
}

/** Every process that can be read; those that end meanwhile are left out. */
export async function listProcesses(): Promise<ProcessEntry[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const entries = await Promise.all(pids.map(readProcess));
  return entries.filter((entry) => entry !== undefined);
}

/**
 * As `listProcesses`, of those whose command line matches alone. Cheap enough to be asked again and again: of the others nothing else is
 * read, and the kernel gives a command line in less time than a thread takes to be asked for it.
 */
export async function findProcesses(matches: (args: readonly string[]) => boolean): Promise<ProcessEntry[]> {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const found = pids.filter((pid) => matches(readArgs(pid))).map(Number);
  const entries = await Promise.all(found.map(readProcess));
  // One may have become another program meanwhile.
  return entries.filter((entry) => entry !== undefined && matches(entry.args)) as ProcessEntry[];
}

/** None of a process that has ended, or belongs to the kernel. */
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

/** The process `pid` as it is now, undefined when there is none. */
export async function readProcess(pid: number): Promise<ProcessEntry | undefined> {
  const read = (name: string): Promise<string> => readFile(`/proc/${pid}/${name}`, 'utf8');
  try {
    const [stat, cmdline, cgroup, exe] = await Promise.all([
      read('stat'),
      read('cmdline'),
      read('cgroup'),
      readlink(`/proc/${pid}/exe`).catch(() => ''),
    ]);
    // The name in parentheses may hold anything: fields are counted from its end. The first is the state.
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

/** Whether the process that had `pid` and `startTicks` still runs. */
export async function isSameProcess(pid: number, startTicks: string): Promise<boolean> {
  return (await readProcess(pid))?.startTicks === startTicks;
}
