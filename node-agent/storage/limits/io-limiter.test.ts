import { describe, expect, it } from 'vitest';
import { ANY_SIZE } from '../../../src/core/volumes/volume-size.ts';
import type { VolumeAttributes } from '../../../src/core/volumes/volume-attributes.ts';
import { createFakeDisk, FakePool, openFakeRecords, startStorage } from '../../../test/fakes/fake-storage.ts';
import type { IoCgroups } from '../../linux/process/io-cgroups.ts';
import type { StorageServices } from '../services.ts';

/** The kernel's own: limits by cgroup and device, which stay when a device goes. */
class FakeCgroups implements IoCgroups {
  readonly isFlat = true;
  readonly groups = ['/'];
  readonly limits = new Map<string, VolumeAttributes>();
  failure: Error | undefined;

  async list(): Promise<readonly string[]> {
    return this.groups;
  }

  async limit(group: string, device: string, attributes: VolumeAttributes): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    if (Object.keys(attributes).length === 0) this.limits.delete(`${group} ${device}`);
    else this.limits.set(`${group} ${device}`, attributes);
  }
}

/** A machine: what survives a restart of the service. */
const createMachine = () => {
  let recorded: ReadonlyMap<string, string> = new Map();
  const cgroups = new FakeCgroups();
  const disk = createFakeDisk();
  const pool = new FakePool({ quotaMode: 'file' });
  const devices = {
    read: async () => recorded,
    write: async (next: ReadonlyMap<string, string>) => void (recorded = new Map(next)),
  };
  return {
    cgroups,
    pool,
    limitedDevices: () => [...recorded.keys()],
    start: () => startStorage([pool], openFakeRecords(disk), { io: { cgroups, devices } }),
  };
};

const SLOW = { writeBandwidth: 4n << 20n };
const create = (storage: StorageServices, name: string, attributes?: VolumeAttributes) =>
  storage.volumes.create({ name, pool: undefined, range: ANY_SIZE, source: undefined, attributes });

describe('a volume with limits', () => {
  it('has them from its staging to its unstaging', async () => {
    const { cgroups, pool, start, limitedDevices } = createMachine();
    const storage = await start();
    const { id } = await create(storage, 'v', SLOW);
    expect(cgroups.limits.size).toBe(0);
    pool.devices.set(id, '7:3');
    await storage.staging.stage(id, '/staging');
    expect([...cgroups.limits]).toEqual([['/ 7:3', SLOW]]);
    await storage.staging.unstage(id, '/staging');
    expect([...cgroups.limits, ...limitedDevices()]).toEqual([]);
  });

  it('gets other limits while it is staged, and finally none', async () => {
    const { cgroups, pool, start } = createMachine();
    const storage = await start();
    const { id } = await create(storage, 'v');
    pool.devices.set(id, '7:3');
    await storage.staging.stage(id, '/staging');
    expect(cgroups.limits.size).toBe(0);
    await storage.volumes.modify(id, { readIOPS: 100n });
    expect([...cgroups.limits]).toEqual([['/ 7:3', { readIOPS: 100n }]]);
    await storage.volumes.modify(id, SLOW);
    expect([...cgroups.limits]).toEqual([['/ 7:3', SLOW]]);
    await storage.volumes.modify(id, {});
    expect(cgroups.limits.size).toBe(0);
    expect(storage.volumes.get(id).attributes).toBeUndefined();
  });

  it('loses them when it is deleted without being unstaged', async () => {
    const { cgroups, pool, start } = createMachine();
    const storage = await start();
    const { id } = await create(storage, 'v', SLOW);
    pool.devices.set(id, '7:3');
    await storage.staging.stage(id, '/staging');
    await storage.volumes.delete(id);
    expect(cgroups.limits.size).toBe(0);
  });

  it('has them again after a reboot', async () => {
    const { cgroups, pool, start } = createMachine();
    const storage = await start();
    const { id } = await create(storage, 'v', SLOW);
    pool.devices.set(id, '7:3');
    await storage.staging.stage(id, '/staging');
    cgroups.limits.clear();
    pool.devices.set(id, '7:9');
    await start();
    expect([...cgroups.limits]).toEqual([['/ 7:9', SLOW]]);
  });

  it('leaves no limits to the next user of its device after a crash', async () => {
    const { cgroups, pool, start } = createMachine();
    const storage = await start();
    const { id } = await create(storage, 'v', SLOW);
    pool.devices.set(id, '7:3');
    await storage.staging.stage(id, '/staging');
    cgroups.failure = new Error('killed here');
    await storage.staging.unstage(id, '/staging');
    cgroups.failure = undefined;
    expect(cgroups.limits.size).toBe(1);
    await start();
    expect(cgroups.limits.size).toBe(0);
  });

  it('is not staged if the kernel refuses them', async () => {
    const { cgroups, pool, start } = createMachine();
    const storage = await start();
    const { id } = await create(storage, 'v', SLOW);
    pool.devices.set(id, '7:3');
    cgroups.failure = new Error('no room for limits');
    await expect(storage.staging.stage(id, '/staging')).rejects.toThrow('no room');
    expect(storage.volumes.get(id).staged).toEqual([]);
  });

  it('has them in cgroups that are created later', async () => {
    const { cgroups, pool, start } = createMachine();
    const storage = await start();
    const { id } = await create(storage, 'v', SLOW);
    pool.devices.set(id, '7:3');
    await storage.staging.stage(id, '/staging');
    const ended = new AbortController();
    const running = storage.run(ended.signal);
    cgroups.groups.push('/pod');
    await expect.poll(() => cgroups.limits.get('/pod 7:3'), { timeout: 10_000 }).toEqual(SLOW);
    ended.abort();
    await running;
  });
});

describe('limits that are not supported', () => {
  it.each([
    [
      'Filesystem',
      SLOW,
      'pool default (btrfs) does not support writeBandwidth of a Filesystem volume; I/O limits',
    ],
    ['Block', { quotaInodes: 100n }, 'does not support quotaInodes of a Block volume; quotaInodes needs'],
  ] as const)('are refused for a %s volume on btrfs', async (volumeMode, attributes, message) => {
    const cgroups = new FakeCgroups();
    const devices = { read: async () => new Map<string, string>(), write: async () => undefined };
    const storage = await startStorage([new FakePool()], openFakeRecords(createFakeDisk()), {
      io: { cgroups, devices },
    });
    const { id } = await storage.volumes.create({
      name: 'v',
      pool: undefined,
      volumeMode,
      range: ANY_SIZE,
      source: undefined,
    });
    await expect(storage.volumes.modify(id, attributes)).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringContaining(message) as string,
    });
    expect(storage.volumes.get(id).attributes).toBeUndefined();
  });

  it('are refused on a host without cgroups that limit I/O', async () => {
    const pool = new FakePool({ quotaMode: 'file' });
    const storage = await startStorage([pool], openFakeRecords(createFakeDisk()), {});
    await expect(create(storage, 'v', SLOW)).rejects.toMatchObject({ kind: 'invalid' });
    const { id } = await create(storage, 'v');
    await expect(storage.volumes.modify(id, SLOW)).rejects.toMatchObject({ kind: 'invalid' });
  });
});

it('a new volume with limits is created in a pool that supports them', async () => {
  const cgroups = new FakeCgroups();
  const devices = { read: async () => new Map<string, string>(), write: async () => undefined };
  const large = new FakePool({ name: 'large', totalBytes: 100n << 30n });
  const files = new FakePool({ name: 'files', totalBytes: 10n << 30n, quotaMode: 'file' });
  const storage = await startStorage([large, files], openFakeRecords(createFakeDisk()), {
    io: { cgroups, devices },
  });
  expect((await create(storage, 'v', SLOW)).pool).toBe('files');
  expect((await create(storage, 'w')).pool).toBe('large');
});
