import { expect, test } from 'vitest';
import {
  type ControllerOnFakes,
  SPACE,
  startControllerOnFakes,
} from '../../../test/fakes/controller-on-fakes.ts';
import { LOCAL_VOLUMES } from '../../api/local-volume.ts';
import { Fault } from '../../core/fault.ts';
import { NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES } from '../../kube/built-in.ts';
import { listAll } from '../../kube/client.ts';

const READY = { phase: 'Ready', capacity: '2Gi', volumeHandle: 'vol-1' } as const;
const ASKED = { 'volume.kubernetes.io/storage-provisioner': 'keelson.dev' };
const SELECTED = 'volume.kubernetes.io/selected-node';

const CLAIM = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '2Gi' } } };

const waiting = (node: string): object => ({
  metadata: { name: 'data', namespace: SPACE, annotations: { ...ASKED, [SELECTED]: node } },
  spec: { ...CLAIM, storageClassName: 'local' },
});
const deleteClaim = async (lab: ControllerOnFakes): Promise<void> => {
  await lab.client.delete(PERSISTENT_VOLUME_CLAIMS, { namespace: SPACE, name: 'data' });
  await lab.settle();
};
const writes = ({ client }: ControllerOnFakes): readonly string[] =>
  client.calls.filter((call) => /^(create|patch|delete|update)/.test(call));

test('a claim becomes an intent, the intent a volume, and that a PersistentVolume of this very claim', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addClaim('data');
  expect((await lab.volume(name)).spec).toMatchObject({
    nodeName: 'n1',
    poolName: 'default',
    size: '2Gi',
    claim: { namespace: SPACE, name: 'data', uid: name.slice('pvc-'.length) },
  });
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
  await lab.answer(name, READY);
  const owner = await lab.client.get(PERSISTENT_VOLUMES, { name });
  expect(owner.spec).toMatchObject({
    csi: { driver: 'keelson.dev', volumeHandle: 'vol-1' },
    claimRef: { namespace: SPACE, name: 'data', uid: name.slice('pvc-'.length) },
  });
  const before = writes(lab).length;
  await lab.settle(600_000);
  expect(writes(lab).slice(before)).toEqual([]);
});

const UNANNOTATED = { metadata: { name: 'data', namespace: SPACE, annotations: {} } };

test('the binder is not waited for where it has nothing to choose from', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addClaim('data', UNANNOTATED);
  await lab.answer(name, READY);
  const owner = await lab.client.get(PERSISTENT_VOLUMES, { name });
  expect(owner.spec?.claimRef).toMatchObject({ name: 'data', uid: name.slice('pvc-'.length) });
});

test.each([
  ['of its class', {}],
  ['that is kept for it', { claimRef: { namespace: SPACE, name: 'data' }, storageClassName: 'kept' }],
])('the binder is waited for where there is a PersistentVolume %s', async (_which, change) => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const spec = { storageClassName: 'at-once', capacity: { storage: '2Gi' }, ...change };
  await lab.client.create(PERSISTENT_VOLUMES, { metadata: { name: 'by-hand' }, spec });
  const name = await lab.addClaim('data', UNANNOTATED);
  await lab.settle(60_000);
  expect(await listAll(lab.client, LOCAL_VOLUMES)).toEqual([]);
  const merge = { metadata: { annotations: ASKED } };
  await lab.client.patch(PERSISTENT_VOLUME_CLAIMS, UNANNOTATED.metadata, { merge });
  await lab.settle();
  expect((await lab.volume(name)).spec.nodeName).toBe('n1');
});

test.each([
  ['of another claim', { claimRef: { namespace: SPACE, name: 'other' } }],
  ['that an earlier claim of its name had', { claimRef: { namespace: SPACE, name: 'data', uid: 'old' } }],
  ['of another class', { storageClassName: 'kept' }],
])('a PersistentVolume %s cannot be chosen', async (_which, change) => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const spec = { storageClassName: 'at-once', capacity: { storage: '2Gi' }, ...change };
  await lab.client.create(PERSISTENT_VOLUMES, { metadata: { name: 'by-hand' }, spec });
  const name = await lab.addClaim('data', UNANNOTATED);
  expect((await lab.volume(name)).spec.nodeName).toBe('n1');
});

test('what was begun for a claim that the binder then gives a PersistentVolume by hand is taken back', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addClaim('data', UNANNOTATED);
  const spec = { storageClassName: 'at-once', capacity: { storage: '2Gi' } };
  await lab.client.create(PERSISTENT_VOLUMES, { metadata: { name: 'by-hand' }, spec });
  await lab.answer(name, READY);
  await lab.settle(60_000);
  expect((await listAll(lab.client, PERSISTENT_VOLUMES)).map(({ metadata }) => metadata?.name)).toEqual([
    'by-hand',
  ]);
  const merge = { spec: { volumeName: 'by-hand' } };
  await lab.client.patch(PERSISTENT_VOLUME_CLAIMS, UNANNOTATED.metadata, { merge });
  await lab.settle();
  expect((await lab.volume(name)).metadata?.deletionTimestamp).toBeDefined();
});

test.each(['unavailable', 'timeout', 'busy', 'conflict'] as const)(
  'a server that answers %s once is asked again, and nothing is made twice',
  async (kind) => {
    await using lab = await startControllerOnFakes();
    await lab.addNode('n1');
    const metadata = { name: 'data', namespace: SPACE };
    const name = await lab.addClaim('data', { metadata, spec: { ...CLAIM, storageClassName: 'local' } });
    lab.client.failures.push({ verb: 'create', error: new Fault(kind, 'not now') });
    const merge = { metadata: { annotations: { ...ASKED, [SELECTED]: 'n1' } } };
    await lab.client.patch(PERSISTENT_VOLUME_CLAIMS, metadata, { merge });
    await lab.settle(600_000);
    lab.client.failures.push({ verb: 'create', error: new Fault(kind, 'not now') });
    await lab.answer(name, READY);
    await lab.settle(600_000);
    expect(lab.client.failures).toEqual([]);
    expect(await listAll(lab.client, LOCAL_VOLUMES)).toHaveLength(1);
    expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toHaveLength(1);
  },
);

test('a claim that is deleted before its volume exists leaves nothing', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addClaim('data');
  await deleteClaim(lab);
  await lab.answer(name, READY);
  await lab.cleanUp(name);
  await lab.settle(10_000);
  expect(await listAll(lab.client, LOCAL_VOLUMES)).toEqual([]);
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
});

test('a node without an agent does not block the name of a volume that it never saw', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('silent');
  await lab.addNode('n1');
  const name = await lab.addClaim('data', waiting('silent'));
  const merge = { metadata: { annotations: { [SELECTED]: 'n1' } } };
  await lab.client.patch(PERSISTENT_VOLUME_CLAIMS, { namespace: SPACE, name: 'data' }, { merge });
  await lab.settle(20_000);
  expect((await lab.volume(name)).spec.nodeName).toBe('silent');
  await lab.settle(20_000);
  expect((await lab.volume(name)).spec.nodeName).toBe('n1');
});

test('a LocalVolume for a claim that was deleted is removed again', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const metadata = { name: 'data', namespace: SPACE };
  await lab.addClaim('data', { metadata, spec: { ...CLAIM, storageClassName: 'local' } });
  const merge = { metadata: { annotations: { ...ASKED, [SELECTED]: 'n1' } } };
  // Both are news by the time that the controller acts on the first.
  await lab.client.patch(PERSISTENT_VOLUME_CLAIMS, metadata, { merge });
  await deleteClaim(lab);
  for (const { metadata } of await listAll(lab.client, LOCAL_VOLUMES)) {
    expect(metadata?.deletionTimestamp).toBeDefined();
    await lab.cleanUp(metadata?.name ?? '');
  }
  expect(await listAll(lab.client, LOCAL_VOLUMES)).toEqual([]);
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
});

test('with Retain nothing is published for a claim that was deleted', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const metadata = { name: 'data', namespace: SPACE };
  const name = await lab.addClaim('data', { metadata, spec: { ...CLAIM, storageClassName: 'kept' } });
  // Both are news by the time that the controller acts on the first.
  await lab.client.patch(LOCAL_VOLUMES, { name }, { merge: { status: READY } }, { subresource: 'status' });
  await deleteClaim(lab);
  await lab.settle(60_000);
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
  expect((await lab.volume(name)).metadata?.deletionTimestamp).toBeDefined();
});

test('a claim on a node that is full is handed back to the scheduler, and its intent goes', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addClaim('data', waiting('n1'));
  await lab.answer(name, { phase: 'Exhausted', message: 'the pool is full' });
  const { metadata } = await lab.claim('data');
  expect(metadata?.annotations).toEqual(ASKED);
  expect(lab.events.at(-1)).toContain('pool default on node n1 has not enough free space: the pool is full');
  expect((await lab.volume(name)).metadata?.deletionTimestamp).toBeDefined();
  await lab.cleanUp(name);
  expect(await listAll(lab.client, LOCAL_VOLUMES)).toEqual([]);
});

test('a claim that no node can have waits in words, and is served when room turns up', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('small', 1);
  await lab.addClaim('data');
  expect(lab.events.at(-1)).toContain('small: pool default has 1 GiB free');
  await lab.addNode('large');
  await lab.settle();
  expect((await listAll(lab.client, LOCAL_VOLUMES)).map(({ spec }) => spec.nodeName)).toEqual(['large']);
});

test('unresponsive nodes get no volume', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('silent', 20);
  const taints = [{ key: 'node.kubernetes.io/unreachable', effect: 'NoSchedule' }];
  await lab.client.patch(NODES, { name: 'silent' }, { merge: { spec: { taints } } });
  await lab.addNode('n1');
  const name = await lab.addClaim('data');
  expect((await lab.volume(name)).spec.nodeName).toBe('n1');
});

test('a volume that is ready at once has one event, a slow one has a Provisioning event before', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addClaim('data');
  await lab.answer(name, READY);
  await lab.settle(60_000);
  const succeeded = `PersistentVolumeClaim data ProvisioningSucceeded: volume ${name} is ready in pool default on node n1`;
  expect(lab.events).toEqual([succeeded]);
  const metadata = { name: 'slow', namespace: SPACE, annotations: { ...ASKED, [SELECTED]: 'n1' } };
  await lab.addClaim('slow', { metadata, spec: { ...CLAIM, storageClassName: 'local' } });
  await lab.settle(60_000);
  expect(lab.events).toEqual([
    succeeded,
    'PersistentVolumeClaim slow Provisioning: creating a volume of 2Gi in pool default on node n1',
  ]);
});
