import { readFile } from 'node:fs/promises';
import { Fault } from '../../src/core/fault.ts';
import { listProcesses } from '../../src/demo/processes.ts';

/** What one process has used so far. */
export interface ProcessUsage {
  readonly cpuMs: number;
  readonly rssMib: number;
  readonly peakRssMib: number;
  /**
   * Memory shared with other processes is divided among them: the figures of several processes can
   * be added.
   */
  readonly pssMib: number;
}

/** USER_HZ, in which proc(5) counts processor time on every machine of today. */
const TICK_MS = 10;
/** Of what follows the command's name in /proc/PID/stat. */
const USER_TIME = 11;
const SYSTEM_TIME = 12;

export async function readUsage(pid: number): Promise<ProcessUsage> {
  const read = async (file: string): Promise<string> => await readFile(`/proc/${pid}/${file}`, 'utf8');
  const [stat, status, rollup] = await Promise.all([read('stat'), read('status'), read('smaps_rollup')]);
  // The name is in brackets and may hold anything, brackets too.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return {
    cpuMs: TICK_MS * (Number(fields[USER_TIME]) + Number(fields[SYSTEM_TIME])),
    rssMib: mebibytes(status, 'VmRSS'),
    peakRssMib: mebibytes(status, 'VmHWM'),
    pssMib: mebibytes(rollup, 'Pss'),
  };
}

/**
 * Processes whose command line holds all of `words`, whole or as the name of a file. Rejects with
 * `not-found` when there is none.
 */
export async function findProcesses(words: readonly string[]): Promise<readonly number[]> {
  const found = (await listProcesses()).filter(({ args }) =>
    words.every((word) => args.some((arg) => arg === word || arg.endsWith(`/${word}`))),
  );
  if (found.length === 0) throw new Fault('not-found', `no process has the words ${words.join(' ')}`);
  return found.map(({ pid }) => pid);
}

function mebibytes(text: string, name: string): number {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text);
  if (match === null) throw new Fault('bug', `${name} is missing in ${text.slice(0, 80)}`);
  return Number(match[1]) / 1024;
}
