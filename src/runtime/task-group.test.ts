import { expect, test } from 'vitest';
import { silentLogger } from './logger.ts';
import { TaskGroup } from './task-group.ts';

const untilAbort = (signal: AbortSignal): Promise<void> =>
  new Promise((_, reject) =>
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }),
  );

test('the first failure stops every other task and is what wait reports', async () => {
  const group = new TaskGroup({ logger: silentLogger });
  let stopped = false;
  group.run('follower', async (signal) => {
    await untilAbort(signal).catch(() => undefined);
    stopped = true;
  });
  group.run('failing', async () => {
    throw new Error('first');
  });
  await expect(group.wait()).rejects.toThrow('first');
  expect(stopped).toBe(true);
});

test('a stop that tasks answer by their abort reason is not a failure', async () => {
  const group = new TaskGroup({ logger: silentLogger });
  group.run('a', untilAbort);
  group.run('b', untilAbort);
  group.stop();
  await expect(group.wait()).resolves.toBeUndefined();
});

test('wait also covers tasks that a task started', async () => {
  const group = new TaskGroup({ logger: silentLogger });
  let done = false;
  group.run('outer', async () => {
    group.run('inner', async () => {
      await Promise.resolve();
      done = true;
    });
  });
  await group.wait();
  expect(done).toBe(true);
});
