import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sleep } from '../../src/runtime/clock.ts';
import { SnapshotLab } from './snapshot-lab.ts';

const MINUTES = 60_000;
const KILLS = 8;
const APPLICATION = 'default';

/**
 * Snapshots in a real cluster: Keelson's controller, agents and kubelets, btrfs, and no other
 * snapshot controller. The tests follow on each other.
 */
describe('snapshots in a cluster', { timeout: 5 * MINUTES }, () => {
  let lab: SnapshotLab;
  let node: string;
  let handle: string;

  beforeAll(async () => {
    lab = await SnapshotLab.start('snapshots');
  }, 15 * MINUTES);

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  }, 2 * MINUTES);

  test('work in a cluster whose CRDs are installed while the controller runs', async () => {
    await lab.addClaim('data', 'keelson', '64Mi');
    await lab.addPod('writer', 'data');
    node = await lab.nodeOf('writer');
    await lab.inPod('writer', 'echo first >/data/file && sync');
    await lab.addClaim('early', 'keelson', '64Mi', 'before');
    await lab.eventually('a claim reports that there are no snapshots', async () =>
      expect(await lab.notes('early')).toContain('the cluster does not serve VolumeSnapshots'),
    );
    await lab.delete('pvc', 'early');
    await lab.installSnapshotKinds();
    await lab.addSnapshot('before', 'data');
    await lab.eventually('a snapshot without a class reports it', async () =>
      expect((await lab.get('volumesnapshot', 'before')).status).toMatchObject({
        readyToUse: false,
        error: {
          message:
            'snapshot default/before: no default VolumeSnapshotClass of driver keelson.dev exists; set spec.volumeSnapshotClassName',
        },
      }),
    );
    await lab.addClass('keelson', 'Delete', true);
    const ready = await lab.ready('before');
    expect(ready.spec['volumeSnapshotClassName']).toBe('keelson');
    expect(ready.status).toMatchObject({ restoreSize: '64Mi' });
    expect(ready.status).not.toHaveProperty('error');
    const content = await lab.get('volumesnapshotcontent', `snapcontent-${ready.metadata.uid}`);
    expect(content.spec).toMatchObject({
      driver: 'keelson.dev',
      deletionPolicy: 'Delete',
      sourceVolumeMode: 'Filesystem',
    });
    expect(content.status).toMatchObject({ readyToUse: true, restoreSize: 64 << 20 });
    const created = Number(content.status?.['creationTime']) / 1e6;
    expect(new Date(created).toISOString()).toBe(
      String(ready.status?.['creationTime']).replace('Z', '.000Z'),
    );
    await lab.eventually('the snapshot has its events', async () => {
      const notes = await lab.notes('before');
      for (const reason of ['CreatingSnapshot', 'SnapshotCreated', 'SnapshotReady'])
        expect(notes).toContain(reason);
    });
    await lab.eventually('the claim is let go', async () =>
      expect((await lab.get('pvc', 'data')).metadata.finalizers).toEqual(['kubernetes.io/pvc-protection']),
    );
  });

  test('are restored on their node, with the data of their instant, before a pod uses the claim', async () => {
    await lab.inPod('writer', 'echo second >/data/file && sync');
    await lab.addClaim('restored', 'keelson', '64Mi', 'before');
    await lab.kubectl.wait('pvc/restored', 'jsonpath={.status.phase}=Bound');
    await lab.addClaim('larger', 'keelson', '128Mi', 'before');
    await lab.addPod('reader', 'restored');
    await lab.addPod('large-reader', 'larger');
    expect(await lab.nodeOf('reader')).toBe(node);
    expect(await lab.inPod('reader', 'cat /data/file')).toBe('first');
    expect(await lab.nodeOf('large-reader')).toBe(node);
    expect(await lab.inPod('large-reader', 'cat /data/file')).toBe('first');
    expect(
      await lab.inPod('large-reader', 'dd if=/dev/zero of=/data/big bs=1M count=90 && sync && ls /data'),
    ).toContain('big');
    expect(await lab.inPod('writer', 'cat /data/file')).toBe('second');
  });

  test('that cannot be restored give the claim an event with the reason', async () => {
    await lab.addClaim('smaller', 'keelson', '32Mi', 'before');
    await lab.addClaim('nowhere', 'keelson', '64Mi', 'no-such');
    await lab.eventually('both are reported', async () => {
      expect(await lab.notes('smaller')).toContain('requests 32 MiB, but its source has 64 MiB');
      expect(await lab.notes('nowhere')).toContain(
        'starts from snapshot no-such, which does not exist in its namespace',
      );
    });
    await lab.delete('pvc', 'smaller', 'nowhere');
  });

  test('outlive their volume, and its claim', async () => {
    await lab.delete('pod', 'writer', 'reader', 'large-reader');
    await lab.delete('pvc', 'data', 'restored', 'larger');
    await lab.eventually('the volumes are deleted', async () => {
      const volumes = (await lab.list('localvolumes')).filter(({ spec }) => spec['type'] === 'Volume');
      expect(volumes.map(({ metadata }) => metadata.name)).toEqual([]);
    });
    await lab.addClaim('revived', 'keelson', '64Mi', 'before');
    await lab.addPod('reviver', 'revived');
    expect(await lab.nodeOf('reviver')).toBe(node);
    expect(await lab.inPod('reviver', 'cat /data/file')).toBe('first');
    await lab.delete('volumesnapshot', 'before');
    await lab.expectNoSnapshotsLeft();
    expect(await lab.inPod('reviver', 'cat /data/file')).toBe('first');
  });

  test('are kept under Retain, and found again by a content that names their handle', async () => {
    await lab.addClass('kept', 'Retain');
    await lab.addSnapshot('keeper', 'revived', 'kept');
    const { metadata } = await lab.ready('keeper');
    const contentName = `snapcontent-${metadata.uid}`;
    handle = String((await lab.get('volumesnapshotcontent', contentName)).status?.['snapshotHandle']);
    await lab.delete('volumesnapshot', 'keeper');
    await lab.waitUntilDeleted('volumesnapshot', 'keeper');
    await lab.delete('volumesnapshotcontent', contentName);
    await lab.waitUntilDeleted('volumesnapshotcontent', contentName);
    await (await lab.cluster.keelson()).killController();
    await lab.addExisting('again', handle, 'Delete');
    expect((await lab.ready('again')).status).toMatchObject({
      boundVolumeSnapshotContentName: 'static-again',
      restoreSize: '64Mi',
    });
    await lab.addClaim('from-kept', 'keelson', '64Mi', 'again');
    await lab.addPod('kept-reader', 'from-kept');
    expect(await lab.nodeOf('kept-reader')).toBe(node);
    expect(await lab.inPod('kept-reader', 'cat /data/file')).toBe('first');
    await lab.delete('pod', 'kept-reader');
    await lab.delete('pvc', 'from-kept');
  });

  test('that two contents name are deleted with the last of them', async () => {
    await lab.addExisting('twin', handle, 'Delete');
    await lab.ready('twin');
    await lab.delete('volumesnapshot', 'again');
    await lab.eventually('the first is refused', async () =>
      expect(await lab.notes('static-again')).toContain(
        'VolumeSnapshotContent static-twin has the same snapshot',
      ),
    );
    expect(await lab.onDisk()).toHaveLength(1);
    await lab.kubectl.run([
      'patch',
      'vsc',
      'static-again',
      '--type=merge',
      '--patch={"spec":{"deletionPolicy":"Retain"}}',
    ]);
    await lab.waitUntilDeleted('volumesnapshot', 'again');
    expect((await lab.ready('twin')).status).toMatchObject({ readyToUse: true });
    await lab.delete('volumesnapshot', 'twin');
    await lab.expectNoSnapshotsLeft();
  });

  test('report errors of their source, their class and their content', async () => {
    await lab.addSnapshot('no-claim', 'missing');
    await lab.addSnapshot('no-class', 'revived', 'missing');
    await lab.addExisting('no-data', 'snap-000000000000000000000000', 'Delete');
    const error = async (name: string): Promise<unknown> =>
      (await lab.get('volumesnapshot', name)).status?.['error'];
    await lab.eventually('all are reported', async () => {
      expect(await error('no-claim')).toMatchObject({
        message: 'snapshot default/no-claim: claim default/missing does not exist',
      });
      expect(await error('no-class')).toMatchObject({
        message: 'snapshot default/no-class: VolumeSnapshotClass missing does not exist',
      });
      expect(await error('no-data')).toMatchObject({
        message: 'snapshot snap-000000000000000000000000 not found on any node',
      });
    });
    await lab.delete('volumesnapshot', 'no-claim', 'no-class', 'no-data');
    await lab.expectNoSnapshotsLeft();
  });

  test('are handled by the standard snapshot-controller while it is active, except the part of the driver', async () => {
    const lease = (renewTime: string): object => ({
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: 'snapshot-controller-leader', namespace: 'kube-system' },
      spec: { holderIdentity: 'standard', leaseDurationSeconds: 15, renewTime },
    });
    const now = (): string => new Date().toISOString().replace('Z', '000Z');
    // A lease that is not renewed for a minute has expired.
    const atWork = new AbortController();
    const renew = async (): Promise<void> => {
      while (!atWork.signal.aborted) {
        await lab.kubectl.apply([lease(now())]);
        await sleep(5_000, { signal: atWork.signal }).catch(() => undefined);
      }
    };
    const renewing = renew();
    await using _stopped = {
      async [Symbol.asyncDispose]() {
        atWork.abort();
        await renewing;
      },
    };
    await lab.eventually('ours has noticed', async () =>
      expect(await lab.controllerLog()).toContain('Keelson handles VolumeSnapshotContents only'),
    );
    await lab.addSnapshot('foreign', 'revived', 'keelson');
    const { metadata } = await lab.get('volumesnapshot', 'foreign');
    const volumeHandle = await lab.handleOf('revived');
    await lab.addContent(`snapcontent-${metadata.uid}`, {
      driver: 'keelson.dev',
      deletionPolicy: 'Delete',
      source: { volumeHandle },
      volumeSnapshotClassName: 'keelson',
      volumeSnapshotRef: { namespace: APPLICATION, name: 'foreign', uid: metadata.uid },
    });
    await lab.kubectl.wait(`vsc/snapcontent-${metadata.uid}`, 'jsonpath={.status.readyToUse}=true');
    expect((await lab.get('volumesnapshot', 'foreign')).metadata.finalizers).toBeUndefined();
    atWork.abort();
    await renewing;
    await lab.kubectl.apply([{ ...lease(now()), spec: { holderIdentity: '' } }]);
    await lab.ready('foreign');
    await lab.eventually('ours protects it', async () =>
      expect((await lab.get('volumesnapshot', 'foreign')).metadata.finalizers).toHaveLength(2),
    );
    await lab.delete('volumesnapshot', 'foreign');
    await lab.expectNoSnapshotsLeft();
  });

  test('are neither lost nor orphaned when the controller is killed repeatedly', async () => {
    const names = Array.from({ length: KILLS }, (_, index) => `chaos-${index}`);
    for (const [index, name] of names.entries()) {
      await lab.addSnapshot(name, 'revived', index % 4 === 3 ? 'kept' : 'keelson');
      await lab.addClaim(`${name}-copy`, 'keelson', '64Mi', name);
      const [earlier] = names.slice(index - 2, index - 1);
      if (index >= 2 && index % 2 === 0 && earlier !== undefined) await lab.delete('volumesnapshot', earlier);
      await (await lab.cluster.keelson()).killController();
    }
    const deleted = names.filter((_, index) => index % 2 === 0 && index < KILLS - 2);
    const kept = names.filter((name) => !deleted.includes(name));
    for (const name of kept) {
      await lab.ready(name);
      await lab.kubectl.wait(`pvc/${name}-copy`, 'jsonpath={.status.phase}=Bound');
    }
    const uids = await Promise.all(
      kept.map(async (name) => (await lab.get('volumesnapshot', name)).metadata.uid),
    );
    await lab.eventually('as many snapshots as are asked for are on the disks', async () =>
      expect(await lab.onDisk()).toEqual(uids.map((uid) => `snapshot-${uid}`).sort()),
    );
    await lab.delete('pvc', ...names.map((name) => `${name}-copy`));
    await lab.kubectl.run([
      'patch',
      'vsc',
      '--type=merge',
      '--patch={"spec":{"deletionPolicy":"Delete"}}',
      ...(await lab.list('vsc')).map(({ metadata }) => metadata.name),
    ]);
    await lab.delete('volumesnapshot', ...kept);
    await lab.expectNoSnapshotsLeft();
  });
});
