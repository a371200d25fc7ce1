import { describe, expect, test } from 'vitest';
import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import {
  VOLUME_SNAPSHOT_CLASSES,
  VOLUME_SNAPSHOT_CONTENTS,
  VOLUME_SNAPSHOTS,
} from '../../api/snapshot-kinds.ts';
import { NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import { systemClock } from '../../runtime/clock.ts';
import { silentLogger } from '../../runtime/logger.ts';
import { FakeApiClient } from '../../../test/fakes/fake-api-client.ts';
import { type Death, type Life, settle as settleStory } from '../../../test/fakes/mortal-controller.ts';
import { createCluster } from '../cluster.ts';
import { SnapshotBinder } from './binder.ts';
import { SnapshotCutter } from './cutter.ts';
import { createSnapshotKinds } from './kinds.ts';
import { SourceClaims } from './source-claims.ts';

const DATA_FINALIZER = 'keelson.dev/data';
const CLAIM = { namespace: 'team', name: 'data' };
const SNAPSHOT = { namespace: 'team', name: 'before' };

let server: FakeApiClient;

/** A controller of its own memory. */
function startLife(client: KubeClient): Life {
  const cluster = createCluster({ client, logger: silentLogger });
  const kinds = createSnapshotKinds({ client, logger: silentLogger });
  const events = { record: () => undefined };
  const deps = { client, cluster, kinds, events, logger: silentLogger, clock: systemClock };
  const claims = new SourceClaims(deps);
  const binder = new SnapshotBinder({ ...deps, claims });
  const cutter = new SnapshotCutter(deps);
  return {
    informers: [
      [PERSISTENT_VOLUME_CLAIMS, cluster.claims],
      [STORAGE_CLASSES, cluster.classes],
      [LOCAL_VOLUMES, cluster.volumes],
      [PERSISTENT_VOLUMES, cluster.owners],
      [NODES, cluster.nodes],
      [VOLUME_SNAPSHOTS, kinds.snapshots],
      [VOLUME_SNAPSHOT_CONTENTS, kinds.contents],
      [VOLUME_SNAPSHOT_CLASSES, kinds.classes],
    ],
    *work(signal) {
      for (const key of [...kinds.snapshots.store.keys()]) yield binder.reconcile(key, signal);
      for (const name of [...kinds.contents.store.keys()]) {
        yield binder.reconcileContent(name, signal);
        yield cutter.reconcile(name, signal);
      }
      for (const name of [...cluster.volumes.store.keys()]) yield cutter.reconcileCut(name, signal);
      for (const key of [...cluster.claims.store.keys()]) yield claims.release(key, signal);
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

/** Tells how many controllers died until all was done. */
function settle(death?: Death, meanwhile?: () => Promise<void>): Promise<number> {
  return settleStory({ server, startLife, others: actAsAgent, meanwhile }, death);
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
      survived = (await settle({ at, when })) === 0;
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
      if ((await settle({ at, when }, deleted)) === 0) await deleted();
      await settle();
      await expectNothingLeft();
    }
  });

  test('deletes a snapshot and all of it, at whichever write', async () => {
    let survived = false;
    for (let at = 1; at <= MOST_WRITES; at += 1) {
      await prepare('Delete');
      await take();
      await settle();
      await server.delete(VOLUME_SNAPSHOTS, SNAPSHOT);
      survived = (await settle({ at, when })) === 0;
      await expectNothingLeft();
    }
    expect(survived).toBe(true);
  });

  test('keeps what is to be retained', async () => {
    for (let at = 1; at <= MOST_WRITES; at += 1) {
      await prepare('Retain');
      await take();
      await settle();
      await server.delete(VOLUME_SNAPSHOTS, SNAPSHOT);
      await settle({ at, when });
      const [content, ...others] = (await server.list(VOLUME_SNAPSHOT_CONTENTS)).items;
      expect(others).toEqual([]);
      await server.delete(VOLUME_SNAPSHOT_CONTENTS, { name: content?.metadata?.name ?? '' });
      await settle({ at, when });
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
  await settle();
  await server.patch(VOLUME_SNAPSHOTS, SNAPSHOT, { merge: { metadata: { finalizers: [] } } });
  await server.delete(VOLUME_SNAPSHOTS, SNAPSHOT);
  await settle();
  expect(await cuts()).toHaveLength(1);
  const [content] = (await server.list(VOLUME_SNAPSHOT_CONTENTS)).items;
  await server.delete(VOLUME_SNAPSHOT_CONTENTS, { name: content?.metadata?.name ?? '' });
  await settle();
  await expectNothingLeft();
});
