import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { startKernel } from '../../node-agent/linux/kernel.ts';
import { openStorage } from '../../node-agent/storage/storage.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import type { Acknowledged } from './power-cut-acks.ts';
import { cutPool, cutPoolDirectory, parseCutPool } from './power-cut-pools.ts';

/**
 * Makes, fills, copies, expands and deletes volumes until it is killed, and says on standard output what it was promised. Arguments: a directory
 * on the disk whose power is cut, one elsewhere for mounts, the name of the pool.
 */
const [disk = '', places = '', wanted] = process.argv.slice(2);
const pool = cutPool(parseCutPool(wanted), disk);
const hasCopies = pool.backend !== 'directory';
await mkdir(cutPoolDirectory(disk), { recursive: true });
await mkdir(places, { recursive: true });

const kernel = startKernel({ name: 'victim' });
const storage = await openStorage(
  { stateDir: join(disk, 'state'), pools: [pool] },
  { kernel, logger: silentLogger },
);
void storage.run(new AbortController().signal);

const fsType = pool.backend === 'image' ? ('ext4' as const) : undefined;
const size = (mebibytes: bigint) => ({ requiredBytes: mebibytes << 20n, limitBytes: 0n });

function say(acknowledged: Acknowledged): void {
  process.stdout.write(`${JSON.stringify(acknowledged)}\n`);
}

/** One life of a volume; each worker is on its own. */
async function live(name: string): Promise<void> {
  const { id } = await storage.createVolume({
    name,
    pool: undefined,
    fsType,
    range: size(16n),
    source: undefined,
  });
  say({ kind: 'volume', id, bytes: Number(16n << 20n) });
  const [stagingPath, target] = [join(places, `${id}-staging`), join(places, `${id}-target`)];
  await mkdir(stagingPath);
  await storage.stage(id, stagingPath);
  const accessMode = 'SINGLE_NODE_WRITER' as const;
  await storage.publish({ volumeId: id, stagingPath, target, readonly: false, flags: [], accessMode });
  {
    await using file = await open(join(target, 'data'), 'wx');
    await file.writeFile(name.repeat(1_000));
    await file.sync();
    await using directory = await open(target);
    await directory.sync();
  }
  say({ kind: 'data', id, text: name });
  if (hasCopies) {
    const snapshot = await storage.createSnapshot(`of ${name}`, id);
    say({ kind: 'snapshot', id: snapshot.id, text: name });
    const clone = await storage.createVolume({
      ...{ name: `clone of ${name}`, pool: undefined, range: size(16n) },
      source: { kind: 'volume', id },
    });
    say({ kind: 'volume', id: clone.id, bytes: Number(16n << 20n) });
    say({ kind: 'data', id: clone.id, text: name });
    say({ kind: 'deleting', id: snapshot.id });
    await storage.deleteSnapshot(snapshot.id);
    say({ kind: 'gone', id: snapshot.id });
  }
  await storage.unpublish(id, target);
  await storage.unstage(id, stagingPath);
  await storage.expandVolume(id, size(24n));
  say({ kind: 'volume', id, bytes: Number(24n << 20n) });
  if (Number(name.split('-')[1]) % 2 === 0) return;
  say({ kind: 'deleting', id });
  await storage.deleteVolume(id);
  say({ kind: 'gone', id });
}

async function work(worker: number): Promise<void> {
  for (let number = 0; ; number += 1) await live(`${worker}-${number}`);
}

await Promise.all([work(1), work(2), work(3)]);
