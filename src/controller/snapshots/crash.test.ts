import { afterEach, describe, expect, test } from 'vitest';
import { type Death, mortalClient } from '../../../test/fakes/mortal-client.ts';
import { SnapshotLives } from '../../../test/fakes/snapshot-lives.ts';
import {
  VOLUME_SNAPSHOT_CLASSES,
  VOLUME_SNAPSHOT_CONTENTS,
  VOLUME_SNAPSHOTS,
} from '../../api/snapshot-kinds.ts';
import { NODES } from '../../kube/built-in.ts';

const CLAIM = { namespace: 'team', name: 'data-1' };
const SNAPSHOT = { namespace: 'team', name: 'before' };

let lives = new SnapshotLives();

afterEach(() => lives[Symbol.dispose]());

async function prepare(deletionPolicy: 'Delete' | 'Retain'): Promise<void> {
  lives[Symbol.dispose]();
  lives = new SnapshotLives();
  await lives.addVolume(1, 'n1', {});
  await lives.server.create(NODES, { metadata: { name: 'n1' } });
  await lives.server.create(VOLUME_SNAPSHOT_CLASSES, {
    metadata: { name: 'local', annotations: { 'snapshot.storage.kubernetes.io/is-default-class': 'true' } },
    driver: 'keelson.dev',
    deletionPolicy,
  });
}

async function take(): Promise<void> {
  const source = { persistentVolumeClaimName: CLAIM.name };
  await lives.server.create(VOLUME_SNAPSHOTS, { metadata: { ...SNAPSHOT }, spec: { source } });
}

async function expectNothingLeft(): Promise<void> {
  expect((await lives.server.list(VOLUME_SNAPSHOTS)).items).toEqual([]);
  expect((await lives.server.list(VOLUME_SNAPSHOT_CONTENTS)).items).toEqual([]);
  expect(await lives.nodeSnapshots()).toEqual([]);
  expect(await lives.finalizersOfClaims()).toEqual([]);
}

const MOMENTS: readonly Death[] = ['before', 'after'];
/** More writes than either story has; each proves that the last ones did not come to pass. */
const MOST_WRITES = 14;

describe.each(MOMENTS)('a controller that is killed %s a write', (when) => {
  test('has its snapshot taken once, at whichever write', async () => {
    let survived = false;
    for (let at = 1; at <= MOST_WRITES; at += 1) {
      await prepare('Delete');
      await take();
      survived = (await lives.settle(mortalClient(lives.server, at, when))) === 0;
      const snapshot = await lives.server.get(VOLUME_SNAPSHOTS, SNAPSHOT);
      expect(snapshot.status, `write ${at}`).toEqual({
        boundVolumeSnapshotContentName: `snapcontent-${snapshot.metadata?.uid ?? ''}`,
        readyToUse: true,
        creationTime: '2026-01-01T00:00:00Z',
        restoreSize: '1Gi',
      });
      expect(await lives.nodeSnapshots()).toHaveLength(1);
      expect(await lives.finalizersOfClaims()).toEqual([]);
    }
    expect(survived).toBe(true);
  });

  test('leaves nothing of a snapshot that is deleted meanwhile', async () => {
    for (let at = 1; at <= MOST_WRITES; at += 1) {
      await prepare('Delete');
      await take();
      const deleted = async (): Promise<void> => await lives.server.delete(VOLUME_SNAPSHOTS, SNAPSHOT);
      if ((await lives.settle(mortalClient(lives.server, at, when), deleted)) === 0) await deleted();
      await lives.settle();
      await expectNothingLeft();
    }
  });

  test('deletes a snapshot and all of it, at whichever write', async () => {
    let survived = false;
    for (let at = 1; at <= MOST_WRITES; at += 1) {
      await prepare('Delete');
      await take();
      await lives.settle();
      await lives.server.delete(VOLUME_SNAPSHOTS, SNAPSHOT);
      survived = (await lives.settle(mortalClient(lives.server, at, when))) === 0;
      await expectNothingLeft();
    }
    expect(survived).toBe(true);
  });

  test('keeps what is to be retained', async () => {
    for (let at = 1; at <= MOST_WRITES; at += 1) {
      await prepare('Retain');
      await take();
      await lives.settle();
      await lives.server.delete(VOLUME_SNAPSHOTS, SNAPSHOT);
      await lives.settle(mortalClient(lives.server, at, when));
      const [content, ...others] = (await lives.server.list(VOLUME_SNAPSHOT_CONTENTS)).items;
      expect(others).toEqual([]);
      await lives.server.delete(VOLUME_SNAPSHOT_CONTENTS, { name: content?.metadata?.name ?? '' });
      await lives.settle(mortalClient(lives.server, at, when));
      expect((await lives.server.list(VOLUME_SNAPSHOT_CONTENTS)).items).toEqual([]);
      const [nodeSnapshot] = await lives.nodeSnapshots();
      expect(nodeSnapshot?.status?.volumeHandle).toBe(content?.status?.snapshotHandle);
      expect(nodeSnapshot?.metadata?.deletionTimestamp).toBeUndefined();
    }
  });
});

test('a content whose snapshot vanished keeps its data until it is deleted itself', async () => {
  await prepare('Delete');
  await take();
  await lives.settle();
  await lives.server.patch(VOLUME_SNAPSHOTS, SNAPSHOT, { merge: { metadata: { finalizers: [] } } });
  await lives.server.delete(VOLUME_SNAPSHOTS, SNAPSHOT);
  await lives.settle();
  expect(await lives.nodeSnapshots()).toHaveLength(1);
  const [content] = (await lives.server.list(VOLUME_SNAPSHOT_CONTENTS)).items;
  await lives.server.delete(VOLUME_SNAPSHOT_CONTENTS, { name: content?.metadata?.name ?? '' });
  await lives.settle();
  await expectNothingLeft();
});
