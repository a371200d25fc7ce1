import { expect, test } from 'vitest';
import {
  type ControllerOnFakes,
  SPACE,
  startControllerOnFakes,
} from '../../../test/fakes/controller-on-fakes.ts';
import { NODE_INVENTORIES } from '../../api/node-inventory.ts';
import {
  CSI_STORAGE_CAPACITIES,
  NODES,
  PERSISTENT_VOLUME_CLAIMS,
  STORAGE_CLASSES,
} from '../../kube/built-in.ts';
import { listAll } from '../../kube/client.ts';

const SELECTED_N1 = {
  'volume.kubernetes.io/storage-provisioner': 'keelson.dev',
  'volume.kubernetes.io/selected-node': 'n1',
};
const CLAIM = {
  accessModes: ['ReadWriteOnce'],
  resources: { requests: { storage: '2Gi' } },
  storageClassName: 'local',
};

const published = async ({ client }: ControllerOnFakes): Promise<Record<string, string>> =>
  Object.fromEntries(
    (await listAll(client, CSI_STORAGE_CAPACITIES)).map((object) => [
      `${object.storageClassName}/${Object.values(object.nodeTopology?.matchLabels ?? {}).join()}`,
      object.maximumVolumeSize ?? '',
    ]),
  );

test('each node is published for each class that waits, and lowered as soon as a volume is placed', async () => {
  await using lab = await startControllerOnFakes();
  for (const name of ['n1', 'n2']) await lab.addNode(name);
  expect(await published(lab)).toEqual({ 'local/n1': '10Gi', 'local/n2': '10Gi' });
  const name = await lab.addClaim('data');
  const { nodeName } = (await lab.volume(name)).spec;
  expect((await published(lab))[`local/${nodeName}`]).toBe('8Gi');
});

test('a node or a class that goes takes its figures along', async () => {
  await using lab = await startControllerOnFakes();
  for (const name of ['n1', 'n2']) await lab.addNode(name);
  await lab.client.delete(NODES, { name: 'n1' });
  await lab.settle();
  expect(Object.keys(await published(lab))).toEqual(['local/n2']);
  await lab.client.delete(STORAGE_CLASSES, { name: 'local' });
  await lab.settle();
  expect(await published(lab)).toEqual({});
});

test('figures that were deleted or changed are restored, and an idle cluster costs no write', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const [object] = await listAll(lab.client, CSI_STORAGE_CAPACITIES);
  const where = { namespace: object?.metadata?.namespace, name: object?.metadata?.name ?? '' };
  await lab.client.patch(CSI_STORAGE_CAPACITIES, where, { merge: { maximumVolumeSize: '1Ti' } });
  await lab.settle();
  expect(await published(lab)).toEqual({ 'local/n1': '10Gi' });
  await lab.client.delete(CSI_STORAGE_CAPACITIES, where);
  await lab.settle();
  expect(await published(lab)).toEqual({ 'local/n1': '10Gi' });
  const before = lab.client.calls.length;
  await lab.settle(3_600_000);
  expect(lab.client.calls.slice(before).filter((call) => !/^(list|watch|get)/.test(call))).toEqual([]);
});

test('a burst of claims is a few writes, of which the first comes at once and the last is true', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1', 100);
  await lab.settle();
  const patches = (): number =>
    lab.client.calls.filter((call) => call === 'patch csistoragecapacities').length;
  const before = patches();
  const names = Array.from({ length: 20 }, (_, index) => `burst-${index}`);
  const metadata = (name: string): object => ({ name, namespace: SPACE, annotations: SELECTED_N1 });
  for (const name of names) {
    await lab.client.create(PERSISTENT_VOLUME_CLAIMS, { metadata: metadata(name), spec: CLAIM });
  }
  await lab.settle(10);
  expect(patches() - before).toBe(1);
  await lab.settle();
  expect(await published(lab)).toEqual({ 'local/n1': '60Gi' });
  expect(patches() - before).toBeLessThanOrEqual(3);
});

test('what a node tells waits for no gathering, not even in a burst', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1', 100);
  await lab.settle();
  await lab.client.create(PERSISTENT_VOLUME_CLAIMS, {
    metadata: { name: 'first', namespace: SPACE, annotations: SELECTED_N1 },
    spec: CLAIM,
  });
  await lab.settle(10);
  expect(await published(lab)).toEqual({ 'local/n1': '98Gi' });
  const pool = { name: 'default', backend: 'btrfs', ready: true, volumes: 0 };
  const figures = { capacity: '200Gi', allocated: '0', volumes: 0 };
  const storage = { ...figures, pools: [{ ...pool, ...figures, largestVolume: '200Gi' }] };
  const merge = { status: { storage } };
  await lab.client.patch(NODE_INVENTORIES, { name: 'n1' }, { merge }, { subresource: 'status' });
  await lab.settle(10);
  expect(await published(lab)).toEqual({ 'local/n1': '198Gi' });
});
