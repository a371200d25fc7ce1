import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { STARTUP_TAINT } from '../../node-agent/kube/startup-taint.ts';
import { AgeFile } from '../../node-agent/storage/removal/orphan-ages.ts';
import { OrphanCollector } from '../../node-agent/storage/removal/orphan-collector.ts';
import { LOCAL_VOLUMES, type LocalVolume } from '../../src/api/local-volume.ts';
import { NODE_INVENTORIES } from '../../src/api/node-inventory.ts';
import { isFault } from '../../src/core/fault.ts';
import { NODES, PERSISTENT_VOLUMES } from '../../src/kube/built-in.ts';
import { listAll } from '../../src/kube/client.ts';
import { HttpKubeClient } from '../../src/kube/http-client.ts';
import { startProcess } from '../../src/runtime/child-process.ts';
import { sleep } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { type ApiServer, startApiServer } from '../integration/apiserver/kube-api-server.ts';
import { installCrds } from '../integration/apiserver/kube-manifests.ts';
import { startStorageLab, type StorageLab } from '../integration/storage/storage-lab.ts';
import { requireTool } from '../tools/require-tool.ts';
import { agentMember } from './agent-member.ts';

const NODE = 'n1';
const KILLS = 12;

/** A node's storage on real btrfs and a real kube-apiserver; the tests follow on each other. */
describe('the agent in a cluster', { timeout: 120_000 }, () => {
  let server: ApiServer;
  let client: HttpKubeClient;
  let lab: StorageLab;
  let agent: RunningAgent | undefined;

  beforeAll(async () => {
    const context = {
      skip: (reason?: string): never => {
        throw new Error(reason ?? 'skipped');
      },
    } as Parameters<typeof startApiServer>[0];
    await requireTool(context, 'kube-apiserver');
    server = await startApiServer(context);
    client = server.client('admin');
    await installCrds(client);
    await client.create(NODES, {
      metadata: { name: NODE },
      spec: {
        taints: [
          { key: 'example.com/other', effect: 'NoSchedule' },
          { key: STARTUP_TAINT, effect: 'NoSchedule' },
        ],
      },
    });
    lab = await startStorageLab();
  }, 180_000);

  beforeEach(async () => {
    agent ??= startAgent(server, lab);
  });

  afterAll(async () => {
    await agent?.stop();
    await lab[Symbol.asyncDispose]();
    client[Symbol.dispose]();
    await server[Symbol.asyncDispose]();
  }, 60_000);

  const create = async (name: string, spec: Partial<LocalVolume['spec']> = {}): Promise<LocalVolume> =>
    await client.create(LOCAL_VOLUMES, {
      metadata: { name },
      spec: {
        nodeName: NODE,
        poolName: 'default',
        type: 'Volume',
        size: '64Mi',
        volumeMode: 'Filesystem',
        ...spec,
      },
    });
  const resize = (name: string, size: string): Promise<LocalVolume> =>
    client.patch(LOCAL_VOLUMES, { name }, { merge: { spec: { size } } });
  const remove = (name: string): Promise<void> => client.delete(LOCAL_VOLUMES, { name });
  const statusOf = async (name: string): Promise<LocalVolume['status']> =>
    (await client.get(LOCAL_VOLUMES, { name })).status;
  const untilStatus = (name: string, status: object): Promise<void> =>
    expect.poll(() => statusOf(name), { timeout: 20_000, interval: 20 }).toMatchObject(status);
  const waitUntilDeleted = (name: string): Promise<void> =>
    expect
      .poll(
        () => client.get(LOCAL_VOLUMES, { name }).catch((error: unknown) => isFault(error, 'not-found')),
        {
          timeout: 20_000,
          interval: 20,
        },
      )
      .toBe(true);
  const inventory = async () => (await client.get(NODE_INVENTORIES, { name: NODE })).status;

  test('the node is published, and only its own taint is removed', async () => {
    const taints = async (): Promise<readonly string[]> =>
      (await client.get(NODES, { name: NODE })).spec?.taints?.map(({ key }) => key) ?? [];
    await expect.poll(taints, { timeout: 10_000 }).not.toContain(STARTUP_TAINT);
    expect(await taints()).toContain('example.com/other');
    await expect.poll(inventory, { timeout: 10_000 }).toMatchObject({
      storage: { pools: [{ name: 'default', ready: true, volumes: 0 }] },
      cpu: { threads: expect.any(Number) as number },
      conditions: expect.arrayContaining([
        expect.objectContaining({ type: 'Ready', status: 'True' }),
        expect.objectContaining({ type: 'Discovered', status: 'True' }),
      ]) as unknown,
    });
  });

  test('a volume becomes Ready, grows, is copied and is deleted; the published capacity follows within a second', async () => {
    await create('pvc-a');
    await untilStatus('pvc-a', { phase: 'Ready', capacity: '64Mi' });
    await expect
      .poll(async () => (await inventory())?.storage, { timeout: 1_000, interval: 50 })
      .toMatchObject({ volumes: 1 });
    await resize('pvc-a', '128Mi');
    await untilStatus('pvc-a', { phase: 'Ready', capacity: '128Mi' });
    await create('snap-a', { type: 'Snapshot', size: '128Mi', source: { volumeName: 'pvc-a' } });
    await create('pvc-b', { size: '128Mi', source: { snapshotName: 'snap-a' } });
    await untilStatus('pvc-b', { phase: 'Ready' });
    for (const name of ['pvc-a', 'snap-a', 'pvc-b']) await remove(name);
    for (const name of ['pvc-a', 'snap-a', 'pvc-b']) await waitUntilDeleted(name);
    expect(lab.storage.volumes.list()).toEqual([]);
    expect(lab.storage.snapshots.list()).toEqual([]);
  });

  test('a volume that exceeds the free space is reported Exhausted and leaves nothing', async () => {
    await create('pvc-large', { size: '2Gi' });
    await untilStatus('pvc-large', { phase: 'Exhausted' });
    await remove('pvc-large');
    await waitUntilDeleted('pvc-large');
    expect(await lab.storage.health.report()).toMatchObject({ volumes: [], orphans: [] });
  });

  test('an idle node writes nothing, and neither does an agent that is restarted', async () => {
    await create('pvc-idle');
    await untilStatus('pvc-idle', { phase: 'Ready' });
    // Space of volumes removed before is freed meanwhile, which is worth one write.
    await sleep(20_000);
    const before = agent?.writes ?? 0;
    await sleep(17_000);
    expect(agent?.writes).toBe(before);
    await agent?.stop();
    agent = startAgent(server, lab);
    await sleep(3_000);
    expect(agent.writes).toBe(0);
    expect(agent.requests).toBeGreaterThan(0);
  });

  test('an outage of the API server changes nothing on disk, and the agent catches up afterwards', async () => {
    await create('pvc-kept');
    await untilStatus('pvc-kept', { phase: 'Ready' });
    const volumes = lab.storage.volumes.list().map(({ id }) => id);
    await server.kill();
    await sleep(5_000);
    expect(lab.storage.volumes.list().map(({ id }) => id)).toEqual(volumes);
    await server.start();
    await create('pvc-after');
    await untilStatus('pvc-after', { phase: 'Ready' });
    for (const name of ['pvc-idle', 'pvc-kept', 'pvc-after']) await remove(name);
    for (const name of ['pvc-idle', 'pvc-kept', 'pvc-after']) await waitUntilDeleted(name);
  });

  test('an agent that is killed repeatedly ends with one volume on disk for each object', async () => {
    await agent?.stop();
    agent = undefined;
    const kubeconfig = join(lab.directory, 'kubeconfig');
    await writeFile(kubeconfig, server.kubeconfig);
    const logFile = join(lab.directory, 'victim.log');
    await lab.restart(async () => {
      for (let round = 0; round < KILLS; round += 1) {
        await using victim = await startProcess({
          name: 'victim',
          file: process.execPath,
          args: [join(import.meta.dirname, 'agent-victim.ts'), lab.stateDir, lab.poolFile, kubeconfig, NODE],
          logFile,
        });
        for (let index = 0; index < 3; index += 1) await create(`pvc-${round}-${index}`, { size: '16Mi' });
        if (round > 0) {
          await remove(`pvc-${round - 1}-0`);
          await resize(`pvc-${round - 1}-1`, '24Mi');
        }
        // At an arbitrary moment of its start or its work, later in each round.
        await sleep(500 + round * 61);
        expect(victim.running, await victim.tail(20)).toBe(true);
        process.kill(victim.pid, 'SIGKILL');
        await victim.exited;
      }
    });
    agent = startAgent(server, lab);
    const objects = async (): Promise<LocalVolume[]> => await listAll(client, LOCAL_VOLUMES);
    await expect
      .poll(async () => (await objects()).filter(({ status }) => status?.phase !== 'Ready').length, {
        timeout: 30_000,
      })
      .toBe(0);
    await expect
      .poll(async () => (await objects()).filter(({ metadata }) => metadata?.deletionTimestamp).length, {
        timeout: 30_000,
      })
      .toBe(0);
    const wanted = (await objects()).map(({ metadata, status }) => [metadata?.name, status?.volumeHandle]);
    expect(wanted).toHaveLength(KILLS * 3 - (KILLS - 1));
    await expect
      .poll(
        () =>
          lab.storage.volumes
            .list()
            .map(({ name, id }) => [name, id])
            .sort(),
        { timeout: 10_000 },
      )
      .toEqual(wanted.sort());
    expect(await lab.storage.health.report()).toMatchObject({ orphans: [], quarantined: [] });
    for (const { metadata } of await objects()) await remove(metadata?.name ?? '');
    await expect.poll(objects, { timeout: 30_000 }).toEqual([]);
    expect(await lab.storage.health.report()).toMatchObject({ volumes: [], orphans: [] });
  });

  test('orphans are reported and removed after their grace period; the volume of a manual PersistentVolume stays', async () => {
    const [leaked, imported] = await Promise.all(
      ['leaked', 'imported'].map((name) =>
        lab.storage.volumes.create({
          ...{ name, pool: undefined, source: undefined },
          range: { requiredBytes: 64n << 20n, limitBytes: 0n },
        }),
      ),
    );
    await client.create(PERSISTENT_VOLUMES, {
      metadata: { name: 'by-hand' },
      spec: {
        ...{ accessModes: ['ReadWriteOnce'], capacity: { storage: '64Mi' } },
        csi: { driver: 'keelson.dev', volumeHandle: imported?.id ?? '' },
      },
    });
    await create('pvc-kept');
    await untilStatus('pvc-kept', { phase: 'Ready' });
    agent?.changed();
    const orphaned = async () =>
      (await inventory())?.conditions?.find(({ type }) => type === 'OrphanedVolumes')?.message ?? '';
    await expect.poll(orphaned, { timeout: 10_000 }).toContain(`leaked (${leaked?.id ?? ''})`);
    const end = new AbortController();
    const collecting = agent?.collectOrphans(2_000, end.signal);
    const names = (): readonly string[] => lab.storage.volumes.list().map(({ name }) => name);
    try {
      await expect.poll(() => names().toSorted(), { timeout: 30_000 }).toEqual(['imported', 'pvc-kept']);
      await expect.poll(orphaned, { timeout: 10_000 }).not.toContain('leaked');
      // An unavailable API server must not cause a removal.
      await server.kill();
      await sleep(5_000);
      expect(names().toSorted()).toEqual(['imported', 'pvc-kept']);
      await server.start();
      await client.delete(PERSISTENT_VOLUMES, { name: 'by-hand' });
      // No other client would remove its finalizer.
      const unprotected = { merge: { metadata: { finalizers: [] } } };
      await client.patch(PERSISTENT_VOLUMES, { name: 'by-hand' }, unprotected);
      await expect.poll(names, { timeout: 30_000 }).toEqual(['pvc-kept']);
    } finally {
      end.abort(new DOMException('stop', 'AbortError'));
      await collecting;
    }
    await remove('pvc-kept');
    await waitUntilDeleted('pvc-kept');
  });
});

interface RunningAgent {
  readonly requests: number;
  readonly writes: number;
  /** The storage changed without a notification of the agent. */
  changed(): void;
  /** Until the signal aborts. */
  collectOrphans(graceMs: number, signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

/** The agent's part in the cluster, in this process, on the storage of the lab. */
function startAgent(server: ApiServer, lab: StorageLab): RunningAgent {
  const counted = { requests: 0, writes: 0 };
  const client = new HttpKubeClient(
    { access: server.access('admin'), userAgent: 'keelson-agent/test', qps: 500, burst: 500 },
    {
      observer: {
        completed(verb) {
          counted.requests += 1;
          if (!['get', 'list', 'watch'].includes(verb)) counted.writes += 1;
        },
        throttled: () => undefined,
      },
    },
  );
  const member = agentMember(NODE, { client, logger: silentLogger });
  const end = new AbortController();
  const { storage } = lab;
  lab.onUsageChange = () => member.storageChanged();
  member.storageOpened(storage);
  member.readinessChanged();
  const running = Promise.all([member.run(end.signal), storage.run(end.signal)]);
  return {
    get requests() {
      return counted.requests;
    },
    get writes() {
      return counted.writes;
    },
    changed: () => member.storageChanged(),
    async collectOrphans(graceMs, signal) {
      const ages = new AgeFile({ stateDir: lab.stateDir }, { logger: silentLogger });
      await new OrphanCollector({ graceMs }, { storage, references: member, ages, logger: silentLogger }).run(
        signal,
      );
    },
    async stop() {
      end.abort(new DOMException('stop', 'AbortError'));
      await running;
      client[Symbol.dispose]();
    },
  };
}
