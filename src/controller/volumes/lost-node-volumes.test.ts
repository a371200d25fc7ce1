import { expect, test } from 'vitest';
import {
  type ControllerOnFakes,
  SPACE,
  startControllerOnFakes,
} from '../../../test/fakes/controller-on-fakes.ts';
import { LOCAL_VOLUMES } from '../../api/local-volume.ts';
import { NODE_INVENTORIES } from '../../api/node-inventory.ts';
import { NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES } from '../../kube/built-in.ts';
import { listAll } from '../../kube/client.ts';
import { RELEASE } from './lost-node-volumes.ts';

async function giveUp(lab: ControllerOnFakes, name: string, uid?: string): Promise<void> {
  const { metadata } = await lab.volume(name);
  const merge = { metadata: { annotations: { [RELEASE]: uid ?? metadata?.uid } } };
  await lab.client.patch(LOCAL_VOLUMES, { name }, { merge });
  await lab.settle();
}

/** What kube-controller-manager makes of a claim that is deleted. */
async function deleteClaim(lab: ControllerOnFakes, volume: string): Promise<void> {
  await lab.client.delete(PERSISTENT_VOLUME_CLAIMS, { namespace: SPACE, name: 'data' });
  const merge = { status: { phase: 'Released' } };
  await lab.client.patch(PERSISTENT_VOLUMES, { name: volume }, { merge }, { subresource: 'status' });
  await lab.settle();
}

const reasons = async (lab: ControllerOnFakes, name: string): Promise<readonly string[]> =>
  ((await lab.volume(name)).status?.conditions ?? []).map(({ reason }) => reason);

test('a deleted node is reported on its claims; one that returns clears the report', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  await lab.client.delete(NODES, { name: 'n1' });
  await lab.settle();
  expect(lab.events.at(-1)).toContain(`data NodeLost: volume ${name} is on node n1, which no longer exists`);
  expect(await reasons(lab, name)).toEqual(['NodeLost']);
  await lab.client.create(NODES, { metadata: { name: 'n1' } });
  await lab.settle();
  expect(await reasons(lab, name)).toEqual([]);
  expect((await lab.volume(name)).metadata?.finalizers).toEqual(['keelson.dev/data']);
});

test('a volume of a deleted node is only deleted when it is released and its claim is deleted', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  await lab.client.delete(NODES, { name: 'n1' });
  await giveUp(lab, name, 'of-another');
  await lab.settle(3_600_000);
  expect((await lab.volume(name)).metadata?.deletionTimestamp).toBeUndefined();
  await giveUp(lab, name);
  expect(lab.events.at(-1)).toContain('VolumeReleased');
  expect((await lab.volume(name)).metadata?.deletionTimestamp).toBeUndefined();
  await deleteClaim(lab, name);
  expect(await listAll(lab.client, LOCAL_VOLUMES)).toEqual([]);
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
});

test('a claim that is deleted while its node is absent waits for the node, or for a release', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  await lab.client.delete(NODES, { name: 'n1' });
  await deleteClaim(lab, name);
  await lab.settle(3_600_000);
  expect((await lab.volume(name)).metadata?.deletionTimestamp).toBeDefined();
  await giveUp(lab, name);
  expect(await listAll(lab.client, LOCAL_VOLUMES)).toEqual([]);
  expect(await listAll(lab.client, PERSISTENT_VOLUMES)).toEqual([]);
});

test('a deleted snapshot of a deleted node only disappears when it is released', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  await lab.client.create(LOCAL_VOLUMES, {
    metadata: { name: 'snap', finalizers: ['keelson.dev/data'] },
    spec: { nodeName: 'n1', poolName: 'default', type: 'Snapshot', size: '2Gi', volumeMode: 'Filesystem' },
  });
  await lab.client.delete(NODES, { name: 'n1' });
  await lab.settle();
  expect(await reasons(lab, 'snap')).toEqual(['NodeLost']);
  await lab.client.delete(LOCAL_VOLUMES, { name: 'snap' });
  await lab.settle(3_600_000);
  expect((await lab.volume('snap')).metadata?.finalizers).toEqual(['keelson.dev/data']);
  await giveUp(lab, 'snap');
  expect(await listAll(lab.client, LOCAL_VOLUMES)).toEqual([]);
});

test('nothing of a Ready node is released', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  const status = { conditions: [{ type: 'Ready', status: 'True' }] };
  // A taint that was left behind does not make it silent: its own word counts.
  const merge = { spec: { taints: [{ key: 'node.kubernetes.io/unreachable', effect: 'NoSchedule' }] } };
  await lab.client.patch(NODES, { name: 'n1' }, { merge });
  await lab.client.patch(NODES, { name: 'n1' }, { merge: { status } }, { subresource: 'status' });
  await lab.client.delete(LOCAL_VOLUMES, { name });
  await giveUp(lab, name);
  await lab.settle(3_600_000);
  expect((await lab.volume(name)).metadata?.finalizers).toEqual(['keelson.dev/data']);
  expect(lab.events.at(-1)).toContain('ReleaseRefused');
  // Nor when the node is silent later on: that was not what was meant.
  expect((await lab.volume(name)).metadata?.annotations).not.toHaveProperty(RELEASE);
  await lab.client.delete(NODES, { name: 'n1' });
  await lab.settle(3_600_000);
  expect((await lab.volume(name)).metadata?.finalizers).toEqual(['keelson.dev/data']);
});

test('lost data is reported on the claim', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const name = await lab.addBound('data', 'n1');
  await lab.answer(name, { phase: 'Lost', message: 'volume vol-data is no longer on this node' });
  expect(lab.events.at(-1)).toMatch(/^PersistentVolumeClaim data VolumeLost: .*no longer on this node$/);
});

test('the inventory of a node is deleted some time after the node; a node that returns keeps it', async () => {
  await using lab = await startControllerOnFakes();
  const names = async (): Promise<readonly (string | undefined)[]> =>
    (await listAll(lab.client, NODE_INVENTORIES)).map(({ metadata }) => metadata?.name);
  for (const name of ['n1', 'n2']) await lab.addNode(name);
  for (const name of ['n1', 'n2']) await lab.client.delete(NODES, { name });
  await lab.settle(200_000);
  await lab.client.create(NODES, { metadata: { name: 'n2' } });
  expect(await names()).toEqual(['n1', 'n2']);
  await lab.settle(200_000);
  expect(await names()).toEqual(['n2']);
});
