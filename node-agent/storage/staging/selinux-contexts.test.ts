import { silentLogger } from '../../../src/runtime/logger.ts';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { SelinuxState } from '../../../src/core/volumes/selinux-context.ts';
import type { VolumeMode } from '../../../src/core/volumes/volume.ts';
import { ANY_SIZE } from '../../../src/core/volumes/volume-size.ts';
import { CrashPoint, FakePool, startStorage } from '../../../test/fakes/fake-storage.ts';
import { openRecordStore } from '../records/record-store.ts';
import type { StorageServices } from '../services.ts';

const label = (categories: string): string => `system_u:object_r:container_file_t:s0:${categories}`;
const [ONE, OTHER] = [label('c1,c2'), label('c3,c4')];
const asKubelet = (context: string): string[] => [`context="${context}"`];

interface Node extends AsyncDisposable {
  readonly pool: FakePool;
  /** May change while the storage service runs, and at any boot. */
  selinux: SelinuxState;
  storage: StorageServices;
  /** What the file of its record says. */
  readRecord(id: string): Promise<string>;
  restart(how?: { readonly isReboot?: boolean; readonly crash?: CrashPoint }): Promise<void>;
  createVolume(volumeMode?: VolumeMode): Promise<string>;
  publish(id: string, target: string, flags?: readonly string[]): Promise<void>;
}

/** Records in files, on a pool in memory. */
async function startNode(pool = new FakePool({ quotaMode: 'file' })): Promise<Node> {
  const stateDir = await mkdtemp(join(tmpdir(), 'keelson-contexts-'));
  const start = async (crash?: CrashPoint): Promise<StorageServices> => {
    const records = await openRecordStore({ stateDir }, { logger: silentLogger });
    const deps = { selinux: { read: async () => node.selinux } };
    if (crash === undefined) return await startStorage([pool], records, deps);
    const { name, policy, backend } = pool;
    const mounts = crash.guard(pool.mounts, ['attach', 'detach']);
    const mortal = { name, policy, backend, mounts, checkHealth: () => pool.checkHealth() };
    return await startStorage([mortal], crash.guard(records, ['saveVolume']), deps);
  };
  const node: Node = {
    pool,
    selinux: 'active',
    storage: undefined as unknown as StorageServices,
    readRecord: (id) => readFile(join(stateDir, 'volumes', `${id}.json`), 'utf8'),
    async restart({ isReboot = false, crash } = {}) {
      if (isReboot) for (const places of [pool.attached, pool.contexts, pool.mounted]) places.clear();
      node.storage = await start(crash);
    },
    async createVolume(volumeMode = 'Filesystem') {
      const request = { name: volumeMode, pool: undefined, range: ANY_SIZE, source: undefined, volumeMode };
      return (await node.storage.volumes.create(request)).id;
    },
    publish: (volumeId, target, flags = []) =>
      node.storage.staging.publish({
        ...{ volumeId, stagingPath: '/staging', target, flags },
        ...{ readonly: false, accessMode: 'SINGLE_NODE_MULTI_WRITER' },
      }),
    [Symbol.asyncDispose]: () => rm(stateDir, { recursive: true }),
  };
  node.storage = await start();
  return node;
}

describe('a volume with a file system of its own', () => {
  it('has its context from its staging on, recorded while it is staged', async () => {
    await using node = await startNode();
    const id = await node.createVolume();
    const before = await node.readRecord(id);
    expect(before).not.toContain('selinux');
    await node.storage.staging.stage(id, '/staging', { flags: ['noatime', ...asKubelet(ONE)] });
    await node.storage.staging.stage(id, '/staging', { flags: [`context=${ONE}`] });
    expect(node.pool.contexts.get(id)).toBe(ONE);
    expect(JSON.parse(await node.readRecord(id))).toMatchObject({ selinuxContext: ONE });

    await node.storage.staging.stage(id, '/more');
    await node.storage.staging.unstage(id, '/staging');
    expect(node.pool.contexts.get(id)).toBe(ONE);
    await node.storage.staging.unstage(id, '/more');
    expect(await node.readRecord(id)).toBe(before);
    await node.storage.staging.stage(id, '/staging');
    expect(node.pool.contexts.has(id)).toBe(false);
  });

  it('is published with that context or without one, never with another', async () => {
    await using node = await startNode();
    const id = await node.createVolume();
    await node.storage.staging.stage(id, '/staging', { flags: asKubelet(ONE) });
    await node.publish(id, '/same', asKubelet(ONE));
    await node.publish(id, '/same', asKubelet(ONE));
    await node.publish(id, '/inherits', ['nosuid']);
    await expect(node.publish(id, '/other', asKubelet(OTHER))).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringMatching(`staged with context ${ONE}, .* with context ${OTHER}`) as string,
    });
    expect([...node.pool.mounted.keys()]).toEqual(['/same', '/inherits']);
    const { plan } = node.pool.mounted.get('/same') ?? {};
    expect(plan).toEqual({ readonly: false, set: 0n, clear: 0n });
  });

  it('that was staged without one is published without one', async () => {
    await using node = await startNode();
    const id = await node.createVolume();
    await node.storage.staging.stage(id, '/staging');
    await expect(node.publish(id, '/target', asKubelet(ONE))).rejects.toThrow(/staged without a context/);
  });

  it('keeps its context while it is in use', async () => {
    await using node = await startNode();
    const id = await node.createVolume();
    await node.storage.staging.stage(id, '/staging', { flags: asKubelet(ONE) });
    const refused = { kind: 'precondition', message: expect.stringMatching(`${ONE}.*${OTHER}`) as string };
    await expect(node.storage.staging.stage(id, '/more', { flags: asKubelet(OTHER) })).rejects.toMatchObject(
      refused,
    );
    await node.publish(id, '/target');
    await expect(
      node.storage.staging.stage(id, '/staging', { flags: asKubelet(OTHER) }),
    ).rejects.toMatchObject(refused);
    await expect(node.storage.staging.unstage(id, '/staging')).rejects.toThrow(
      /in use at \/target; unpublish it/,
    );
    expect(node.pool.contexts.get(id)).toBe(ONE);
    expect(node.storage.volumes.get(id).staged).toEqual(['/staging']);
  });

  it('is attached with its context after a restart, and after a reboot, without a call', async () => {
    await using node = await startNode();
    const id = await node.createVolume();
    await node.storage.staging.stage(id, '/staging', { flags: asKubelet(ONE) });
    await node.publish(id, '/target');
    for (const isReboot of [false, true]) {
      await node.restart({ isReboot });
      expect(node.pool.contexts.get(id)).toBe(ONE);
    }
  });

  it('accepts another context after a reboot, when no pod uses it', async () => {
    await using node = await startNode();
    const id = await node.createVolume();
    await node.storage.staging.stage(id, '/staging', { flags: asKubelet(ONE) });
    await node.publish(id, '/target');
    await node.restart({ isReboot: true });
    await node.storage.staging.stage(id, '/staging', { flags: asKubelet(OTHER) });
    await node.publish(id, '/target', asKubelet(OTHER));
    expect(node.pool.contexts.get(id)).toBe(OTHER);
    expect(JSON.parse(await node.readRecord(id))).toMatchObject({ selinuxContext: OTHER });
  });

  it.each([false, true])(
    'can be killed at every step to another context (after the effect: %s)',
    async (after) => {
      for (let step = 1; ; step += 1) {
        await using node = await startNode();
        const id = await node.createVolume();
        await node.storage.staging.stage(id, '/staging', { flags: asKubelet(ONE) });
        // A start attaches what is staged, which is the first effect.
        const crash = new CrashPoint({ step: step + 1, after });
        await node.restart({ crash });
        const outcome = await node.storage.staging
          .stage(id, '/staging', { flags: asKubelet(OTHER) })
          .catch(() => 'killed');
        if (!crash.fired) {
          expect([outcome, step]).toEqual([undefined, 4]);
          break;
        }
        await node.restart();
        expect(node.pool.contexts.get(id)).toBe(node.storage.volumes.get(id).selinuxContext);
        await node.storage.staging.stage(id, '/staging', { flags: asKubelet(OTHER) });
        expect(node.pool.contexts.get(id)).toBe(OTHER);
        expect(node.storage.volumes.get(id).selinuxContext).toBe(OTHER);
      }
    },
  );

  it('waits for NodeStageVolume after a boot without SELinux, and has no context then', async () => {
    await using node = await startNode();
    const id = await node.createVolume();
    await node.storage.staging.stage(id, '/staging', { flags: asKubelet(ONE) });
    await node.publish(id, '/target', asKubelet(ONE));
    node.selinux = 'absent';
    await node.restart({ isReboot: true });
    expect(node.pool.attached.has(id)).toBe(false);
    await node.storage.staging.stage(id, '/staging');
    await node.publish(id, '/target');
    expect([node.pool.attached.has(id), node.pool.contexts.has(id)]).toEqual([true, false]);
    expect(await node.readRecord(id)).not.toContain('selinux');
  });

  it('that cannot be attached keeps its former record', async () => {
    await using node = await startNode();
    const id = await node.createVolume();
    await node.storage.staging.stage(id, '/staging', { flags: asKubelet(ONE) });
    const { attach } = node.pool.mounts;
    node.pool.mounts.attach = async () => {
      throw new Error('broken');
    };
    await expect(node.storage.staging.stage(id, '/staging', { flags: asKubelet(OTHER) })).rejects.toThrow(
      'broken',
    );
    expect(node.storage.volumes.get(id)).toMatchObject({ staged: ['/staging'], selinuxContext: ONE });
    expect(node.pool.attached.has(id)).toBe(false);
    node.pool.mounts.attach = attach;
    await node.storage.staging.stage(id, '/staging', { flags: asKubelet(OTHER) });
    expect(node.pool.contexts.get(id)).toBe(OTHER);
  });

  it.each(['absent', 'no-policy'] as const)('has no context where SELinux is %s', async (selinux) => {
    await using node = await startNode();
    const id = await node.createVolume();
    node.selinux = selinux;
    await expect(node.storage.staging.stage(id, '/staging', { flags: asKubelet(ONE) })).rejects.toMatchObject(
      {
        kind: 'precondition',
      },
    );
    expect(node.storage.volumes.get(id).staged).toEqual([]);
    await node.storage.staging.stage(id, '/staging');
    await expect(node.publish(id, '/target', asKubelet(ONE))).rejects.toMatchObject({ kind: 'precondition' });
  });

  it('of a pod has the context of its publication', async () => {
    await using node = await startNode();
    const ephemeral = (handle: string, flags: readonly string[]) =>
      node.storage.ephemerals.publish({
        ...{ handle, pool: undefined, range: ANY_SIZE, target: `/pods/${handle}`, flags },
        ...{ readonly: false, accessMode: 'SINGLE_NODE_WRITER' },
      });
    await ephemeral('csi-1', asKubelet(ONE));
    await ephemeral('csi-1', asKubelet(ONE));
    const { id } = node.storage.ephemerals.find('csi-1') ?? { id: '' };
    expect(node.pool.contexts.get(id)).toBe(ONE);
    await node.storage.ephemerals.unpublish('csi-1', '/pods/csi-1');
    node.selinux = 'absent';
    await expect(ephemeral('csi-2', asKubelet(ONE))).rejects.toMatchObject({ kind: 'precondition' });
    expect([...node.pool.volumes.keys()]).toEqual([]);
  });
});

describe('a volume without a file system of its own', () => {
  it.each([
    ['btrfs', new FakePool(), 'Filesystem'],
    ['image, as a device', new FakePool({ quotaMode: 'file' }), 'Block'],
  ] as const)('(%s) is refused a context, by name and with what to do', async (_, pool, mode) => {
    await using node = await startNode(pool);
    const id = await node.createVolume(mode);
    // The same on a host without SELinux: there it could not be had either.
    node.selinux = 'absent';
    const refused = { kind: 'invalid', message: expect.stringMatching(`${ONE}.*backend image`) as string };
    await expect(node.storage.staging.stage(id, '/staging', { flags: asKubelet(ONE) })).rejects.toMatchObject(
      refused,
    );
    await node.storage.staging.stage(id, '/staging');
    await expect(node.publish(id, '/target', asKubelet(ONE))).rejects.toMatchObject(refused);
  });
});
