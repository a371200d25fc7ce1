import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { waitFor } from '../cluster/wait.ts';
import { pauseProcesses } from './bystanders.ts';

test('stands still until it is disposed, and goes on then', async () => {
  using bystander = spawn('sleep', ['60'], { stdio: 'ignore' });
  const pid = bystander.pid ?? 0;
  const becomes = async (state: string): Promise<unknown> =>
    await waitFor(
      `state ${state}`,
      async () =>
        /^State:\s+(\w)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1] === state
          ? true
          : undefined,
      { timeoutMs: 5_000 },
    );
  await becomes('S');
  const listeners = process.listenerCount('exit');
  {
    await using _paused = pauseProcesses([pid]);
    await becomes('T');
  }
  await becomes('S');
  expect(process.listenerCount('exit')).toBe(listeners);
});
