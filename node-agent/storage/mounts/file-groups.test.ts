import { constants } from 'node:os';
import { expect, test } from 'vitest';
import { Fault } from '../../../src/core/fault.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import type { Kernel } from '../../linux/kernel/kernel.ts';
import { SysError } from '../../linux/libc/libc.ts';
import { FileGroups } from './file-groups.ts';

/** A thread whose walks end when the test says so. */
class FakeThread implements Kernel {
  readonly calls: unknown[][] = [];
  readonly answer: PromiseWithResolvers<unknown> = Promise.withResolvers();
  hasEnded = false;

  constructor(answer?: unknown) {
    if (answer instanceof Error) this.answer.reject(answer);
    else if (answer !== undefined) this.answer.resolve(answer);
    this.answer.promise.catch(() => undefined);
  }

  call = (async (...args: unknown[]) => {
    this.calls.push(args);
    return await this.answer.promise;
  }) as Kernel['call'];

  async [Symbol.asyncDispose](): Promise<void> {
    this.hasEnded = true;
    this.answer.reject(new Fault('unavailable', 'the thread has ended'));
  }
}

const files = (volumeId: string) => ({ volumeId, root: 7, path: `volumes/${volumeId}` });

function setup(answer: unknown) {
  const kernel = new FakeThread(answer);
  const threads: FakeThread[] = [];
  const startKernel = (): Kernel => {
    threads.push(new FakeThread());
    return threads.at(-1) as Kernel;
  };
  return { kernel, threads, groups: new FileGroups({ kernel, startKernel, logger: silentLogger }) };
}

test('a volume with few files uses the shared worker', async () => {
  const { kernel, threads, groups } = setup(true);
  await groups.ensure(files('v'), 2000);
  expect(kernel.calls).toEqual([['ensureFileGroup', 7, 'volumes/v', 2000, 512]]);
  expect(threads).toEqual([]);
});

test('volumes with many files use a worker each, four at a time, and the others wait', async () => {
  const { threads, groups } = setup(false);
  const walks = ['a', 'b', 'c', 'd', 'e', 'f'].map((id) => groups.ensure(files(id), 2000));
  await expect.poll(() => threads.length).toBe(4);
  expect(threads[0]?.calls).toEqual([['ensureFileGroup', 7, 'volumes/a', 2000]]);
  threads[1]?.answer.resolve(true);
  await walks[1];
  await expect.poll(() => threads.length).toBe(5);
  expect(threads[1]?.hasEnded).toBe(true);
  threads[4]?.answer.reject(new Fault('unavailable', 'a directory was moved'));
  await expect(walks[4]).rejects.toThrow('a directory was moved');
  await expect.poll(() => threads.length).toBe(6);
  for (const thread of threads) thread.answer.resolve(true);
  await Promise.all(walks.filter((_, index) => index !== 4));
  expect(threads.every(({ hasEnded }) => hasEnded)).toBe(true);
});

test('closing a pool ends its walks, and waiting ones do not start', async () => {
  const { threads, groups } = setup(false);
  const walks = Promise.allSettled(['a', 'b', 'c', 'd', 'e'].map((id) => groups.ensure(files(id), 2000)));
  await expect.poll(() => threads.length).toBe(4);
  await groups[Symbol.asyncDispose]();
  expect((await walks).map(({ status }) => status)).toEqual(Array.from({ length: 5 }, () => 'rejected'));
  expect(threads).toHaveLength(4);
});

test.each([
  ['EROFS', 'precondition', 'read-only'],
  ['EPERM', 'precondition', 'chattr'],
  ['ENOSPC', 'exhausted', 'full'],
  ['EDQUOT', 'exhausted', 'full'],
  ['EIO', 'bug', ''],
] as const)('%s is reported with the volume and the path', async (code, kind, advice) => {
  const { groups } = setup(new SysError('chmod', constants.errno[code], 'db/wal'));
  await expect(groups.ensure(files('vol-1'), 2000)).rejects.toMatchObject({
    kind,
    message: expect.stringMatching(
      new RegExp(
        `^cannot change the group of the files of volume vol-1 to 2000: chmod db/wal: ${code}.*${advice}`,
      ),
    ) as string,
    fields: { volumeId: 'vol-1', group: 2000 },
  });
});
