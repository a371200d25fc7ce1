import { afterEach, describe, expect, test } from 'vitest';
import { FakeApiClient } from '../../../test/fakes/fake-api-client.ts';
import {
  VOLUME_GROUP_SNAPSHOT_CLASSES,
  VOLUME_GROUP_SNAPSHOT_CONTENTS,
  VOLUME_GROUP_SNAPSHOTS,
} from '../../api/group-snapshot-kinds.ts';
import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import { VOLUME_SNAPSHOT_CONTENTS, VOLUME_SNAPSHOTS } from '../../api/snapshot-kinds.ts';
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
  const binder = new SnapshotBinder({ ...deps, claims: new SourceClaims(deps) });
  const cutter = new SnapshotCutter(deps);
  const groupBinder = new GroupBinder(deps);
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
