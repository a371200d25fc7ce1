import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startKernel } from '../../node-agent/linux/kernel.ts';
import { openStorage } from '../../node-agent/storage/storage.ts';
import { startProcess } from '../../src/runtime/child-process.ts';
import { sleep } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { filePool, requireRoot } from './storage-lab.ts';

const ROUNDS = 6;

it.for(['btrfs', 'image', 'directory'] as const)(
  '%s leaves nothing behind when it is killed in the middle of its work, again and again',
  async (backend, context) => {
    requireRoot(context);
    await using cleanup = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), 'keelson-kill-'));
    cleanup.defer(() => rm(directory, { recursive: true, force: true }));
    const kernel = cleanup.use(startKernel({ name: 'kill-test' }));
    const stateDir = join(directory, 'state');
    const file = join(directory, 'pool.img');
    const logFile = join(directory, 'victim.log');
    // Only when the test fails before it opens the pool itself.
    cleanup.defer(() => kernel.call('umount', join(stateDir, 'pools', 'default'), 0).catch(() => undefined));
    const victim = join(import.meta.dirname, 'storage-victim.ts');

    for (let round = 1; round <= ROUNDS; round += 1) {
      await using child = await startProcess({
        name: 'victim',
        file: process.execPath,
        args: [victim, stateDir, file, String(round), backend],
        logFile,
      });
      await expect.poll(() => readdir(join(stateDir, 'volumes')).catch(() => [])).not.toEqual([]);
      // The moment is meant to be arbitrary: whatever it is doing then, it must come back from.
      await sleep(300 + round * 37);
      expect(child.running, await child.tail(20)).toBe(true);
      process.kill(child.pid, 'SIGKILL');
      await child.exited;
    }
    expect(await readFile(logFile, 'utf8')).toBe('');

    const survivor = await openStorage(
      {
        stateDir,
        pools: [{ ...filePool('default', file, 4n << 30n), backend, enforce: false }],
      },
      { kernel, logger: silentLogger },
    );
    cleanup.defer(() => survivor.unmountPools());
    expect(await survivor.report()).toMatchObject({ orphans: [], quarantined: [] });
    const held = [...survivor.listVolumes(), ...survivor.listSnapshots()]
      .map(({ id }) => `${id}.json`)
      .sort();
    const recorded = await Promise.all(['snapshots', 'volumes'].map((kind) => readdir(join(stateDir, kind))));
    expect(recorded.flat().sort()).toEqual(held);
    const staged = survivor.listVolumes().filter((volume) => volume.staged.length > 0);
    const mounted = await readFile('/proc/self/mountinfo', 'utf8');
    const attached = survivor
      .listVolumes()
      .filter(({ id }) => mounted.includes(join(stateDir, 'mounts', 'default', id)));
    if (backend === 'image') expect(attached.map(({ id }) => id)).toEqual(staged.map(({ id }) => id));
    for (const { id } of survivor.listVolumes()) await survivor.deleteVolume(id);
    for (const { members } of survivor.listGroups()) {
      // Of one volume or of two, as its name was asked for; never a part of it.
      expect(new Set(members.map(({ createdAtMs }) => createdAtMs)).size).toBe(1);
    }
    for (const { id } of survivor.listGroups()) await survivor.deleteGroup(id, []);
    for (const { id } of survivor.listSnapshots()) await survivor.deleteSnapshot(id);
    const { orphans, volumes, snapshots } = await survivor.report();
    expect({ orphans, volumes, snapshots }).toEqual({ orphans: [], volumes: [], snapshots: [] });
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(join(stateDir, 'mounts'));
  },
);
