import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isFault } from '../../../src/core/fault.ts';
import { endProcess, isAlive, runCommand, startProcess } from '../../../src/runtime/child-process.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'keelson-child-'));
});
afterAll(() => rm(directory, { recursive: true }));

const fault = (kind: 'precondition' | 'timeout' | 'unsupported' | 'unavailable', text = ''): unknown =>
  expect.toSatisfy((error: unknown) => isFault(error, kind) && error.message.includes(text));

describe('runCommand', () => {
  test('gives input and returns both outputs', async () => {
    const output = await runCommand('sh', ['-c', 'cat; echo warned >&2'], { input: 'text' });
    expect(output).toEqual({ stdout: 'text', stderr: 'warned\n', code: 0 });
  });

  test('rejects with the last lines of stderr when the program fails', async () => {
    await expect(runCommand('sh', ['-c', 'echo no such pool >&2; exit 3'])).rejects.toThrow(
      fault('precondition', 'no such pool'),
    );
  });

  test('an accepted exit code does not reject', async () => {
    expect((await runCommand('sh', ['-c', 'exit 3'], { accept: [3] })).code).toBe(3);
  });

  test('rejects when the program does not exist, with its name', async () => {
    await expect(runCommand('keelson-no-such-program', [])).rejects.toThrow(fault('unsupported'));
  });

  test('a timeout ends the whole group, grandchildren included', async () => {
    const pidFile = join(directory, 'grandchild');
    const script = `sleep 100 & echo $! > ${pidFile}; wait`;
    await expect(runCommand('sh', ['-c', script], { timeoutMs: 2_000 })).rejects.toThrow(fault('timeout'));
    const pid = Number(await readFile(pidFile, 'utf8'));
    await expect.poll(() => isAlive(pid)).toBe(false);
  });

  test('an abort rejects with its reason', async () => {
    const controller = new AbortController();
    const running = runCommand('sleep', ['100'], { signal: controller.signal });
    const reason = new Error('stop here');
    controller.abort(reason);
    await expect(running).rejects.toBe(reason);
  });
});

describe('startProcess', () => {
  const start = (script: string) =>
    startProcess({
      name: 'worker',
      file: 'sh',
      args: ['-c', script],
      logFile: join(directory, `${crypto.randomUUID()}.log`),
    });

  test('stop lets the process end by itself on SIGTERM', async () => {
    const worker = await start('trap "echo bye; exit 7" TERM; echo ready; while :; do sleep 0.01; done');
    await expect.poll(() => worker.tail(1)).toBe('ready');
    expect(await worker.stop()).toEqual({ code: 7, signal: null });
    expect(await worker.tail(1)).toBe('bye');
    expect(worker.running).toBe(false);
  });

  test('stop kills a process that ignores SIGTERM once its grace is over', async () => {
    const worker = await start('trap "" TERM; echo ready; while :; do sleep 0.01; done');
    await expect.poll(() => worker.tail(1)).toBe('ready');
    expect(await worker.stop({ graceMs: 100 })).toEqual({ code: null, signal: 'SIGKILL' });
  });

  test('failed rejects with the end of the log as soon as the process ends', async () => {
    const worker = await start('echo cannot bind; exit 2');
    await expect(worker.failed(new AbortController().signal)).rejects.toThrow(
      fault('unavailable', 'worker exited with code 2:\ncannot bind'),
    );
  });
});

test('endProcess ends a process that is not a child, and succeeds for one that has exited', async () => {
  const { stdout } = await runCommand('sh', ['-c', 'setsid sleep 100 >/dev/null 2>&1 & echo $!']);
  const pid = Number(stdout);
  expect(await isAlive(pid)).toBe(true);
  await endProcess(pid);
  expect(await isAlive(pid)).toBe(false);
  await endProcess(pid);
});
