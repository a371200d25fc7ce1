import { describe, expect, it, test } from 'vitest';
import { Fault } from '../../src/core/fault.ts';
import type { VolumeProblem } from '../../src/core/volumes/volume-health.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { createFakeDisk, FakePool, openFakeRecords, startStorage } from '../../test/fakes/fake-storage.ts';
import type { VolumeStats } from '../storage/staging/staging.ts';
import { createNode } from './node.ts';

const POOL_NOT_OPEN: VolumeProblem = {
  status: 'inaccessible',
  reason: 'PoolUnavailable',
  message: 'pool a: no device',
};
const request = { volume_id: 'v', volume_path: '/pods/a', staging_target_path: '' };

/** The answer to NodeGetVolumeStats when the storage service says this. */
async function ask(
  stats: VolumeStats | Fault,
  problems: readonly VolumeProblem[],
  conditionMessage?: string,
): Promise<unknown> {
  const services = await startStorage([new FakePool()], openFakeRecords(createFakeDisk()));
  const storage = {
    ...services,
    health: {
      ...services.health,
      checkVolume: async () => problems,
      conditionMessage: () => conditionMessage,
    },
    staging: {
      ...services.staging,
      stats: async () => {
        if (stats instanceof Fault) throw stats;
        return stats;
      },
    },
  };
  const node = createNode({ nodeName: 'node-a', maxVolumesPerNode: 10 }, { storage });
  return await node.NodeGetVolumeStats?.(request, {
    signal: new AbortController().signal,
    logger: silentLogger,
  });
}

test.each([
  [{}, false],
  [{ volumeMountGroup: false }, false],
  [{ volumeMountGroup: true }, true],
])('with options %j, VOLUME_MOUNT_GROUP is offered: %j', async (options, isOffered) => {
  const storage = await startStorage([new FakePool()], openFakeRecords(createFakeDisk()));
  const node = createNode({ nodeName: 'node-a', maxVolumesPerNode: 10, ...options }, { storage });
  const context = { signal: new AbortController().signal, logger: silentLogger };
  const { capabilities = [] } = (await node.NodeGetCapabilities?.({}, context)) ?? {};
  const offered = capabilities.map(({ rpc }) => rpc?.type);
  expect(offered.includes('VOLUME_MOUNT_GROUP')).toBe(isOffered);
  expect(offered).toContain('STAGE_UNSTAGE_VOLUME');
});

describe('the statistics of a volume', () => {
  const inodes = { total: 10n, used: 3n, available: 7n };
  const stats = { totalBytes: 100n, usedBytes: 40n, availableBytes: 60n };

  it('include inodes where the file system has a fixed number', async () => {
    const bytes = { unit: 'BYTES', total: '100', used: '40', available: '60' };
    const well = { abnormal: false, message: 'the volume is healthy' };
    expect(await ask(stats, [])).toEqual({ usage: [bytes], volume_condition: well });
    expect(await ask({ ...stats, inodes }, [])).toEqual({
      usage: [bytes, { unit: 'INODES', total: '10', used: '3', available: '7' }],
      volume_condition: well,
    });
  });

  it('include the condition message of a healthy volume', async () => {
    expect(await ask(stats, [], 'its size is not enforced')).toMatchObject({
      volume_condition: { abnormal: false, message: 'its size is not enforced' },
    });
  });

  it('are only its condition while it cannot be measured', async () => {
    expect(await ask(new Fault('unavailable', 'pool a is not open'), [POOL_NOT_OPEN])).toEqual({
      usage: [],
      volume_condition: { abnormal: true, message: 'PoolUnavailable: pool a: no device' },
    });
  });

  it('fail if no condition explains why they are absent', async () => {
    await expect(ask(new Fault('unavailable', 'pool a is not open'), [])).rejects.toMatchObject({
      kind: 'unavailable',
    });
  });

  it('are not-found at a path without the volume, healthy or not', async () => {
    await expect(ask(new Fault('not-found', 'not at /pods/a'), [POOL_NOT_OPEN])).rejects.toMatchObject({
      kind: 'not-found',
    });
  });
});
