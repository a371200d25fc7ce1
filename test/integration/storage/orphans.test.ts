import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AgeFile } from '../../../node-agent/storage/removal/orphan-ages.ts';
import { OrphanCollector } from '../../../node-agent/storage/removal/orphan-collector.ts';
import { silentLogger } from '../../../src/runtime/logger.ts';
import { MIB, requireRoot, startStorageLab, type StorageLab } from './storage-lab.ts';

beforeEach((context) => requireRoot(context));

describe.each(['btrfs', 'image'] as const)('data without a record in a %s pool', (backend) => {
  let lab: StorageLab;
  beforeEach(async () => {
    lab = await startStorageLab({ backend });
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  const make = async (name: string): Promise<string> => {
    const { id } = await lab.storage.volumes.create({
      name,
      pool: undefined,
      range: { requiredBytes: 128n * MIB, limitBytes: 0n },
      source: undefined,
    });
    return id;
  };
  const recordOf = (id: string): string => join(lab.stateDir, 'volumes', `${id}.json`);
  /** Lists data that is not discarded. */
  const present = async (): Promise<readonly string[]> =>
    (await readdir(join(lab.mountPoint, 'volumes'))).filter((name) => name.startsWith('vol-'));
  const orphans = async (): Promise<readonly string[]> =>
    (await lab.storage.health.report()).orphans.map(({ id }) => id);

  test('is reported, and removed after its grace period', async () => {
    const kept = await make('kept');
    const lost = await make('lost');
    await lab.restart(() => rm(recordOf(lost)));
    expect(await orphans()).toEqual([lost]);
    const end = new AbortController();
    const ages = new AgeFile({ stateDir: lab.stateDir }, { logger: silentLogger });
    const deps = { storage: lab.storage, references: undefined, ages, logger: silentLogger };
    const running = new OrphanCollector({ graceMs: 1_000 }, deps).run(end.signal);
    try {
      await expect.poll(orphans, { timeout: 20_000 }).toEqual([]);
      expect(await present()).toEqual([expect.stringContaining(kept)]);
      await expect.poll(() => ages.read(), { timeout: 20_000 }).toEqual({});
      expect(await readdir(lab.stateDir)).not.toContain('orphans.json');
    } finally {
      end.abort(new DOMException('stop', 'AbortError'));
      await running;
    }
  });

  test('stays while a pod uses it', async () => {
    const lost = await make('lost');
    await lab.publish(lost);
    const record = await readFile(recordOf(lost), 'utf8');
    await lab.restart(() => rm(recordOf(lost)));
    await expect(lab.storage.pools.removeUnrecorded('default', lost)).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining('is in use: mounted at') as string,
    });
    expect(await present()).toHaveLength(1);
    // With its record it can be unmounted.
    await lab.restart(() => writeFile(recordOf(lost), record));
    expect(await orphans()).toEqual([]);
  });

  test('is not unrecorded if its record is quarantined', async () => {
    const torn = await make('torn');
    await lab.restart(() => writeFile(recordOf(torn), '{'));
    const { quarantined } = await lab.storage.health.report();
    expect(quarantined).toMatchObject([{ file: recordOf(torn) }]);
    expect(await orphans()).toEqual([]);
    await expect(lab.storage.pools.removeUnrecorded('default', torn)).rejects.toMatchObject({
      kind: 'precondition',
    });
    expect(await present()).toHaveLength(1);
  });

  test('excludes data with a record, and foreign files', async () => {
    const id = await make('v');
    for (const wanted of [id, '../volumes', 'lost+found']) {
      await expect(lab.storage.pools.removeUnrecorded('default', wanted)).rejects.toMatchObject({
        kind: 'precondition',
      });
    }
    await lab.storage.pools.removeUnrecorded('default', `vol-${'0'.repeat(24)}`);
    expect(await present()).toHaveLength(1);
  });
});
