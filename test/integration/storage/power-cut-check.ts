import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Kernel } from '../../../node-agent/linux/kernel/kernel.ts';
import { openStorage, type Storage } from '../../../node-agent/storage/open-storage.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import type { Promised } from './power-cut-acks.ts';
import { type CutPool, cutPool } from './power-cut-pools.ts';
import { fillAsPod, NO_CGROUPS } from './storage-lab.ts';

/** Limits how many volumes are filled beyond their size: an emulated machine is slow. */
const FILLED = 6;

export interface CutDisk {
  /** The disk whose power was cut, mounted again. */
  readonly disk: string;
  /** A directory elsewhere, for mounts. */
  readonly places: string;
  readonly pool: CutPool;
}

/**
 * Throws unless the service has everything that it acknowledged, with enforced sizes and nothing
 * incomplete; then removes it all.
 */
export async function checkPromised(
  { disk, places, pool }: CutDisk,
  promised: Promised,
  kernel: Kernel,
): Promise<void> {
  const stateDir = join(disk, 'state');
  await using storage = await openStorage(
    { stateDir, pools: [cutPool(pool, disk)] },
    { kernel, logger: silentLogger, cgroups: NO_CGROUPS },
  );
  const { pools, volumes, snapshots, orphans, quarantined } = await storage.health.report();
  assert.deepEqual({ orphans, quarantined }, { orphans: [], quarantined: [] });
  const usable = pools.map(({ problem, isAccepting }) => ({ problem, isAccepting }));
  assert.deepEqual(usable, [{ problem: undefined, isAccepting: true }]);
  const sizes = new Map(volumes.map(({ id, sizeBytes }) => [id, sizeBytes]));
  for (const [id, bytes] of promised.volumes) {
    assert.ok((sizes.get(id) ?? 0n) >= BigInt(bytes), `volume ${id} has ${sizes.get(id)}, not ${bytes}`);
  }
  const present = new Set([...sizes.keys(), ...snapshots.map(({ id }) => id)]);
  for (const id of promised.snapshots) assert.ok(present.has(id), `snapshot ${id} is not there`);
  const groups = new Map(
    storage.groups.list().map(({ id, members }) => [id, members.map((each) => each.id)]),
  );
  for (const [id, members] of promised.groups) {
    assert.deepEqual(groups.get(id)?.toSorted(), members.toSorted(), `group ${id}`);
  }
  for (const [id, readIOPS] of promised.limits) {
    const found = storage.volumes.get(id).attributes?.readIOPS ?? 0n;
    assert.ok(found >= BigInt(readIOPS), `volume ${id} is limited to ${found}, not ${readIOPS}`);
  }
  for (const id of promised.deleted) assert.ok(!present.has(id), `${id} was deleted and is there`);

  for (const [id, text] of promised.texts) {
    const holder = promised.snapshots.has(id) ? await restore(id, storage) : id;
    assert.equal(await readData(holder, places, storage), text.repeat(1_000), `the data of ${id}`);
  }
  if (pools.every(({ quota }) => quota !== 'none')) {
    for (const { id, sizeBytes } of storage.volumes.list().slice(0, FILLED)) {
      const outcome = await fillVolume(id, Number(sizeBytes >> 20n) + 8, places, storage);
      assert.match(outcome, /^(ENOSPC|EDQUOT)$/, `${id} is written beyond its size`);
    }
  }
  for (const { id } of storage.volumes.list()) await storage.volumes.delete(id);
  for (const { id } of storage.groups.list()) await storage.groups.delete(id, []);
  for (const { id } of storage.snapshots.list()) await storage.snapshots.delete(id);
  for (const kind of ['volumes', 'snapshots']) assert.deepEqual(await readdir(join(stateDir, kind)), []);
  await storage.pools.unmount();
}

async function restore(snapshotId: string, storage: Storage): Promise<string> {
  const { id } = await storage.volumes.create({
    ...{ name: `restored ${snapshotId}`, pool: undefined, range: { requiredBytes: 0n, limitBytes: 0n } },
    source: { kind: 'snapshot', id: snapshotId },
  });
  return id;
}

async function readData(volumeId: string, places: string, storage: Storage): Promise<string> {
  return await withVolume(volumeId, { places, storage }, (target) => readFile(join(target, 'data'), 'utf8'));
}

async function fillVolume(
  volumeId: string,
  mebibytes: number,
  places: string,
  storage: Storage,
): Promise<string> {
  return await withVolume(volumeId, { places, storage }, async (target) => {
    const outcome = await fillAsPod(join(target, 'more'), mebibytes);
    await rm(join(target, 'more'));
    return outcome;
  });
}

async function withVolume<T>(
  volumeId: string,
  { places, storage }: { readonly places: string; readonly storage: Storage },
  work: (target: string) => Promise<T>,
): Promise<T> {
  const [stagingPath, target] = [join(places, `${volumeId}-check`), join(places, `${volumeId}-look`)];
  await mkdir(places, { recursive: true });
  await storage.staging.stage(volumeId, stagingPath);
  const accessMode = 'SINGLE_NODE_MULTI_WRITER' as const;
  await storage.staging.publish({ volumeId, stagingPath, target, readonly: false, flags: [], accessMode });
  const result = await work(target);
  await storage.staging.unpublish(volumeId, target);
  return result;
}
