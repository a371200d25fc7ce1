import { expect, test } from 'vitest';
import {
  type ControllerOnFakes,
  SPACE,
  startControllerOnFakes,
} from '../../../test/fakes/controller-on-fakes.ts';
import { LOCAL_VOLUMES } from '../../api/local-volume.ts';
import { DRIVER_NAME, TOPOLOGY_KEY } from '../../core/volumes/driver.ts';
import { Fault } from '../../core/fault.ts';
import { PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES } from '../../kube/built-in.ts';
import { listAll } from '../../kube/client.ts';

const FINALIZER = 'external-provisioner.volume.kubernetes.io/finalizer';

async function releaseClaim(lab: ControllerOnFakes, name: string): Promise<void> {
  await lab.client.delete(PERSISTENT_VOLUME_CLAIMS, { namespace: SPACE, name: 'data' });
  const merge = { status: { phase: 'Released' } };
  await lab.client.patch(PERSISTENT_VOLUMES, { name }, { merge }, { subresource: 'status' });
  await lab.settle();
}

test('data goes first, then the PersistentVolume', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  await releaseClaim(lab, name);
  expect((await lab.volume(name)).metadata?.deletionTimestamp).toBeDefined();
  expect((await lab.client.get(PERSISTENT_VOLUMES, { name })).metadata?.deletionTimestamp).toBeUndefined();
  await lab.cleanUp(name);
  expect(await listAll(lab.client, LOCAL_VOLUMES)).toEqual([]);
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
});

test('the API server is asked whether the data is deleted only where its deletion was not seen', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  await releaseClaim(lab, name);
  const before = lab.client.calls.length;
  await lab.cleanUp(name);
  expect(lab.client.calls.slice(before).filter((call) => call.startsWith('get'))).toEqual([]);
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
  await lab.client.create(PERSISTENT_VOLUMES, {
    metadata: { name: 'stranger', finalizers: [FINALIZER] },
    spec: {
      persistentVolumeReclaimPolicy: 'Delete',
      csi: { driver: DRIVER_NAME, volumeHandle: 'vol-unseen' },
      nodeAffinity: {},
    },
    status: { phase: 'Released' },
  });
  await lab.settle();
  expect(lab.client.calls.slice(before)).toContain('get localvolumes');
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
});

test('a server that fails in the middle is asked again', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  lab.client.failures.push({ verb: 'get', error: new Fault('unavailable', 'not now') });
  await releaseClaim(lab, name);
  await lab.settle(10_000);
  lab.client.failures.push({ verb: 'delete', error: new Fault('unavailable', 'not now') });
  await lab.cleanUp(name);
  await lab.settle(10_000);
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
});

test('with Retain the data stays, also when the PersistentVolume is deleted, and is listed as kept', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  const merge = { spec: { persistentVolumeReclaimPolicy: 'Retain' } };
  await lab.client.patch(PERSISTENT_VOLUMES, { name }, { merge });
  await lab.settle();
  await releaseClaim(lab, name);
  await lab.client.delete(PERSISTENT_VOLUMES, { name });
  await lab.settle();
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
  expect((await lab.volume(name)).metadata?.deletionTimestamp).toBeUndefined();
  expect((await lab.volume(name)).status?.conditions).toMatchObject([{ type: 'Owned', reason: 'Retained' }]);
});

test('a PersistentVolume that is written by hand learns where it is; with Delete its data goes with it', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const volume = {
    nodeName: 'n1',
    poolName: 'default',
    type: 'Volume',
    size: '1Gi',
    volumeMode: 'Filesystem',
  } as const;
  await lab.client.create(LOCAL_VOLUMES, { metadata: { name: 'old' }, spec: volume });
  await lab.answer('old', { phase: 'Ready', capacity: '1Gi', volumeHandle: 'vol-old' });
  await lab.client.create(PERSISTENT_VOLUMES, {
    metadata: { name: 'by-hand' },
    spec: {
      capacity: { storage: '1Gi' },
      persistentVolumeReclaimPolicy: 'Delete',
      csi: { driver: DRIVER_NAME, volumeHandle: 'vol-old' },
    },
  });
  const phase = async (status: string): Promise<void> => {
    const merge = { status: { phase: status } };
    await lab.client.patch(PERSISTENT_VOLUMES, { name: 'by-hand' }, { merge }, { subresource: 'status' });
    await lab.settle();
  };
  await phase('Bound');
  const { metadata, spec } = await lab.client.get(PERSISTENT_VOLUMES, { name: 'by-hand' });
  expect(metadata?.finalizers).toEqual([FINALIZER]);
  expect(spec?.nodeAffinity?.required?.nodeSelectorTerms).toEqual([
    { matchExpressions: [{ key: TOPOLOGY_KEY, operator: 'In', values: ['n1'] }] },
  ]);
  await phase('Released');
  expect(await listAll(lab.client, LOCAL_VOLUMES)).toEqual([]);
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
});

test('data that two PersistentVolumes have outlives the first of them', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  const { spec } = await lab.client.get(PERSISTENT_VOLUMES, { name });
  await lab.client.create(PERSISTENT_VOLUMES, { metadata: { name: 'second' }, ...(spec && { spec }) });
  await releaseClaim(lab, name);
  expect((await lab.volume(name)).metadata?.deletionTimestamp).toBeUndefined();
  expect(lab.events.at(-1)).toContain('VolumeFailedDelete: PersistentVolume second has the same volume');
});

const marks = ({ client }: ControllerOnFakes): number =>
  client.calls.filter((call) => call === 'patch localvolumes').length;
/** The agent's answer, and no more than what the controller does upon it at once. */
async function makeReady(lab: ControllerOnFakes, name: string): Promise<void> {
  const status = { phase: 'Ready', capacity: '2Gi', volumeHandle: `vol-${name}` } as const;
  await lab.client.patch(LOCAL_VOLUMES, { name }, { merge: { status } }, { subresource: 'status' });
  await lab.settle(10);
}

test('a claim that is deleted at once costs no annotation of its PersistentVolume; another one is annotated in the quiet period', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1', 100);
  const short = await lab.addClaim('data');
  await makeReady(lab, short);
  const before = marks(lab);
  await releaseClaim(lab, short);
  await lab.cleanUp(short);
  // The agent's, whom the test plays.
  expect(marks(lab) - before).toBe(1);
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
  const long = await lab.addClaim('kept');
  await makeReady(lab, long);
  await lab.settle(800);
  const bound = { status: { phase: 'Bound' } };
  const where = { namespace: SPACE, name: 'kept' };
  await lab.client.patch(PERSISTENT_VOLUME_CLAIMS, where, { merge: bound }, { subresource: 'status' });
  await lab.settle(800);
  expect((await lab.volume(long)).metadata?.annotations).toBeUndefined();
  await lab.settle(800);
  expect((await lab.volume(long)).metadata?.annotations).toEqual({ 'keelson.dev/persistent-volume': long });
  expect(lab.events).toEqual([
    `PersistentVolumeClaim kept ProvisioningSucceeded: volume ${long} is ready in pool default on node n1`,
  ]);
});

test('data outlives a PersistentVolume that is torn away before it was noted', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addClaim('data');
  await makeReady(lab, name);
  expect((await lab.volume(name)).metadata?.annotations).toBeUndefined();
  // Both are news at once.
  await lab.client.patch(PERSISTENT_VOLUMES, { name }, { merge: { metadata: { finalizers: [] } } });
  await lab.client.delete(PERSISTENT_VOLUMES, { name });
  await lab.client.delete(PERSISTENT_VOLUME_CLAIMS, { namespace: SPACE, name: 'data' });
  await lab.settle(60_000);
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
  expect((await lab.volume(name)).metadata).toMatchObject({
    annotations: { 'keelson.dev/persistent-volume': name },
  });
  expect((await lab.volume(name)).metadata?.deletionTimestamp).toBeUndefined();
});
