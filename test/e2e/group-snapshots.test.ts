import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUSYBOX_IMAGE } from '../../src/demo/busybox-image.ts';
import { SnapshotLab } from './snapshot-lab.ts';

const MINUTES = 60_000;
const API = 'groupsnapshot.storage.k8s.io/v1';
const CRDS = join(import.meta.dirname, '../../deploy/group-snapshot-crds');
/** Writes to both volumes in a loop; each number is on the disk before the next is written. */
const WRITE =
  'i=0; while :; do i=$((i+1)); for v in a b; do echo $i | dd of=/$v/n conv=fsync 2>/dev/null; done; done';

/**
 * Group snapshots in a real cluster without another snapshot controller. The tests follow on each
 * other.
 */
describe('group snapshots in a cluster', { timeout: 5 * MINUTES }, () => {
  let lab: SnapshotLab;

  beforeAll(async () => {
    lab = await SnapshotLab.start('groups');
    await lab.installSnapshotKinds();
    await lab.kubectl.run(['apply', '-k', CRDS]);
    for (const plural of [
      'volumegroupsnapshots',
      'volumegroupsnapshotcontents',
      'volumegroupsnapshotclasses',
    ]) {
      await lab.kubectl.wait(`crd/${plural}.groupsnapshot.storage.k8s.io`, 'condition=Established');
    }
    await lab.kubectl.apply([
      {
        apiVersion: API,
        kind: 'VolumeGroupSnapshotClass',
        metadata: {
          name: 'keelson',
          annotations: { 'groupsnapshot.storage.kubernetes.io/is-default-class': 'true' },
        },
        driver: 'keelson.dev',
        deletionPolicy: 'Delete',
      },
    ]);
  }, 15 * MINUTES);

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  }, 2 * MINUTES);

  const addGroup = (name: string, app: string): Promise<void> =>
    lab.kubectl.apply([
      {
        apiVersion: API,
        kind: 'VolumeGroupSnapshot',
        metadata: { name },
        spec: { source: { selector: { matchLabels: { app } } } },
      },
    ]);
  const addPod = (name: string, claims: readonly string[], command: string): Promise<void> =>
    lab.kubectl.apply([
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name },
        spec: {
          terminationGracePeriodSeconds: 0,
          automountServiceAccountToken: false,
          containers: [
            {
              name: 'main',
              image: BUSYBOX_IMAGE,
              command: ['sh', '-c', command],
              volumeMounts: ['a', 'b'].map((volume) => ({ name: volume, mountPath: `/${volume}` })),
            },
          ],
          volumes: ['a', 'b'].map((volume, index) => ({
            name: volume,
            persistentVolumeClaim: { claimName: claims[index] ?? '' },
          })),
        },
      },
    ]);
  const numbers = async (pod: string): Promise<readonly number[]> =>
    (await lab.inPod(pod, 'cat /a/n /b/n')).split('\n').map(Number);

  test('wait for claims, with an event', async () => {
    await addGroup('early', 'unknown');
    await lab.eventually('it reports that there are no claims', async () =>
      expect((await lab.get('volumegroupsnapshot', 'early')).status).toMatchObject({
        readyToUse: false,
        error: {
          message: 'group snapshot default/early: no claim of its namespace matches spec.source.selector',
        },
      }),
    );
    await lab.delete('volumegroupsnapshot', 'early');
    await lab.waitUntilDeleted('volumegroupsnapshot', 'early');
  });

  test('show one instant of both volumes of a pod that writes, and both are restored', async () => {
    for (const claim of ['a', 'b']) await lab.addClaim(claim, 'keelson', '64Mi');
    await lab.kubectl.run(['label', 'pvc', 'a', 'b', 'app=db']);
    await addPod('writer', ['a', 'b'], WRITE);
    await lab.nodeOf('writer');
    await lab.eventually('it writes', async () => expect((await numbers('writer'))[1]).toBeGreaterThan(3));
    await addGroup('together', 'db');
    await lab.kubectl.wait('volumegroupsnapshot/together', 'jsonpath={.status.readyToUse}=true');
    const group = await lab.get('volumegroupsnapshot', 'together');
    expect(group.spec['volumeGroupSnapshotClassName']).toBe('keelson');
    const content = await lab.get('volumegroupsnapshotcontent', `groupsnapcontent-${group.metadata.uid}`);
    expect(content.status).toMatchObject({ readyToUse: true, volumeSnapshotInfoList: [{}, {}] });
    await lab.eventually('both members are ready', async () => {
      const members = await lab.list('volumesnapshots');
      expect(members.map(({ status }) => status)).toMatchObject([
        { readyToUse: true, volumeGroupSnapshotName: 'together' },
        { readyToUse: true, volumeGroupSnapshotName: 'together' },
      ]);
    });
    const members = await lab.list('volumesnapshots');
    for (const { metadata, spec } of members) {
      const { persistentVolumeClaimName: claim } = spec['source'] as { persistentVolumeClaimName: string };
      await lab.addClaim(`restored-${claim}`, 'keelson', '64Mi', metadata.name);
    }
    await addPod('reader', ['restored-a', 'restored-b'], 'sleep 100000');
    expect(await lab.nodeOf('reader')).toBe(await lab.nodeOf('writer'));
    const [a = 0, b = 0] = await numbers('reader');
    expect(b).toBeGreaterThan(0);
    expect([b, b + 1]).toContain(a);
    expect((await numbers('writer'))[0]).toBeGreaterThan(a);
  });

  test('a member that is deleted alone stays until its group is deleted', async () => {
    const [member] = await lab.list('volumesnapshots');
    await lab.delete('volumesnapshot', member?.metadata.name ?? '');
    await addGroup('second', 'db');
    await lab.kubectl.wait('volumegroupsnapshot/second', 'jsonpath={.status.readyToUse}=true');
    expect((await lab.get('volumesnapshot', member?.metadata.name ?? '')).status).toMatchObject({
      readyToUse: true,
    });
    expect(await lab.onDisk()).toHaveLength(4);
  });

  test('deleting the group deletes its members, also on the nodes', async () => {
    await lab.delete('volumegroupsnapshot', 'together', 'second');
    await lab.waitUntilDeleted('volumegroupsnapshot', 'together');
    await lab.waitUntilDeleted('volumegroupsnapshot', 'second');
    await lab.expectNoSnapshotsLeft();
    expect(await lab.list('volumegroupsnapshotcontents')).toEqual([]);
    const [a = 0, b = 0] = await numbers('reader');
    expect([b, b + 1]).toContain(a);
  });
});
