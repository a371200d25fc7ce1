import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { startKernel } from '../../../node-agent/linux/kernel/kernel.ts';
import { openStorage } from '../../../node-agent/storage/open-storage.ts';
import { isFault } from '../../../src/core/fault.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import type { Acknowledged } from './power-cut-acks.ts';
import { cutPool, cutPoolDirectory, parseCutPool } from './power-cut-pools.ts';
import { NO_CGROUPS } from './storage-lab.ts';

/**
 * Creates, fills, copies, expands and deletes volumes until it is killed, and writes
 * acknowledgements to standard output. Arguments: a directory on the disk whose power is cut, a
 * directory elsewhere for mounts, the name of the pool.
 */
const [disk = '', places = '', wanted] = process.argv.slice(2);
const pool = cutPool(parseCutPool(wanted), disk);
const hasCopies = pool.backend !== 'directory';
await mkdir(cutPoolDirectory(disk), { recursive: true });
await mkdir(places, { recursive: true });

const kernel = startKernel({ name: 'victim' });
const storage = await openStorage(
  { stateDir: join(disk, 'state'), pools: [pool] },
  { kernel, logger: silentLogger, cgroups: NO_CGROUPS },
);
void storage.run(new AbortController().signal);

const fsType = pool.backend === 'image' ? ('ext4' as const) : undefined;
const size = (mebibytes: bigint) => ({ requiredBytes: mebibytes << 20n, limitBytes: 0n });

function say(acknowledged: Acknowledged): void {
  process.stdout.write(`${JSON.stringify(acknowledged)}\n`);
}

/** Runs the life of one volume; workers are independent. */
async function live(name: string): Promise<void> {
  const { id } = await storage.volumes.create({
    name,
    pool: undefined,
    fsType,
    range: size(16n),
    source: undefined,
  });
  say({ kind: 'volume', id, bytes: Number(16n << 20n) });
  const [stagingPath, target] = [join(places, `${id}-staging`), join(places, `${id}-target`)];
  await mkdir(stagingPath);
  await storage.staging.stage(id, stagingPath);
  const accessMode = 'SINGLE_NODE_WRITER' as const;
  await storage.staging.publish({
    volumeId: id,
    stagingPath,
    target,
    readonly: false,
    flags: [],
    accessMode,
  });
  {
    await using file = await open(join(target, 'data'), 'wx');
    await file.writeFile(name.repeat(1_000));
    await file.sync();
    await using directory = await open(target);
    await directory.sync();
  }
  say({ kind: 'data', id, text: name });
  if (hasCopies) {
    const snapshot = await storage.snapshots.create(`of ${name}`, id);
    say({ kind: 'snapshot', id: snapshot.id, text: name });
    const clone = await storage.volumes.create({
      ...{ name: `clone of ${name}`, pool: undefined, range: size(16n) },
      source: { kind: 'volume', id },
    });
    say({ kind: 'volume', id: clone.id, bytes: Number(16n << 20n) });
    say({ kind: 'data', id: clone.id, text: name });
    say({ kind: 'deleting', id: snapshot.id });
    await storage.snapshots.delete(snapshot.id);
    say({ kind: 'deleted', id: snapshot.id });
    await bringAgain(name, id);
    await takeGroup(name, [id, clone.id]);
  }
  if (pool.backend === 'image') {
    const readIOPS = 1_000 + Number(name.split('-')[1]);
    await storage.volumes.modify(id, { readIOPS: BigInt(readIOPS) });
    say({ kind: 'limit', id, readIOPS });
  }
  await storage.staging.unpublish(id, target);
  await storage.staging.unstage(id, stagingPath);
  await storage.volumes.expand(id, size(24n));
  say({ kind: 'volume', id, bytes: Number(24n << 20n) });
  if (Number(name.split('-')[1]) % 2 === 0) return;
  say({ kind: 'deleting', id });
  await storage.volumes.delete(id);
  say({ kind: 'deleted', id });
}

/** Exports the volume, and imports it under another name. */
async function bringAgain(name: string, id: string): Promise<void> {
  const { signal } = new AbortController();
  const chunks: Buffer[] = [];
  {
    await using exported = await storage.transfers.export({ source: id, parent: undefined, signal });
    for await (const chunk of exported.chunks()) chunks.push(chunk);
  }
  const brought = await storage.transfers.import({
    ...{ name: `import of ${name}`, pool: undefined, keepBase: false, signal },
    input: (async function* () {
      yield* chunks;
    })(),
  });
  say({ kind: 'volume', id: brought.id, bytes: Number(brought.sizeBytes) });
  say({ kind: 'data', id: brought.id, text: name });
}

/** Creates a group snapshot of volumes with the same data; every second one is deleted. */
async function takeGroup(name: string, volumeIds: readonly string[]): Promise<void> {
  const group = await storage.groups.create(`group of ${name}`, volumeIds).catch((error: unknown) => {
    // A file system under load may fail to create several snapshots at one instant.
    if (isFault(error, 'unavailable')) return undefined;
    throw error;
  });
  if (group === undefined) return;
  for (const { id } of group.members) say({ kind: 'snapshot', id, text: name });
  say({ kind: 'group', id: group.id, members: group.members.map(({ id }) => id) });
  if (Number(name.split('-')[1]) % 2 === 0) return;
  for (const id of [group.id, ...group.members.map((member) => member.id)]) say({ kind: 'deleting', id });
  await storage.groups.delete(group.id, []);
  for (const { id } of group.members) say({ kind: 'deleted', id });
}

async function work(worker: number): Promise<void> {
  for (let number = 0; ; number += 1) await live(`${worker}-${number}`);
}

await Promise.all([work(1), work(2), work(3)]);
