import { afterEach, expect, test } from 'vitest';
import { LOCAL_VOLUMES } from '../../src/api/local-volume.ts';
import { NODE_INVENTORIES } from '../../src/api/node-inventory.ts';
import { Fault } from '../../src/core/fault.ts';
import { NODES } from '../../src/kube/built-in.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { FakeApiClient } from '../../test/fakes/fake-api-client.ts';
import { FakeClock } from '../../test/fakes/fake-clock.ts';
import { FakeFiles } from '../../test/fakes/fake-files.ts';
import { startMemoryStorage } from '../../test/fakes/volume-store.ts';
import { ClusterMember } from './cluster-member.ts';
import { STARTUP_TAINT } from './startup-taint.ts';

const GIB = 1n << 30n;
let stop: (() => Promise<void>) | undefined;
afterEach(async () => {
  await stop?.();
  stop = undefined;
});

async function setup() {
  const client = new FakeApiClient();
  await client.create(NODES, {
    metadata: { name: 'n1' },
    spec: { taints: [{ key: STARTUP_TAINT, effect: 'NoSchedule' }] },
    status: { nodeInfo: { osImage: 'Debian', containerRuntimeVersion: 'containerd://2.1.0' } as never },
  });
  const clock = new FakeClock();
  const files = new FakeFiles({
    '/proc/sys/kernel/osrelease': '6.12.0\n',
    '/proc/self/cgroup': '0::/\n',
    '/proc/filesystems': '\tbtrfs\n',
    '/proc/cpuinfo': 'processor : 0\n',
    '/proc/meminfo': 'MemTotal: 1024 kB\n',
  });
  const strays: { list: readonly string[] } = { list: [] };
  let onUsageChange = (): void => undefined;
  const memory = await startMemoryStorage({
    totalBytes: 100n * GIB,
    onUsageChange: () => onUsageChange(),
  });
  const start = async () => {
    let fault: Fault | undefined = new Fault('unavailable', 'the pools are being opened');
    const member = new ClusterMember(
      {
        nodeName: 'n1',
        agentVersion: '1.0.0',
        architecture: 'x64',
        kubeletDir: undefined,
        pools: [{ name: 'default', backend: 'btrfs' }],
        network: { mtu: 'auto' },
      },
      {
        client,
        files,
        notServing: () => fault,
        network: () => ({ ranges: ['10.88.0.0/24'], unreachable: [], strays: strays.list }),
        proxy: { files: { replace: async () => false }, directory: '/none', askProxy: async () => undefined },
        logger: silentLogger,
        clock,
      },
    );
    const { storage } = memory;
    onUsageChange = () => member.storageChanged();
    const end = new AbortController();
    const running = member.run(end.signal);
    stop = async () => {
      end.abort(new DOMException('stop', 'AbortError'));
      await running;
    };
    await clock.advance(500);
    return {
      member,
      storage,
      async serve() {
        member.storageOpened(storage);
        fault = undefined;
        member.readinessChanged();
        await clock.advance(500);
      },
    };
  };
  const inventory = async () => (await client.get(NODE_INVENTORIES, { name: 'n1' })).status;
  const writes = () => client.calls.filter((call) => /^(patch|create|update|delete)/.test(call)).length;
  return { client, clock, files, strays, start, inventory, writes };
}

test('the node is published before it serves, and its taint goes when it does', async () => {
  const { client, clock, start, inventory } = await setup();
  const { serve } = await start();
  await clock.advance(10_000);
  expect(await inventory()).toMatchObject({
    operatingSystem: 'Debian',
    runtime: { name: 'containerd', proxied: false },
    network: { ranges: ['10.88.0.0/24'] },
    storage: { pools: [{ name: 'default', ready: false, reason: 'the pools are being opened' }] },
  });
  expect((await client.get(NODES, { name: 'n1' })).spec?.taints).toHaveLength(1);
  await serve();
  expect((await client.get(NODES, { name: 'n1' })).spec?.taints).toEqual([]);
  const status = await inventory();
  expect(status?.storage?.pools).toMatchObject([{ ready: true, capacity: '95Gi', largestVolume: '95Gi' }]);
  expect(status?.conditions?.map(({ type, status: holds }) => [type, holds])).toEqual([
    ['Ready', 'True'],
    ['Discovered', 'True'],
    ['OrphanedVolumes', 'False'],
    ['PeersReachable', 'True'],
    ['FormerAddresses', 'False'],
  ]);
});

test('figures follow a volume within a second, and an idle node writes nothing', async () => {
  const { clock, client, start, inventory, writes } = await setup();
  const { serve, storage } = await start();
  await serve();
  await clock.advance(60_000);
  const range = { requiredBytes: GIB, limitBytes: 0n };
  await storage.volumes.create({ name: 'by-hand', pool: undefined, range, source: undefined });
  await clock.advance(900);
  expect((await inventory())?.storage).toMatchObject({ allocated: '1Gi', volumes: 1 });
  const orphaned = (await inventory())?.conditions?.find(({ type }) => type === 'OrphanedVolumes');
  expect(orphaned).toMatchObject({
    status: 'True',
    message: expect.stringContaining('by-hand') as string,
  });
  const before = writes();
  await clock.advance(3_600_000);
  expect(writes()).toBe(before);
  expect(client.calls.length).toBeGreaterThan(0);
});

test('what is asked for is known once it was listed, and not while the API server is silent', async () => {
  const { clock, client, start } = await setup();
  const { member, serve } = await start();
  expect(member.known()).toBeUndefined();
  await client.create(LOCAL_VOLUMES, {
    metadata: { name: 'pvc-1' },
    spec: { nodeName: 'n1', poolName: 'default', type: 'Volume', size: '1Gi', volumeMode: 'Filesystem' },
  });
  await serve();
  expect(member.known()?.names).toEqual(new Set(['pvc-1']));
  const away = new Fault('unavailable', 'the API server is away');
  for (const verb of ['list', 'watch']) {
    client.failures.push(...Array.from({ length: 500 }, () => ({ verb, error: away })));
  }
  client.endWatches(away);
  await clock.advance(60_000);
  expect(member.known()?.names.size).toBe(1);
  await clock.advance(100_000);
  expect(member.known()).toBeUndefined();
  client.failures.length = 0;
  await clock.advance(60_000);
  expect(member.known()?.names.size).toBe(1);
});

test('what the network says of itself is published within a second', async () => {
  const { clock, strays, start, inventory } = await setup();
  const { member, serve } = await start();
  await serve();
  const condition = async (): Promise<string | undefined> =>
    (await inventory())?.conditions?.find(({ type }) => type === 'FormerAddresses')?.status;
  for (const [list, status] of [
    [['container c1'], 'True'],
    [[], 'False'],
  ] as const) {
    strays.list = list;
    member.networkChanged();
    await clock.advance(900);
    expect(await condition()).toBe(status);
  }
});

test('a restarted agent finds its words as it left them and writes nothing', async () => {
  const { start, writes, client, clock } = await setup();
  const first = await start();
  await first.serve();
  await client.create(LOCAL_VOLUMES, {
    metadata: { name: 'pvc-1' },
    spec: { nodeName: 'n1', poolName: 'default', type: 'Volume', size: '1Gi', volumeMode: 'Filesystem' },
  });
  await clock.advance(1_000);
  await stop?.();
  const before = writes();
  const second = await start();
  await second.serve();
  await clock.advance(600_000);
  expect(writes() - before).toBe(0);
});

test('a source that fails keeps its last good part, across a restart too, and is named', async () => {
  const { clock, files, start, inventory } = await setup();
  await (await start()).serve();
  files.broken.add('/proc/cpuinfo');
  await clock.advance(6 * 60_000);
  const failing = { type: 'Discovered', status: 'False', reason: 'SourceFailed' };
  expect(await inventory()).toMatchObject({ cpu: { architecture: 'amd64' } });
  expect((await inventory())?.conditions).toContainEqual(expect.objectContaining(failing));
  await stop?.();
  await (await start()).serve();
  expect(await inventory()).toMatchObject({ cpu: { architecture: 'amd64' } });
  files.broken.clear();
  await clock.advance(60_000);
  expect((await inventory())?.conditions).toContainEqual(
    expect.objectContaining({ type: 'Discovered', status: 'True' }),
  );
});

test('a deleted or changed inventory is restored', async () => {
  const { client, clock, start, inventory } = await setup();
  await (await start()).serve();
  await client.delete(NODE_INVENTORIES, { name: 'n1' });
  await clock.advance(1_000);
  expect(await inventory()).toMatchObject({ agentVersion: '1.0.0' });
  await client.patch(
    NODE_INVENTORIES,
    { name: 'n1' },
    { merge: { status: { agentVersion: 'wrong' } } },
    { subresource: 'status' },
  );
  await clock.advance(1_000);
  expect(await inventory()).toMatchObject({ agentVersion: '1.0.0' });
});
