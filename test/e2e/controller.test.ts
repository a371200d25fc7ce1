import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LOCAL_VOLUMES } from '../../src/api/local-volume.ts';
import {
  CSI_STORAGE_CAPACITIES,
  EVENTS,
  LEASES,
  NODES,
  PERSISTENT_VOLUME_CLAIMS,
  PERSISTENT_VOLUMES,
  PODS,
} from '../../src/kube/built-in.ts';
import { listAll } from '../../src/kube/client.ts';
import {
  addClaim,
  addNode,
  addPod,
  type ControllerLab,
  claimNamed,
  eventually,
  GI,
  startControllerLab,
} from './controller-lab.ts';

const MINUTES = 60_000;
let lab: ControllerLab;

beforeAll(async () => {
  lab = await startControllerLab({
    skip: (first?: boolean | string, note?: string): never => {
      throw new Error(note ?? String(first));
    },
  });
  await lab.startController({ elected: true });
}, 10 * MINUTES);

afterAll(async () => {
  await lab?.[Symbol.asyncDispose]();
}, MINUTES);

async function bound(name: string): Promise<{ readonly volumeName: string; readonly node: string }> {
  return await eventually(async () => {
    const claim = await claimNamed(lab.client, name);
    expect(claim.status?.phase, `${name}\n${await lab.controllerLog()}`).toBe('Bound');
    const volumeName = claim.spec?.volumeName ?? '';
    const volume = await lab.client.get(LOCAL_VOLUMES, { name: volumeName });
    return { volumeName, node: volume.spec.nodeName };
  }, MINUTES);
}

async function deleteClaim(name: string): Promise<void> {
  await lab.client.delete(PERSISTENT_VOLUME_CLAIMS, { namespace: 'default', name });
}

async function deletePod(name: string): Promise<void> {
  await lab.client.delete(PODS, { namespace: 'default', name }, { gracePeriodSeconds: 0 });
}

async function notes(name: string): Promise<string> {
  const events = await listAll(lab.client, EVENTS, { namespace: 'default' });
  return events
    .filter(({ regarding }) => regarding?.name === name)
    .map(({ reason, note }) => `${reason}: ${note}`)
    .join('\n');
}

async function expectNothingLeft(): Promise<void> {
  await eventually(async () => {
    expect(await listAll(lab.client, LOCAL_VOLUMES)).toEqual([]);
    expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
    expect([...lab.agents.disk]).toEqual([]);
  }, MINUTES);
}

describe('the controller on a real API server, binder and scheduler', { timeout: 5 * MINUTES }, () => {
  test('a claim that waits for its pod is bound on the node of the pod, and deleted with its data', async () => {
    await addClaim(lab.client, 'first', 'local');
    await addPod(lab.client, 'first');
    const { volumeName, node } = await bound('first');
    const pod = await eventually(async () => {
      const found = await lab.client.get(PODS, { namespace: 'default', name: 'first' });
      expect(found.spec?.nodeName).toBeTruthy();
      return found;
    });
    expect(pod.spec?.nodeName).toBe(node);
    const owner = await lab.client.get(PERSISTENT_VOLUMES, { name: volumeName });
    expect(owner.spec).toMatchObject({
      capacity: { storage: '1Gi' },
      mountOptions: ['noatime'],
      persistentVolumeReclaimPolicy: 'Delete',
      csi: { driver: 'keelson.dev' },
      claimRef: { name: 'first', uid: volumeName.slice('pvc-'.length) },
    });
    await eventually(async () => expect(await notes('first')).toContain('ProvisioningSucceeded'));
    const lease = await lab.client.get(LEASES, { namespace: 'default', name: 'keelson-controller' });
    expect(lease.spec?.holderIdentity).toBeTruthy();
    expect(await lab.isReady()).toBe(true);
    await deletePod('first');
    await deleteClaim('first');
    await expectNothingLeft();
  });

  test('a claim is bound to an available PersistentVolume of its class that is large enough, and otherwise to a new volume', async () => {
    const name = 'by-hand';
    await lab.client.create(PERSISTENT_VOLUMES, {
      metadata: { name },
      spec: {
        capacity: { storage: '2Gi' },
        accessModes: ['ReadWriteOnce'],
        persistentVolumeReclaimPolicy: 'Retain',
        storageClassName: 'at-once',
        csi: { driver: 'other.example.com', volumeHandle: name },
      },
    });
    await addClaim(lab.client, 'large', 'at-once', '3Gi');
    const { volumeName } = await bound('large');
    await addClaim(lab.client, 'small', 'at-once', '1Gi');
    await eventually(async () => {
      const { spec, status } = await claimNamed(lab.client, 'small');
      expect([spec?.volumeName, status?.phase]).toEqual([name, 'Bound']);
    });
    // What may have been begun in the moment before goes again.
    await eventually(async () => {
      const made = await listAll(lab.client, LOCAL_VOLUMES);
      expect(made.map(({ metadata }) => metadata?.name)).toEqual([volumeName]);
    });
    await deleteClaim('large');
    await deleteClaim('small');
    await lab.client.delete(PERSISTENT_VOLUMES, { name });
    await expectNothingLeft();
  });

  test('the scheduler reads the free capacity of each node, and none of a deleted node', async () => {
    const figures = async (): Promise<Record<string, string>> =>
      Object.fromEntries(
        (await listAll(lab.client, CSI_STORAGE_CAPACITIES)).map((object) => [
          `${object.storageClassName}/${Object.values(object.nodeTopology?.matchLabels ?? {}).join()}`,
          object.maximumVolumeSize ?? '',
        ]),
      );
    await eventually(async () =>
      expect(await figures()).toEqual({ 'local/node-a': '10Gi', 'local/node-b': '10Gi' }),
    );
    await addClaim(lab.client, 'three', 'at-once', '3Gi');
    const { node } = await bound('three');
    await eventually(async () => expect((await figures())[`local/${node}`]).toBe('7Gi'));
    await deleteClaim('three');
    await expectNothingLeft();
    await lab.client.delete(NODES, { name: 'node-b' });
    await eventually(async () => expect(Object.keys(await figures())).toEqual(['local/node-a']));
    await eventually(async () => addNode(lab.client, 'node-b'));
    await eventually(async () => expect(Object.keys(await figures())).toHaveLength(2));
  });

  test('a pod is rescheduled when its node turns out to be full', async () => {
    lab.agents.full.add('node-a');
    const names = ['spill-1', 'spill-2', 'spill-3'];
    for (const name of names) {
      await addClaim(lab.client, name, 'local');
      await addPod(lab.client, name);
    }
    for (const name of names) expect((await bound(name)).node).toBe('node-b');
    lab.agents.full.delete('node-a');
    await lab.agents.publish('node-a');
    for (const name of names) {
      await deletePod(name);
      await deleteClaim(name);
    }
    await expectNothingLeft();
  });

  test('a retained volume survives its claim and its PersistentVolume', async () => {
    await addClaim(lab.client, 'kept', 'kept');
    const { volumeName } = await bound('kept');
    await deleteClaim('kept');
    await eventually(async () =>
      expect((await lab.client.get(PERSISTENT_VOLUMES, { name: volumeName })).status?.phase).toBe('Released'),
    );
    await lab.client.delete(PERSISTENT_VOLUMES, { name: volumeName });
    await eventually(async () => expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]));
    await lab.killController();
    await lab.startController();
    // Another claim's whole life is time enough for the new process to have looked at everything.
    await addClaim(lab.client, 'marker', 'at-once');
    const marker = await bound('marker');
    await deleteClaim('marker');
    await eventually(async () =>
      expect((await listAll(lab.client, LOCAL_VOLUMES)).map(({ metadata }) => metadata?.name)).not.toContain(
        marker.volumeName,
      ),
    );
    expect([...lab.agents.disk.values()].map(({ name }) => name)).toEqual([volumeName]);
    await lab.client.delete(LOCAL_VOLUMES, { name: volumeName });
    await expectNothingLeft();
  });

  test('a claim that is deleted while its volume is created leaves nothing', async () => {
    lab.agents.stopped.add('node-a').add('node-b');
    const claim = await addClaim(lab.client, 'hasty', 'at-once');
    const name = `pvc-${claim.metadata?.uid ?? ''}`;
    const volume = await eventually(async () => lab.client.get(LOCAL_VOLUMES, { name }));
    await deleteClaim('hasty');
    await eventually(async () => expect(await listAll(lab.client, LOCAL_VOLUMES)).toEqual([]));
    expect(volume.spec.claim?.name).toBe('hasty');
    lab.agents.stopped.clear();
    await expectNothingLeft();
  });

  test('the controller does not delete volumes and snapshots of the same names that it did not create', async () => {
    const common = {
      nodeName: 'node-a',
      poolName: 'default',
      size: '1Gi',
      volumeMode: 'Filesystem',
    } as const;
    await lab.client.create(LOCAL_VOLUMES, {
      metadata: { name: 'by-hand' },
      spec: { ...common, type: 'Volume' },
    });
    await lab.client.create(LOCAL_VOLUMES, {
      metadata: { name: 'snapshot-1' },
      spec: {
        ...common,
        type: 'Snapshot',
        source: { volumeName: 'by-hand' },
        claim: { namespace: 'default', name: 'no-claim', uid: '1' },
      },
    });
    await addClaim(lab.client, 'after', 'at-once');
    await bound('after');
    for (const name of ['by-hand', 'snapshot-1']) {
      const { metadata } = await lab.client.get(LOCAL_VOLUMES, { name });
      expect(metadata?.deletionTimestamp).toBeUndefined();
      await lab.client.delete(LOCAL_VOLUMES, { name });
    }
    await deleteClaim('after');
    await expectNothingLeft();
  });

  test('a node that is lost while it creates a volume delays no other claim', async () => {
    lab.agents.stopped.add('node-a').add('node-b');
    const claim = await addClaim(lab.client, 'moved', 'at-once');
    const name = `pvc-${claim.metadata?.uid ?? ''}`;
    const { spec } = await eventually(async () => lab.client.get(LOCAL_VOLUMES, { name }));
    const finalizers = ['keelson.dev/data'];
    await lab.client.patch(LOCAL_VOLUMES, { name }, { merge: { metadata: { finalizers } } });
    lab.agents.stopped.delete(spec.nodeName === 'node-a' ? 'node-b' : 'node-a');
    await lab.client.delete(NODES, { name: spec.nodeName });
    const { node } = await bound('moved');
    expect(node).not.toBe(spec.nodeName);
    lab.agents.stopped.clear();
    await eventually(async () => addNode(lab.client, spec.nodeName));
    await deleteClaim('moved');
    await expectNothingLeft();
  });

  test('a clone is created on the node of its source before a pod uses it', async () => {
    await addClaim(lab.client, 'source', 'at-once', '2Gi');
    const source = await bound('source');
    const dataSource = { kind: 'PersistentVolumeClaim', name: 'source' };
    await addClaim(lab.client, 'clone', 'local', '2Gi', { dataSource });
    const clone = await bound('clone');
    expect(clone.node).toBe(source.node);
    const { spec } = await lab.client.get(LOCAL_VOLUMES, { name: clone.volumeName });
    expect(spec.source?.volumeName).toBe(source.volumeName);
    await addPod(lab.client, 'clone');
    await eventually(async () => {
      const pod = await lab.client.get(PODS, { namespace: 'default', name: 'clone' });
      expect(pod.spec?.nodeName).toBe(source.node);
    });
    await deletePod('clone');
    await deleteClaim('clone');
    await deleteClaim('source');
    await expectNothingLeft();
  });

  test('a claim that no node can satisfy has an event with the reason', async () => {
    await addClaim(lab.client, 'shared', 'at-once', '1Gi', { accessModes: ['ReadWriteMany'] });
    await addClaim(lab.client, 'huge', 'at-once', '100Gi');
    await eventually(async () => {
      expect(await notes('shared')).toMatch(/ReadWriteMany.*on one node/);
      expect(await notes('huge')).toContain('node-a: pool default has 10 GiB free');
    });
    await deleteClaim('shared');
    await deleteClaim('huge');
    await expectNothingLeft();
  });

  test('killed ten times while it works, it leaves exactly one volume for each claim', async () => {
    lab.agents.capacity.set('node-a', 100n * GI).set('node-b', 100n * GI);
    for (const node of lab.agents.capacity.keys()) await lab.agents.publish(node);
    const names = Array.from({ length: 40 }, (_, index) => `many-${index}`);
    const deleted = names.filter((_, index) => index % 4 === 0);
    const kept = names.filter((_, index) => index % 4 !== 0);
    for (let round = 0; round < 10; round += 1) {
      for (const name of names.slice(round * 4, round * 4 + 4)) await addClaim(lab.client, name, 'at-once');
      const [early] = deleted.slice(round, round + 1);
      await new Promise((resolve) => setTimeout(resolve, 150 * round));
      if (early !== undefined) await deleteClaim(early);
      await lab.killController();
      await lab.startController();
    }
    for (const name of kept) await bound(name);
    await eventually(async () => {
      const owners = (await listAll(lab.client, PERSISTENT_VOLUMES)).map(({ metadata }) => metadata?.name);
      const volumes = (await listAll(lab.client, LOCAL_VOLUMES)).map(({ metadata }) => metadata?.name);
      const onDisk = [...lab.agents.disk.values()].map(({ name }) => name);
      expect(owners).toHaveLength(kept.length);
      expect(volumes.toSorted()).toEqual(owners.toSorted());
      expect(onDisk.toSorted()).toEqual(owners.toSorted());
    }, MINUTES);
    for (const name of kept) await deleteClaim(name);
    await expectNothingLeft();
  });
});
