import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startKernel } from '../../../node-agent/linux/kernel/kernel.ts';
import { readMountTable } from '../../../node-agent/linux/files/mount-table.ts';
import { runCommand, startProcess } from '../../../src/runtime/child-process.ts';
import { waitFor } from '../../cluster/wait.ts';
import { type Promised, stillPromised, readPromised } from './power-cut-acks.ts';
import { checkPromised } from './power-cut-check.ts';
import { CUT_POOLS } from './power-cut-pools.ts';
import { requireRoot } from './storage-lab.ts';

const CUTS = 4;
/**
 * Further acknowledgements before each cut; odd, so that cuts hit different steps of the workers.
 */
const BETWEEN_CUTS = 11;

async function mountImage(file: string, place: string): Promise<AsyncDisposable> {
  await runCommand('mount', ['--mkdir', '--options', 'loop', file, place]);
  return {
    async [Symbol.asyncDispose]() {
      // The kernel detaches loop devices asynchronously, after their last user.
      await waitFor(
        `unmount ${place}`,
        async () => {
          if ((await readMountTable()).every(({ mountPoint }) => mountPoint !== place)) return true;
          await runCommand('umount', [place]);
          return true;
        },
        { timeoutMs: 30_000 },
      );
    },
  };
}

/**
 * The machine's disk is a file on XFS, and a cut is a reflink of it: all data that had reached the
 * disk at that instant, without anything in memory. Lost disk caches are not simulated.
 */
it.for(CUT_POOLS)(
  '%s has all that it promised after the power was cut at any moment',
  { timeout: 300_000 },
  async (pool, context) => {
    requireRoot(context);
    await using cleanup = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), 'keelson-power-'));
    cleanup.defer(() => rm(directory, { recursive: true, force: true }));
    const kernel = cleanup.use(startKernel({ name: 'power-test' }));
    const [host, disk, places] = [
      join(directory, 'host'),
      join(directory, 'disk'),
      join(directory, 'places'),
    ];
    await mkdir(places);
    await runCommand('truncate', ['--size', String(12n << 30n), `${host}.img`]);
    await runCommand('mkfs.xfs', ['-q', '-m', 'reflink=1', `${host}.img`]);
    cleanup.use(await mountImage(`${host}.img`, host));
    const diskFile = join(host, 'disk.img');
    await runCommand('truncate', ['--size', String(4n << 30n), diskFile]);
    await runCommand('mkfs.ext4', ['-q', diskFile]);

    const logFile = join(directory, 'victim.log');
    const cuts: { readonly file: string; readonly promised: Promised }[] = [];
    {
      await using _disk = await mountImage(diskFile, disk);
      // In its own mount namespace: its mounts end with its last process, as after a power cut.
      const victim = join(import.meta.dirname, 'power-cut-victim.ts');
      await using child = await startProcess({
        name: 'victim',
        file: 'unshare',
        args: ['--mount', '--propagation', 'private', process.execPath, victim, disk, places, pool],
        logFile,
      });
      for (let number = 1; number <= CUTS; number += 1) {
        const log = await waitFor(
          `promises for cut ${number}`,
          async () => {
            expect(child.running, await child.tail(20)).toBe(true);
            const text = await readFile(logFile, 'utf8');
            return text.split('\n').length > number * BETWEEN_CUTS ? text : undefined;
          },
          { timeoutMs: 120_000 },
        );
        const file = join(host, `cut-${number}.img`);
        await runCommand('cp', ['--reflink=always', diskFile, file]);
        const later = readPromised(await readFile(logFile, 'utf8'));
        cuts.push({ file, promised: stillPromised(readPromised(log), later) });
      }
      // A file system that ends frozen keeps its devices; the cuts are taken, so thawing does not
      // change them.
      process.kill(child.pid, 'SIGSTOP');
      const thawAll = `for place in $(cut -d' ' -f5 /proc/self/mountinfo | grep '^${directory}'); do fsfreeze --unfreeze "$place" || true; done`;
      await runCommand('nsenter', ['--target', `${child.pid}`, '--mount', 'sh', '-c', thawAll]);
      process.kill(child.pid, 'SIGKILL');
      await child.exited;
    }
    for (const { file, promised } of cuts) {
      expect(promised.volumes.size).toBeGreaterThan(0);
      const again = join(directory, 'again');
      await using _disk = await mountImage(file, again);
      try {
        await checkPromised({ disk: again, places, pool }, promised, kernel);
      } catch (error) {
        await runCommand('umount', ['--recursive', '--lazy', again]);
        throw error;
      }
    }
  },
);
