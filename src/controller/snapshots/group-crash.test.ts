import { afterEach, describe, expect, test } from 'vitest';
import { FakeApiClient } from '../../../test/fakes/fake-api-client.ts';
import {
  VOLUME_GROUP_SNAPSHOT_CLASSES,
  VOLUME_GROUP_SNAPSHOT_CONTENTS,
  VOLUME_GROUP_SNAPSHOTS,
} from '../../api/group-snapshot-kinds.ts';
import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import { VOLUME_SNAPSHOT_CONTENTS, VOLUME_SNAPSHOTS } from '../../api/snapshot-kinds.ts';
import { CLAIM_FINALIZER } from '../../core/snapshot.ts';
import { Fault, isFault } from '../../core/fault.ts';
import { NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Informer } from '../../kube/informer.ts';
import { type KubeObject, keyOf, type Resource } from '../../kube/resource.ts';
import { systemClock } from '../../runtime/clock.ts';
import { silentLogger } from '../../runtime/logger.ts';
import { createCluster } from '../cluster.ts';
import { SnapshotBinder } from './binder.ts';
import { SnapshotCutter } from './cutter.ts';
import { GroupBinder } from './group-binder.ts';
import { GroupCutter } from './group-cutter.ts';
import { createGroupKinds } from './group-kinds.ts';
import { createSnapshotKinds } from './kinds.ts';
import { SourceClaims } from './source-claims.ts';

const DATA_FINALIZER = 'keelson.dev/data';
const GROUP = { namespace: 'team', name: 'together' };

let server: FakeApiClient;
const lives: AbortController[] = [];

afterEach(() => {
  for (const life of lives.splice(0)) life.abort();
});

/** Dies at its `at`th write: before it, or after the server has carried it out. */
function mortal(at: number, when: 'before' | 'after'): KubeClient {
  let writes = 0;
  const write = async <R>(work: () => Promise<R>): Promise<R> => {
    writes += 1;
    const isLast = writes === at;
    if (isLast && when === 'before') throw new Fault('bug', 'killed');
    const result = await work();
    if (isLast) throw new Fault('bug', 'killed');
    return result;
  };
  return {
    get: (resource, name) => server.get(resource, name),
    list: (resource, options) => server.list(resource, options),
    watch: (...args) => server.watch(...args),
    update: (resource, object, options) => write(() => server.update(resource, object, options)),
    create: (...args) => write(() => server.create(...args)),
    patch: (...args) => write(() => server.patch(...args)),
    delete: (...args) => write(() => server.delete(...args)),
  };
}

/** A controller of its own memory. */
function startLife(client: KubeClient): { round(): Promise<void> } {
  const life = new AbortController();
  lives.push(life);
  const { signal } = life;
  const cluster = createCluster({ client, logger: silentLogger });
  const kinds = createSnapshotKinds({ client, logger: silentLogger });
  const groupKinds = createGroupKinds({ client, logger: silentLogger });
  const informers: readonly (readonly [
    Resource<KubeObject>,
    Pick<Informer<KubeObject>, 'run' | 'synced' | 'store'>,
  ])[] = [
    [PERSISTENT_VOLUME_CLAIMS, cluster.claims],
    [LOCAL_VOLUMES, cluster.volumes],
    [PERSISTENT_VOLUMES, cluster.owners],
    [NODES, cluster.nodes],
    [VOLUME_SNAPSHOTS, kinds.snapshots],
    [VOLUME_SNAPSHOT_CONTENTS, kinds.contents],
    [VOLUME_GROUP_SNAPSHOTS, groupKinds.groups],
    [VOLUME_GROUP_SNAPSHOT_CONTENTS, groupKinds.groupContents],
    [VOLUME_GROUP_SNAPSHOT_CLASSES, groupKinds.groupClasses],
  ];
  for (const [, informer] of informers) void informer.run(signal);
  const events = { record: () => undefined };
  const deps = { client, cluster, kinds, groupKinds, events, logger: silentLogger, clock: systemClock };
  const claims = new SourceClaims(deps);
  const binder = new SnapshotBinder({ ...deps, claims });
  const cutter = new SnapshotCutter(deps);
  const groupBinder = new GroupBinder({ ...deps, claims });
  const groupCutter = new GroupCutter(deps);
  const versions = (objects: Iterable<KubeObject>): string =>
    [...objects]
      .map((each) => `${keyOf(each)} ${each.metadata?.resourceVersion ?? ''}`)
      .sort()
      .join();
  const catchUp = async (): Promise<void> => {
    for (const [resource, informer] of informers) {
      await informer.synced();
      while (versions(informer.store.values()) !== versions((await server.list(resource)).items)) {
        await new Promise(setImmediate);
      }
    }
  };
  const step = async (work: Promise<unknown>): Promise<void> => {
    try {
      await work;
    } catch (error) {
      if (isFault(error, 'bug')) throw error;
    }
  };
  return {
    async round() {
      await catchUp();
      for (const key of [...groupKinds.groups.store.keys()]) await step(groupBinder.reconcile(key, signal));
      for (const name of [...groupKinds.groupContents.store.keys()]) {
        await step(groupBinder.reconcileContent(name, signal));
        await step(groupCutter.reconcile(name, signal));
      }
      for (const key of [...kinds.snapshots.store.keys()]) await step(binder.reconcile(key, signal));
      for (const name of [...kinds.contents.store.keys()]) {
        await step(binder.reconcileContent(name, signal));
        await step(cutter.reconcile(name, signal));
      }
      for (const name of [...cluster.volumes.store.keys()]) {
        await step(cutter.reconcileCut(name, signal));
        await step(groupCutter.reconcileCut(name, signal));
      }
      for (const key of [...cluster.claims.store.keys()]) await step(claims.release(key, signal));
    },
  };
}

async function cuts(): Promise<readonly LocalVolume[]> {
  return (await server.list(LOCAL_VOLUMES)).items.filter(({ spec }) => spec.type === 'Snapshot');
}

/** What an agent does with the members of a group: it takes all, and removes their data when all are to go. */
async function actAsAgent(): Promise<void> {
  const all = await cuts();
  const areAllEnding = all.every(({ metadata }) => metadata?.deletionTimestamp !== undefined);
  for (const { metadata, status, spec } of all) {
    const { name = '', finalizers = [], deletionTimestamp, uid = '' } = metadata ?? {};
    // Every snapshot here is a member: nothing is ever taken for its content alone.
    expect(spec.group?.volumeNames).toEqual(['pvc-1', 'pvc-2']);
    if (deletionTimestamp !== undefined) {
      if (!areAllEnding) continue;
      await server.patch(LOCAL_VOLUMES, { name }, { merge: { metadata: { finalizers: [] } } });
    } else if (finalizers.length === 0) {
      await server.patch(LOCAL_VOLUMES, { name }, { merge: { metadata: { finalizers: [DATA_FINALIZER] } } });
    } else if (status === undefined) {
      const creationTime = '2026-01-01T00:00:00Z';
      const made = {
        phase: 'Ready',
        volumeHandle: `snap-${uid}`,
        groupHandle: 'group-1',
        capacity: '1Gi',
        creationTime,
      };
      await server.patch(LOCAL_VOLUMES, { name }, { merge: { status: made } }, { subresource: 'status' });
    }
  }
}

/** Until nothing changes any more; another controller goes on where one was killed. Tells how many were needed. */
async function settle(client: KubeClient): Promise<number> {
  let life = startLife(client);
  for (let deaths = 0; ; ) {
    const before = server.store.version;
    try {
      await life.round();
    } catch {
      deaths += 1;
      life = startLife(server);
      continue;
    }
    await actAsAgent();
    if (server.store.version === before) return deaths;
  }
}

async function prepare(deletionPolicy: 'Delete' | 'Retain', nodes = ['n1', 'n1']): Promise<void> {
  server = new FakeApiClient();
  for (const [index, nodeName] of nodes.entries()) {
    const number = index + 1;
    const name = { namespace: 'team', name: `data-${number}` };
    const claim = await server.create(PERSISTENT_VOLUME_CLAIMS, {
      metadata: { ...name, labels: { app: 'db' } },
      spec: { volumeName: `pvc-${number}`, storageClassName: 'local' },
    });
    const status = { phase: 'Bound' };
    await server.patch(PERSISTENT_VOLUME_CLAIMS, name, { merge: { status } }, { subresource: 'status' });
    await server.create(PERSISTENT_VOLUMES, {
      metadata: { name: `pvc-${number}` },
      spec: {
        claimRef: { ...name, uid: claim.metadata?.uid ?? '' },
        csi: { driver: 'keelson.dev', volumeHandle: `vol-${number}` },
      },
    });
    await server.create(LOCAL_VOLUMES, {
      metadata: { name: `pvc-${number}` },
      spec: { nodeName, poolName: 'default', type: 'Volume', size: '1Gi', volumeMode: 'Filesystem' },
      status: { phase: 'Ready', volumeHandle: `vol-${number}`, capacity: '1Gi' },
    });
  }
  await server.create(NODES, { metadata: { name: 'n1' } });
  await server.create(VOLUME_GROUP_SNAPSHOT_CLASSES, {
    metadata: {
      name: 'local',
      annotations: { 'groupsnapshot.storage.kubernetes.io/is-default-class': 'true' },
    },
    driver: 'keelson.dev',
    deletionPolicy,
  });
  const source = { selector: { matchLabels: { app: 'db' } } };
  await server.create(VOLUME_GROUP_SNAPSHOTS, { metadata: { ...GROUP }, spec: { source } });
}

async function finalizersOfClaims(): Promise<readonly string[]> {
  return (await server.list(PERSISTENT_VOLUME_CLAIMS)).items.flatMap(
    ({ metadata }) => metadata?.finalizers ?? [],
  );
}

async function expectNothingLeft(): Promise<void> {
  for (const resource of [
    VOLUME_GROUP_SNAPSHOTS,
    VOLUME_GROUP_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
    VOLUME_SNAPSHOT_CONTENTS,
  ]) {
    expect((await server.list<KubeObject>(resource)).items, resource.plural).toEqual([]);
  }
  expect(await cuts()).toEqual([]);
}

const MOMENTS = ['before', 'after'] as const;
/** More writes than either story has; each proves that the last ones did not come to pass. */
const MOST_WRITES = 40;

describe.each(MOMENTS)('a controller that is killed %s a write', { timeout: 60_000 }, (when) => {
  test('has its group taken once, with all members, at whichever write', async () => {
    let survived = false;
    for (let at = 1; at <= MOST_WRITES && !survived; at += 1) {
      await prepare('Delete');
      survived = (await settle(mortal(at, when))) === 0;
      const group = await server.get(VOLUME_GROUP_SNAPSHOTS, GROUP);
      expect(group.status, `write ${at}`).toEqual({
        boundVolumeGroupSnapshotContentName: `groupsnapcontent-${group.metadata?.uid ?? ''}`,
        readyToUse: true,
        creationTime: '2026-01-01T00:00:00Z',
      });
      expect(await cuts()).toHaveLength(2);
      expect(await finalizersOfClaims()).toEqual([]);
      const members = (await server.list(VOLUME_SNAPSHOTS)).items;
      expect(members.map(({ spec }) => spec.source.persistentVolumeClaimName).sort()).toEqual([
        'data-1',
        'data-2',
      ]);
      for (const { status } of members) {
        expect(status).toMatchObject({
          readyToUse: true,
          restoreSize: '1Gi',
          volumeGroupSnapshotName: 'together',
        });
      }
    }
    expect(survived).toBe(true);
  });

  test('deletes a group and all of it, at whichever write', async () => {
    let survived = false;
    for (let at = 1; at <= MOST_WRITES && !survived; at += 1) {
      await prepare('Delete');
      await settle(server);
      await server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
      survived = (await settle(mortal(at, when))) === 0;
      await expectNothingLeft();
    }
    expect(survived).toBe(true);
  });
});

test('a group that is to be retained leaves its data, and what stands for it', async () => {
  await prepare('Retain');
  await settle(server);
  await server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await settle(server);
  expect((await server.list(VOLUME_GROUP_SNAPSHOTS)).items).toEqual([]);
  expect((await server.list(VOLUME_SNAPSHOTS)).items).toEqual([]);
  expect((await server.list(VOLUME_SNAPSHOT_CONTENTS)).items).toHaveLength(2);
  expect((await server.list(VOLUME_GROUP_SNAPSHOT_CONTENTS)).items).toHaveLength(1);
  const kept = await cuts();
  expect(kept.map(({ metadata }) => metadata?.deletionTimestamp)).toEqual([undefined, undefined]);
});

test('volumes of two nodes are named, and nothing is taken', async () => {
  await prepare('Delete', ['n1', 'n2']);
  await settle(server);
  const { status } = await server.get(VOLUME_GROUP_SNAPSHOTS, GROUP);
  expect(status?.error?.message).toBe(
    'a group snapshot is of volumes of one node; these are pvc-1 on n1; pvc-2 on n2',
  );
  expect(await cuts()).toEqual([]);
  await server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await settle(server);
  await expectNothingLeft();
});

/** As many rounds, without any agent. */
async function takeRounds(count: number): Promise<void> {
  const life = startLife(server);
  for (let round = 0; round < count; round += 1) await life.round();
}

test('claims are kept until their group is taken', async () => {
  await prepare('Delete');
  await takeRounds(8);
  expect(await finalizersOfClaims()).toEqual([CLAIM_FINALIZER, CLAIM_FINALIZER]);
  // Taken off by hand.
  const merge = { metadata: { finalizers: [] } };
  await server.patch(PERSISTENT_VOLUME_CLAIMS, { namespace: 'team', name: 'data-1' }, { merge });
  await takeRounds(2);
  expect(await finalizersOfClaims()).toEqual([CLAIM_FINALIZER, CLAIM_FINALIZER]);
  await server.delete(PERSISTENT_VOLUME_CLAIMS, { namespace: 'team', name: 'data-1' });
  await settle(server);
  expect((await server.get(VOLUME_GROUP_SNAPSHOTS, GROUP)).status?.readyToUse).toBe(true);
  expect((await server.list(PERSISTENT_VOLUME_CLAIMS)).items.map(keyOf)).toEqual(['team/data-2']);
  expect(await finalizersOfClaims()).toEqual([]);
});

test('claims of a group that is deleted before it is taken are let go', async () => {
  await prepare('Delete');
  await takeRounds(8);
  await server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await settle(server);
  expect(await finalizersOfClaims()).toEqual([]);
  await expectNothingLeft();
});

test('a group that is being taken ends also when its node is gone for good', async () => {
  await prepare('Delete');
  await takeRounds(8);
  for (const { metadata } of await cuts()) {
    const merge = { metadata: { finalizers: [DATA_FINALIZER] } };
    await server.patch(LOCAL_VOLUMES, { name: metadata?.name ?? '' }, { merge });
  }
  await server.delete(NODES, { name: 'n1' });
  await server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await takeRounds(16);
  await expectNothingLeft();
});

test('a group that was told of waits for its node, and ends when its members are given up', async () => {
  await prepare('Delete');
  await settle(server);
  await server.delete(NODES, { name: 'n1' });
  await server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await takeRounds(16);
  const left = await cuts();
  expect(left.map(({ metadata }) => metadata?.finalizers)).toEqual([[DATA_FINALIZER], [DATA_FINALIZER]]);
  // As is done for those that bear the annotation keelson.dev/release.
  for (const { metadata } of left) {
    await server.patch(
      LOCAL_VOLUMES,
      { name: metadata?.name ?? '' },
      { merge: { metadata: { finalizers: [] } } },
    );
  }
  await takeRounds(8);
  await expectNothingLeft();
});

/** What stands for the group in the API is deleted, and wanted again as one that is there. */
async function bindAnew(deletionPolicy: 'Delete' | 'Retain'): Promise<void> {
  await prepare('Retain');
  await settle(server);
  const [content] = (await server.list(VOLUME_GROUP_SNAPSHOT_CONTENTS)).items;
  const handles = (content?.status?.volumeSnapshotInfoList ?? []).map(
    ({ snapshotHandle }) => snapshotHandle ?? '',
  );
  await server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await settle(server);
  const kinds: readonly Resource<KubeObject>[] = [VOLUME_SNAPSHOT_CONTENTS, VOLUME_GROUP_SNAPSHOT_CONTENTS];
  for (const resource of kinds) {
    for (const { metadata } of (await server.list(resource)).items) {
      await server.delete(resource, { name: metadata?.name ?? '' });
    }
  }
  await settle(server);
  expect((await server.list(VOLUME_SNAPSHOT_CONTENTS)).items).toEqual([]);
  expect((await server.list(VOLUME_GROUP_SNAPSHOT_CONTENTS)).items).toEqual([]);
  expect(await cuts()).toHaveLength(2);
  const driver = 'keelson.dev';
  await server.create(VOLUME_GROUP_SNAPSHOT_CONTENTS, {
    metadata: { name: 'static' },
    spec: {
      driver,
      deletionPolicy,
      source: {
        groupSnapshotHandles: { volumeGroupSnapshotHandle: 'group-1', volumeSnapshotHandles: handles },
      },
      volumeGroupSnapshotRef: { ...GROUP },
    },
  });
  const group = await server.create(VOLUME_GROUP_SNAPSHOTS, {
    metadata: { ...GROUP },
    spec: { source: { volumeGroupSnapshotContentName: 'static' } },
  });
  const owner = {
    apiVersion: 'groupsnapshot.storage.k8s.io/v1',
    kind: 'VolumeGroupSnapshot',
    name: GROUP.name,
  };
  for (const [index, snapshotHandle] of handles.entries()) {
    const name = { namespace: 'team', name: `member-${index}` };
    await server.create(VOLUME_SNAPSHOT_CONTENTS, {
      metadata: { name: `static-${index}` },
      spec: { driver, deletionPolicy, source: { snapshotHandle }, volumeSnapshotRef: { ...name } },
    });
    await server.create(VOLUME_SNAPSHOTS, {
      metadata: { ...name, ownerReferences: [{ ...owner, uid: group.metadata?.uid ?? '' }] },
      spec: { source: { volumeSnapshotContentName: `static-${index}` } },
    });
  }
}

test.each(['Delete', 'Retain'] as const)('a group that is there is bound again, under %s', async (policy) => {
  await bindAnew(policy);
  await settle(server);
  const group = await server.get(VOLUME_GROUP_SNAPSHOTS, GROUP);
  expect(group.status).toMatchObject({ boundVolumeGroupSnapshotContentName: 'static', readyToUse: true });
  const members = (await server.list(VOLUME_SNAPSHOTS)).items;
  expect(members.map(({ metadata }) => metadata?.name)).toEqual(['member-0', 'member-1']);
  expect(members.map(({ status }) => status?.readyToUse)).toEqual([true, true]);
  await server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await settle(server);
  if (policy === 'Delete') {
    await expectNothingLeft();
    return;
  }
  expect((await server.list(VOLUME_SNAPSHOTS)).items).toEqual([]);
  expect((await server.list(VOLUME_SNAPSHOT_CONTENTS)).items).toHaveLength(2);
  expect((await cuts()).map(({ metadata }) => metadata?.deletionTimestamp)).toEqual([undefined, undefined]);
});

test.each(MOMENTS)(
  'a group that is there ends whole, whenever the controller is killed %s a write',
  async (when) => {
    let survived = false;
    for (let at = 1; at <= MOST_WRITES && !survived; at += 1) {
      await bindAnew('Delete');
      await settle(server);
      await server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
      survived = (await settle(mortal(at, when))) === 0;
      await expectNothingLeft();
    }
    expect(survived).toBe(true);
  },
);
