import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../../src/core/fault.ts';
import { waitFor } from '../cluster/wait.ts';
import { readUsage } from './process-usage.ts';

/** What they may use together within a second when they have caught up: their own timers. */
const CALM_MS = 100;
const CATCH_UP_MS = 120_000;

/**
 * Stops the processes until the result is disposed, and then waits until they have caught up. Every
 * provisioner follows all claims and volumes of its cluster, also those of another one; the
 * measured one must not pay for that, as users do not run two.
 */
export function pauseProcesses(pids: readonly number[]): AsyncDisposable {
  // nsenter(1) stops itself when its child does, and does not go on with it.
  const stopped = new Set(pids.flatMap((pid) => [parentOf(pid), pid]));
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  // Also when this process fails: a stopped process is in everybody's way.
  const goOn = (): void => {
    for (const pid of stopped) process.kill(pid, 'SIGCONT');
  };
  process.once('exit', goOn);
  return {
    [Symbol.asyncDispose]: async () => {
      process.off('exit', goOn);
      goOn();
      await waitFor('the others have caught up', () => isQuiet(pids), { timeoutMs: CATCH_UP_MS });
    },
  };
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

async function isQuiet(pids: readonly number[]): Promise<true> {
  const before = await cpuMs(pids);
  await sleep(1_000);
  const used = (await cpuMs(pids)) - before;
  if (used <= CALM_MS) return true;
  throw new Fault('busy', `they used ${used} ms of a processor within a second`);
}

async function cpuMs(pids: readonly number[]): Promise<number> {
  const usages = await Promise.all(pids.map((pid) => readUsage(pid)));
  return usages.reduce((sum, usage) => sum + usage.cpuMs, 0);
}
