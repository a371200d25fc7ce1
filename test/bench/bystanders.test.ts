import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { waitFor } from '../cluster/wait.ts';
import { pauseProcesses } from './bystanders.ts';

const becomes = async (pid: number, state: string): Promise<void> => {
  const check = async (): Promise<true | undefined> =>
    (await readFile(`/proc/${pid}/status`, 'utf8')).includes(`State:\t${state} `) ? true : undefined;
  await waitFor(`process ${pid} in state ${state}`, check, { timeoutMs: 5_000 });
};

test('stands still until it is disposed, and goes on then', async () => {
  using bystander = spawn('sleep', ['60'], { stdio: 'ignore' });
  const { pid = 0 } = bystander;
  await becomes(pid, 'S');
  const listeners = process.listenerCount('exit');
  {
    await using _paused = pauseProcesses([pid]);
    await becomes(pid, 'T');
  }
  await becomes(pid, 'S');
  expect(process.listenerCount('exit')).toBe(listeners);
});

test('goes on together with a parent that stopped because it did', async () => {
  using parent = spawn('sh', ['-c', 'sleep 60; true'], { stdio: 'ignore' });
  const { pid = 0 } = parent;
  const child = await waitFor(
    'a child',
    async () => Number(await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')) || undefined,
    { timeoutMs: 5_000 },
  );
  // Until it has begun its program, a shell that made it by vfork(2) waits for that, and cannot be
  // stopped.
  const begins = async (): Promise<true | undefined> =>
    (await readFile(`/proc/${child}/comm`, 'utf8')) === 'sleep\n' ? true : undefined;
  await waitFor('its program', begins, { timeoutMs: 5_000 });
  {
    await using _paused = pauseProcesses([child]);
    process.kill(pid, 'SIGSTOP');
    await becomes(pid, 'T');
  }
  await becomes(child, 'S');
  await becomes(pid, 'S');
  process.kill(child);
});
