import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type Kernel, startKernel } from '../../../node-agent/linux/kernel/kernel.ts';
import { requireRoot } from './storage-lab.ts';

interface LoopLab extends AsyncDisposable {
  readonly kernel: Kernel;
  readonly file: string;
}

async function startLoopLab(): Promise<LoopLab> {
  await using cleanup = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'keelson-loop-'));
  cleanup.defer(() => rm(directory, { recursive: true }));
  const kernel = cleanup.use(startKernel({ name: 'loop-test' }));
  const file = join(directory, 'file.img');
  await using handle = await open(file, 'w');
  await handle.truncate(1 << 20);
  const kept = cleanup.move();
  return { kernel, file, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

it('keeps a device that is attached again while another process has it open', async (context) => {
  requireRoot(context);
  await using lab = await startLoopLab();
  const { kernel, file } = lab;
  const attach = async (): Promise<string> => {
    const { path, fd } = await kernel.call('attachLoop', file, { autoclear: false });
    await kernel.call('closeLoop', { fd });
    return path;
  };
  const path = await attach();
  {
    // As udev does with each new or changed device.
    await using _looking = await open(path, 'r');
    await kernel.call('detachLoop', path);
    expect(await kernel.call('findLoopPath', file), 'it is detached at its last close').toBe(path);
    expect(await attach()).toBe(path);
  }
  expect(await kernel.call('findLoopPath', file)).toBe(path);
  await kernel.call('detachLoop', path);
  await expect.poll(() => kernel.call('findLoopPath', file)).toBeUndefined();
});

it('detaches a device when its last user closes it, and not before', async (context) => {
  requireRoot(context);
  await using lab = await startLoopLab();
  const { kernel, file } = lab;
  const { path, fd } = await kernel.call('attachLoop', file, { autoclear: false });
  await kernel.call('closeLoop', { fd });
  const held = await kernel.call('findLoop', file);
  expect(held?.path).toBe(path);
  await kernel.call('detachLoop', path);
  // A write to a detached device is an I/O error.
  await kernel.call('flushDevice', path);
  expect(await kernel.call('findLoopPath', file)).toBe(path);
  await kernel.call('closeLoop', { fd: held?.fd ?? -1 });
  expect(await kernel.call('findLoop', file)).toBeUndefined();
});

it('finds no device of an absent file', async (context) => {
  requireRoot(context);
  await using lab = await startLoopLab();
  expect(await lab.kernel.call('findLoop', `${lab.file}.missing`)).toBeUndefined();
});
