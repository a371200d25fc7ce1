import { afterEach, describe, expect, test } from 'vitest';
import { type Death, mortalClient } from '../../../test/fakes/mortal-client.ts';
import { SnapshotLives } from '../../../test/fakes/snapshot-lives.ts';
import {
  VOLUME_GROUP_SNAPSHOT_CLASSES,
  VOLUME_GROUP_SNAPSHOT_CONTENTS,
  VOLUME_GROUP_SNAPSHOTS,
} from '../../api/group-snapshot-kinds.ts';
import { DATA_FINALIZER, LOCAL_VOLUMES } from '../../api/local-volume.ts';
import { VOLUME_SNAPSHOT_CONTENTS, VOLUME_SNAPSHOTS } from '../../api/snapshot-kinds.ts';
import { CLAIM_FINALIZER } from '../../core/snapshots/snapshot.ts';
import { NODES, PERSISTENT_VOLUME_CLAIMS } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import { type KubeObject, keyOf, type Resource } from '../../kube/resource.ts';

const GROUP = { namespace: 'team', name: 'together' };

let lives = new SnapshotLives();

afterEach(() => lives[Symbol.dispose]());

async function prepare(deletionPolicy: 'Delete' | 'Retain', nodes = ['n1', 'n1']): Promise<void> {
  lives[Symbol.dispose]();
  lives = new SnapshotLives();
  for (const [index, node] of nodes.entries()) await lives.addVolume(index + 1, node, { app: 'db' });
  await lives.server.create(NODES, { metadata: { name: 'n1' } });
  await lives.server.create(VOLUME_GROUP_SNAPSHOT_CLASSES, {
    metadata: {
      name: 'local',
      annotations: { 'groupsnapshot.storage.kubernetes.io/is-default-class': 'true' },
    },
    driver: 'keelson.dev',
    deletionPolicy,
  });
  const source = { selector: { matchLabels: { app: 'db' } } };
  await lives.server.create(VOLUME_GROUP_SNAPSHOTS, { metadata: { ...GROUP }, spec: { source } });
}

/** Every snapshot here is a member: nothing is ever taken for its content alone. */
async function settle(client?: KubeClient): Promise<number> {
  const deaths = await lives.settle(client);
  for (const { spec } of await lives.nodeSnapshots())
    expect(spec.group?.volumeNames).toEqual(['pvc-1', 'pvc-2']);
  return deaths;
}

async function expectNothingLeft(): Promise<void> {
  for (const resource of [
    VOLUME_GROUP_SNAPSHOTS,
    VOLUME_GROUP_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
    VOLUME_SNAPSHOT_CONTENTS,
  ]) {
    expect((await lives.server.list<KubeObject>(resource)).items, resource.plural).toEqual([]);
  }
  expect(await lives.nodeSnapshots()).toEqual([]);
}

const MOMENTS: readonly Death[] = ['before', 'after'];
/** More writes than either story has; each proves that the last ones did not come to pass. */
const MOST_WRITES = 40;

describe.each(MOMENTS)('a controller that is killed %s a write', { timeout: 60_000 }, (when) => {
  test('has its group taken once, with all members, at whichever write', async () => {
    let survived = false;
    for (let at = 1; at <= MOST_WRITES && !survived; at += 1) {
      await prepare('Delete');
      survived = (await settle(mortalClient(lives.server, at, when))) === 0;
      const group = await lives.server.get(VOLUME_GROUP_SNAPSHOTS, GROUP);
      expect(group.status, `write ${at}`).toEqual({
        boundVolumeGroupSnapshotContentName: `groupsnapcontent-${group.metadata?.uid ?? ''}`,
        readyToUse: true,
        creationTime: '2026-01-01T00:00:00Z',
      });
      expect(await lives.nodeSnapshots()).toHaveLength(2);
      expect(await lives.finalizersOfClaims()).toEqual([]);
      const members = (await lives.server.list(VOLUME_SNAPSHOTS)).items;
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
      await settle();
      await lives.server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
      survived = (await settle(mortalClient(lives.server, at, when))) === 0;
      await expectNothingLeft();
    }
    expect(survived).toBe(true);
  });
});

test('a group that is to be retained leaves its data, and what stands for it', async () => {
  await prepare('Retain');
  await settle();
  await lives.server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await settle();
  expect((await lives.server.list(VOLUME_GROUP_SNAPSHOTS)).items).toEqual([]);
  expect((await lives.server.list(VOLUME_SNAPSHOTS)).items).toEqual([]);
  expect((await lives.server.list(VOLUME_SNAPSHOT_CONTENTS)).items).toHaveLength(2);
  expect((await lives.server.list(VOLUME_GROUP_SNAPSHOT_CONTENTS)).items).toHaveLength(1);
  const kept = await lives.nodeSnapshots();
  expect(kept.map(({ metadata }) => metadata?.deletionTimestamp)).toEqual([undefined, undefined]);
});

test('volumes of two nodes are named, and nothing is taken', async () => {
  await prepare('Delete', ['n1', 'n2']);
  await settle();
  const { status } = await lives.server.get(VOLUME_GROUP_SNAPSHOTS, GROUP);
  expect(status?.error?.message).toBe(
    'the volumes of a group snapshot must be on one node; found pvc-1 on n1; pvc-2 on n2',
  );
  expect(await lives.nodeSnapshots()).toEqual([]);
  await lives.server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await settle();
  await expectNothingLeft();
});

test('claims are kept until their group is taken', async () => {
  await prepare('Delete');
  await lives.takeRounds(8);
  expect(await lives.finalizersOfClaims()).toEqual([CLAIM_FINALIZER, CLAIM_FINALIZER]);
  // Taken off by hand.
  const merge = { metadata: { finalizers: [] } };
  await lives.server.patch(PERSISTENT_VOLUME_CLAIMS, { namespace: 'team', name: 'data-1' }, { merge });
  await lives.takeRounds(2);
  expect(await lives.finalizersOfClaims()).toEqual([CLAIM_FINALIZER, CLAIM_FINALIZER]);
  await lives.server.delete(PERSISTENT_VOLUME_CLAIMS, { namespace: 'team', name: 'data-1' });
  await settle();
  expect((await lives.server.get(VOLUME_GROUP_SNAPSHOTS, GROUP)).status?.readyToUse).toBe(true);
  expect((await lives.server.list(PERSISTENT_VOLUME_CLAIMS)).items.map(keyOf)).toEqual(['team/data-2']);
  expect(await lives.finalizersOfClaims()).toEqual([]);
});

test('claims of a group that is deleted before it is created lose their protection', async () => {
  await prepare('Delete');
  await lives.takeRounds(8);
  await lives.server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await settle();
  expect(await lives.finalizersOfClaims()).toEqual([]);
  await expectNothingLeft();
});

test('a group that is being created is deleted also when its node was deleted', async () => {
  await prepare('Delete');
  await lives.takeRounds(8);
  for (const { metadata } of await lives.nodeSnapshots()) {
    const merge = { metadata: { finalizers: [DATA_FINALIZER] } };
    await lives.server.patch(LOCAL_VOLUMES, { name: metadata?.name ?? '' }, { merge });
  }
  await lives.server.delete(NODES, { name: 'n1' });
  await lives.server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await lives.takeRounds(16);
  await expectNothingLeft();
});

test('a published group waits for its node, and is deleted when its members are released', async () => {
  await prepare('Delete');
  await settle();
  await lives.server.delete(NODES, { name: 'n1' });
  await lives.server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await lives.takeRounds(16);
  const left = await lives.nodeSnapshots();
  expect(left.map(({ metadata }) => metadata?.finalizers)).toEqual([[DATA_FINALIZER], [DATA_FINALIZER]]);
  // As is done for those that bear the annotation keelson.dev/release.
  for (const { metadata } of left) {
    await lives.server.patch(
      LOCAL_VOLUMES,
      { name: metadata?.name ?? '' },
      { merge: { metadata: { finalizers: [] } } },
    );
  }
  await lives.takeRounds(8);
  await expectNothingLeft();
});

/** What stands for the group in the API is deleted, and wanted again as one that is there. */
async function bindAnew(deletionPolicy: 'Delete' | 'Retain'): Promise<void> {
  await prepare('Retain');
  await settle();
  const [content] = (await lives.server.list(VOLUME_GROUP_SNAPSHOT_CONTENTS)).items;
  const handles = (content?.status?.volumeSnapshotInfoList ?? []).map(
    ({ snapshotHandle }) => snapshotHandle ?? '',
  );
  await lives.server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await settle();
  const kinds: readonly Resource<KubeObject>[] = [VOLUME_SNAPSHOT_CONTENTS, VOLUME_GROUP_SNAPSHOT_CONTENTS];
  for (const resource of kinds) {
    for (const { metadata } of (await lives.server.list(resource)).items) {
      await lives.server.delete(resource, { name: metadata?.name ?? '' });
    }
  }
  await settle();
  expect((await lives.server.list(VOLUME_SNAPSHOT_CONTENTS)).items).toEqual([]);
  expect((await lives.server.list(VOLUME_GROUP_SNAPSHOT_CONTENTS)).items).toEqual([]);
  expect(await lives.nodeSnapshots()).toHaveLength(2);
  const driver = 'keelson.dev';
  await lives.server.create(VOLUME_GROUP_SNAPSHOT_CONTENTS, {
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
  const group = await lives.server.create(VOLUME_GROUP_SNAPSHOTS, {
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
    await lives.server.create(VOLUME_SNAPSHOT_CONTENTS, {
      metadata: { name: `static-${index}` },
      spec: { driver, deletionPolicy, source: { snapshotHandle }, volumeSnapshotRef: { ...name } },
    });
    await lives.server.create(VOLUME_SNAPSHOTS, {
      metadata: { ...name, ownerReferences: [{ ...owner, uid: group.metadata?.uid ?? '' }] },
      spec: { source: { volumeSnapshotContentName: `static-${index}` } },
    });
  }
}

test.each(['Delete', 'Retain'] as const)('a group that is there is bound again, under %s', async (policy) => {
  await bindAnew(policy);
  await settle();
  const group = await lives.server.get(VOLUME_GROUP_SNAPSHOTS, GROUP);
  expect(group.status).toMatchObject({ boundVolumeGroupSnapshotContentName: 'static', readyToUse: true });
  const members = (await lives.server.list(VOLUME_SNAPSHOTS)).items;
  expect(members.map(({ metadata }) => metadata?.name)).toEqual(['member-0', 'member-1']);
  expect(members.map(({ status }) => status?.readyToUse)).toEqual([true, true]);
  await lives.server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
  await settle();
  if (policy === 'Delete') {
    await expectNothingLeft();
    return;
  }
  expect((await lives.server.list(VOLUME_SNAPSHOTS)).items).toEqual([]);
  expect((await lives.server.list(VOLUME_SNAPSHOT_CONTENTS)).items).toHaveLength(2);
  expect((await lives.nodeSnapshots()).map(({ metadata }) => metadata?.deletionTimestamp)).toEqual([
    undefined,
    undefined,
  ]);
});

test.each(MOMENTS)(
  'a group that is there ends whole, whenever the controller is killed %s a write',
  async (when) => {
    let survived = false;
    for (let at = 1; at <= MOST_WRITES && !survived; at += 1) {
      await bindAnew('Delete');
      await settle();
      await lives.server.delete(VOLUME_GROUP_SNAPSHOTS, GROUP);
      survived = (await settle(mortalClient(lives.server, at, when))) === 0;
      await expectNothingLeft();
    }
    expect(survived).toBe(true);
  },
);
