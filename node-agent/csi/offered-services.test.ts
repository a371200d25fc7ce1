import { expect, test } from 'vitest';
import type { BackendKind } from '../../src/core/volumes/backend-features.ts';
import {
  createFakeDisk,
  FakePool,
  openFakeRecords,
  startStorage,
  fixedPools,
} from '../../test/fakes/fake-storage.ts';
import type { PoolSet, PoolState } from '../storage/contract/pool.ts';
import { createController } from './controller.ts';
import { createGroupController } from './group-controller.ts';
import { createIdentity } from './identity.ts';

const context = {} as never;
const COPIES = [
  'GROUP_CONTROLLER_SERVICE',
  'SNAPSHOT_ACCESSIBILITY_CONSTRAINTS',
  'SNAPSHOT_METADATA_SERVICE',
  'CREATE_DELETE_SNAPSHOT',
  'LIST_SNAPSHOTS',
  'GET_SNAPSHOT',
  'CLONE_VOLUME',
  'CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT',
];

const closed = (name: string, backend: BackendKind): PoolState => ({
  name,
  backend,
  origin: 'api',
  labels: {},
  pool: undefined,
  problem: 'its disk is away',
  isAccepting: false,
});

/** All that the services of a node say that they can, with the pools that it has at that moment. */
async function startNode() {
  const open = fixedPools([new FakePool()]);
  let states: readonly PoolState[] = open.states();
  const pools: PoolSet = { get: (name) => open.get(name), states: () => states };
  const storage = await startStorage(pools, openFakeRecords(createFakeDisk()));
  const offersCopies = (): boolean => storage.pools.offersCopies();
  const identity = createIdentity({ version: '1' }, { isReady: () => true, offersCopies });
  const controller = createController({ nodeName: 'n' }, { storage });
  const groups = createGroupController({ nodeName: 'n' }, { storage });
  return {
    storage,
    want: (...wanted: readonly PoolState[]): void => {
      states = wanted;
    },
    async offers(): Promise<readonly string[]> {
      const [services, calls, groupCalls] = [
        await identity.GetPluginCapabilities?.({}, context),
        await controller.ControllerGetCapabilities?.({}, context),
        await groups.GroupControllerGetCapabilities?.({}, context),
      ];
      return [
        ...(services?.capabilities ?? []).map(({ service }) => service?.type),
        ...[...(calls?.capabilities ?? []), ...(groupCalls?.capabilities ?? [])].map(({ rpc }) => rpc?.type),
      ].map(String);
    },
  };
}

test('snapshots and clones are offered by the backends of the requested pools, open or not', async () => {
  const node = await startNode();
  expect(await node.offers()).toEqual(expect.arrayContaining(COPIES));
  const always = (await node.offers()).filter((offer) => !COPIES.includes(offer));
  node.want(closed('plain', 'directory'));
  expect(await node.offers()).toEqual(always);
  expect(always).toContain('CREATE_DELETE_VOLUME');
  node.want(closed('plain', 'directory'), closed('disk', 'image'));
  expect(await node.offers()).toEqual(expect.arrayContaining(COPIES));
  // Who asks a node once, at its start, must not miss the pool that comes.
  node.want();
  expect(await node.offers()).toEqual(expect.arrayContaining(COPIES));
});

test('snapshots in a pool that is not requested any more can be deleted, so the calls stay offered', async () => {
  const node = await startNode();
  const request = { name: 'v', pool: undefined, range: { requiredBytes: 1n << 30n, limitBytes: 0n } };
  const { id } = await node.storage.volumes.create({ ...request, source: undefined });
  const snapshot = await node.storage.snapshots.create('s', id);
  node.want(closed('plain', 'directory'));
  expect(await node.offers()).toContain('CREATE_DELETE_SNAPSHOT');
  await node.storage.snapshots.delete(snapshot.id);
  await node.storage.volumes.delete(id);
  expect(await node.offers()).not.toContain('CREATE_DELETE_SNAPSHOT');
});
