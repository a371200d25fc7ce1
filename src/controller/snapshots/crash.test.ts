import { afterEach, describe, expect, test } from 'vitest';
import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import {
  VOLUME_SNAPSHOT_CLASSES,
  VOLUME_SNAPSHOT_CONTENTS,
  VOLUME_SNAPSHOTS,
} from '../../api/snapshot-kinds.ts';
import { Fault, isFault } from '../../core/fault.ts';
import { NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Informer } from '../../kube/informer.ts';
import { type KubeObject, keyOf, type Resource } from '../../kube/resource.ts';
import { systemClock } from '../../runtime/clock.ts';
import { silentLogger } from '../../runtime/logger.ts';
import { FakeApiClient } from '../../../test/fakes/fake-api-client.ts';
import { createCluster } from '../cluster.ts';
import { SnapshotBinder } from './binder.ts';
import { SnapshotCutter } from './cutter.ts';
import { createGroupKinds } from './group-kinds.ts';
import { createSnapshotKinds } from './kinds.ts';
import { SourceClaims } from './source-claims.ts';

const DATA_FINALIZER = 'keelson.dev/data';
const CLAIM = { namespace: 'team', name: 'data' };
const SNAPSHOT = { namespace: 'team', name: 'before' };

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

type Followed = Pick<Informer<KubeObject>, 'run' | 'synced' | 'store'>;

/** A controller of its own memory. */
function startLife(client: KubeClient): { round(): Promise<void> } {
  const life = new AbortController();
  lives.push(life);
  const cluster = createCluster({ client, logger: silentLogger });
  const kinds = createSnapshotKinds({ client, logger: silentLogger });
  const informers: readonly (readonly [Resource<KubeObject>, Followed])[] = [
    [PERSISTENT_VOLUME_CLAIMS, cluster.claims],
    [STORAGE_CLASSES, cluster.classes],
    [LOCAL_VOLUMES, cluster.volumes],
    [PERSISTENT_VOLUMES, cluster.owners],
    [NODES, cluster.nodes],
    [VOLUME_SNAPSHOTS, kinds.snapshots],
    [VOLUME_SNAPSHOT_CONTENTS, kinds.contents],
    [VOLUME_SNAPSHOT_CLASSES, kinds.classes],
  ];
  for (const [, informer] of informers) void informer.run(life.signal);
  const events = { record: () => undefined };
  const groupKinds = createGroupKinds({ client, logger: silentLogger });
  const deps = { client, cluster, kinds, groupKinds, events, logger: silentLogger, clock: systemClock };
  const claims = new SourceClaims(deps);
  const binder = new SnapshotBinder({ ...deps, claims });
  const cutter = new SnapshotCutter(deps);
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
      const { signal } = life;
      for (const key of [...kinds.snapshots.store.keys()]) await step(binder.reconcile(key, signal));
      for (const name of [...kinds.contents.store.keys()]) {
        await step(binder.reconcileContent(name, signal));
        await step(cutter.reconcile(name, signal));
      }
      for (const name of [...cluster.volumes.store.keys()]) await step(cutter.reconcileCut(name, signal));
      for (const key of [...cluster.claims.store.keys()]) await step(claims.release(key, signal));
    },
  };
}

/** What an agent does with a LocalVolume of type Snapshot. */
async function actAsAgent(): Promise<void> {
  for (const cut of (await server.list(LOCAL_VOLUMES)).items) {
    const { name = '', finalizers = [], deletionTimestamp, uid = '' } = cut.metadata ?? {};
    if (cut.spec.type !== 'Snapshot') continue;
    if (deletionTimestamp !== undefined) {
      await server.patch(LOCAL_VOLUMES, { name }, { merge: { metadata: { finalizers: [] } } });
    } else if (finalizers.length === 0) {
      await server.patch(LOCAL_VOLUMES, { name }, { merge: { metadata: { finalizers: [DATA_FINALIZER] } } });
    } else if (cut.status === undefined) {
      const creationTime = '2026-01-01T00:00:00Z';
      const status = { phase: 'Ready', volumeHandle: `snap-${uid}`, capacity: '1Gi', creationTime } as const;
      await server.patch(LOCAL_VOLUMES, { name }, { merge: { status } }, { subresource: 'status' });
    }
  }
}

/** Until nothing changes any more; another controller goes on where one was killed. Tells how many were needed. */
async function settle(client: KubeClient, meanwhile?: () => Promise<void>): Promise<number> {
  let life = startLife(client);
  for (let deaths = 0; ; ) {
    const before = server.store.version;
    try {
      await life.round();
    } catch {
      deaths += 1;
      life = startLife(server);
      await meanwhile?.();
      continue;
    }
    await actAsAgent();
    if (server.store.version === before) return deaths;
  }
}

async function prepare(deletionPolicy: 'Delete' | 'Retain'): Promise<void> {
  server = new FakeApiClient();
  const claim = await server.create(PERSISTENT_VOLUME_CLAIMS, {
    metadata: { ...CLAIM },
    spec: { volumeName: 'pvc-1', storageClassName: 'local' },
  });
  const status = { phase: 'Bound' };
  await server.patch(PERSISTENT_VOLUME_CLAIMS, CLAIM, { merge: { status } }, { subresource: 'status' });
  await server.create(PERSISTENT_VOLUMES, {
    metadata: { name: 'pvc-1' },
    spec: {
      claimRef: { ...CLAIM, uid: claim.metadata?.uid ?? '' },
      csi: { driver: 'keelson.dev', volumeHandle: 'vol-1' },
    },
  });
  await server.create(NODES, { metadata: { name: 'n1' } });
  const volume: LocalVolume = {
    metadata: { name: 'pvc-1' },
    spec: { nodeName: 'n1', poolName: 'default', type: 'Volume', size: '1Gi', volumeMode: 'Filesystem' },
    status: { phase: 'Ready', volumeHandle: 'vol-1', capacity: '1Gi' },
  };
  await server.create(LOCAL_VOLUMES, volume);
  await server.create(VOLUME_SNAPSHOT_CLASSES, {
    metadata: { name: 'local', annotations: { 'snapshot.storage.kubernetes.io/is-default-class': 'true' } },
    driver: 'keelson.dev',
    deletionPolicy,
  });
}

async function take(): Promise<void> {
  const source = { persistentVolumeClaimName: CLAIM.name };
  await server.create(VOLUME_SNAPSHOTS, { metadata: { ...SNAPSHOT }, spec: { source } });
}

async function cuts(): Promise<readonly LocalVolume[]> {
  return (await server.list(LOCAL_VOLUMES)).items.filter(({ spec }) => spec.type === 'Snapshot');
}

async function expectNothingLeft(): Promise<void> {
  expect((await server.list(VOLUME_SNAPSHOTS)).items).toEqual([]);
  expect((await server.list(VOLUME_SNAPSHOT_CONTENTS)).items).toEqual([]);
  expect(await cuts()).toEqual([]);
  expect((await server.get(PERSISTENT_VOLUME_CLAIMS, CLAIM)).metadata?.finalizers ?? []).toEqual([]);
}

const MOMENTS = ['before', 'after'] as const;
/** More writes than either story has; each proves that the last ones did not come to pass. */
const MOST_WRITES = 14;

describe.each(MOMENTS)('a controller that is killed %s a write', (when) => {
  test('has its snapshot taken once, at whichever write', async () => {
    let survived = false;
    for (let at = 1; at <= MOST_WRITES; at += 1) {
      await prepare('Delete');
      await take();
      survived = (await settle(mortal(at, when))) === 0;
      const snapshot = await server.get(VOLUME_SNAPSHOTS, SNAPSHOT);
      expect(snapshot.status, `write ${at}`).toEqual({
        boundVolumeSnapshotContentName: `snapcontent-${snapshot.metadata?.uid ?? ''}`,
        readyToUse: true,
        creationTime: '2026-01-01T00:00:00Z',
        restoreSize: '1Gi',
      });
      expect(await cuts()).toHaveLength(1);
      expect((await server.get(PERSISTENT_VOLUME_CLAIMS, CLAIM)).metadata?.finalizers ?? []).toEqual([]);
    }
    expect(survived).toBe(true);
  });

  test('leaves nothing of a snapshot that is deleted meanwhile', async () => {
    for (let at = 1; at <= MOST_WRITES; at += 1) {
      await prepare('Delete');
      await take();
      const deleted = async (): Promise<void> => await server.delete(VOLUME_SNAPSHOTS, SNAPSHOT);
      if ((await settle(mortal(at, when), deleted)) === 0) await deleted();
      await settle(server);
      await expectNothingLeft();
    }
  });

  test('deletes a snapshot and all of it, at whichever write', async () => {
    let survived = false;
    for (let at = 1; at <= MOST_WRITES; at += 1) {
      await prepare('Delete');
      await take();
      await settle(server);
      await server.delete(VOLUME_SNAPSHOTS, SNAPSHOT);
      survived = (await settle(mortal(at, when))) === 0;
      await expectNothingLeft();
    }
    expect(survived).toBe(true);
  });

  test('keeps what is to be retained', async () => {
    for (let at = 1; at <= MOST_WRITES; at += 1) {
      await prepare('Retain');
      await take();
      await settle(server);
      await server.delete(VOLUME_SNAPSHOTS, SNAPSHOT);
      await settle(mortal(at, when));
      const [content, ...others] = (await server.list(VOLUME_SNAPSHOT_CONTENTS)).items;
      expect(others).toEqual([]);
      await server.delete(VOLUME_SNAPSHOT_CONTENTS, { name: content?.metadata?.name ?? '' });
      await settle(mortal(at, when));
      expect((await server.list(VOLUME_SNAPSHOT_CONTENTS)).items).toEqual([]);
      const [cut] = await cuts();
      expect(cut?.status?.volumeHandle).toBe(content?.status?.snapshotHandle);
      expect(cut?.metadata?.deletionTimestamp).toBeUndefined();
    }
  });
});

test('a content whose snapshot vanished keeps its data until it is deleted itself', async () => {
  await prepare('Delete');
  await take();
  await settle(server);
  await server.patch(VOLUME_SNAPSHOTS, SNAPSHOT, { merge: { metadata: { finalizers: [] } } });
  await server.delete(VOLUME_SNAPSHOTS, SNAPSHOT);
  await settle(server);
  expect(await cuts()).toHaveLength(1);
  const [content] = (await server.list(VOLUME_SNAPSHOT_CONTENTS)).items;
  await server.delete(VOLUME_SNAPSHOT_CONTENTS, { name: content?.metadata?.name ?? '' });
  await settle(server);
  await expectNothingLeft();
});
