import { expect, test } from 'vitest';
import { type ControllerOnFakes, startControllerOnFakes } from '../../../test/fakes/controller-on-fakes.ts';
import { NODE_INVENTORIES, type NodeInventory } from '../../api/node-inventory.ts';
import { PODS } from '../../kube/built-in.ts';

const NAMESPACE = 'keelson-system';
const AGENT = { 'app.kubernetes.io/name': 'keelson', 'app.kubernetes.io/component': 'agent' };
type Condition = NonNullable<NonNullable<NodeInventory['status']>['conditions']>[number];

/** What an agent says when it starts, and again when it finds that its words were changed. */
async function report(
  lab: ControllerOnFakes,
  node: string,
  status: 'True' | 'False' = 'True',
): Promise<void> {
  const ready = {
    type: 'Ready',
    status,
    reason: 'X',
    message: '',
    lastTransitionTime: '2026-01-01T00:00:00Z',
  };
  const apply = { status: { conditions: [ready] } };
  const write = { apply, fieldManager: 'keelson-agent', force: true };
  await lab.client.patch(NODE_INVENTORIES, { name: node }, write, { subresource: 'status' });
  await lab.settle();
}

async function setPod(
  lab: ControllerOnFakes,
  node: string,
  status: 'True' | 'False',
  since = 'T0',
): Promise<void> {
  const merge = { status: { conditions: [{ type: 'Ready', status, lastTransitionTime: since }] } };
  const where = { namespace: NAMESPACE, name: `agent-${node}` };
  await lab.client.patch(PODS, where, { merge }, { subresource: 'status' });
  await lab.settle();
}

async function start(): Promise<ControllerOnFakes> {
  const lab = await startControllerOnFakes();
  for (const node of ['n1', 'n2']) {
    await lab.addNode(node);
    await report(lab, node);
    const metadata = { name: `agent-${node}`, namespace: NAMESPACE, labels: AGENT };
    await lab.client.create(PODS, { metadata, spec: { nodeName: node, containers: [] } });
    await setPod(lab, node, 'True');
  }
  return lab;
}

const ready = async (lab: ControllerOnFakes, node: string): Promise<Condition | undefined> =>
  (await lab.client.get(NODE_INVENTORIES, { name: node })).status?.conditions?.find(
    ({ type }) => type === 'Ready',
  );
const versions = async (lab: ControllerOnFakes): Promise<unknown> =>
  (await lab.client.get(NODE_INVENTORIES, { name: 'n1' })).metadata?.resourceVersion;

test('an inventory whose agent has died is Ready: Unknown after half a minute, written once', async () => {
  await using lab = await start();
  await setPod(lab, 'n1', 'False', 'T1');
  await lab.settle(20_000);
  expect(await ready(lab, 'n1')).toMatchObject({ status: 'True' });
  await lab.settle(15_000);
  expect(await ready(lab, 'n1')).toMatchObject({
    status: 'Unknown',
    reason: 'AgentUnresponsive',
    message: 'agent pod agent-n1 is not Ready; this status is outdated',
  });
  expect(await ready(lab, 'n2')).toMatchObject({ status: 'True' });
  const before = await versions(lab);
  await lab.settle(3_600_000);
  expect(await versions(lab)).toBe(before);
  await report(lab, 'n1');
  await setPod(lab, 'n1', 'True', 'T2');
  await lab.settle(3_600_000);
  expect(await ready(lab, 'n1')).toMatchObject({ status: 'True' });
});

test('an agent that is restarted or upgraded meanwhile is never doubted', async () => {
  await using lab = await start();
  await setPod(lab, 'n1', 'False', 'T1');
  await lab.settle(20_000);
  await setPod(lab, 'n1', 'True', 'T2');
  await lab.settle(3_600_000);
  expect(await ready(lab, 'n1')).toMatchObject({ status: 'True' });
});

test('an agent that answers is believed, whatever is said of its pod, and asked again much later', async () => {
  await using lab = await start();
  await setPod(lab, 'n1', 'False', 'T1');
  await lab.settle(35_000);
  expect(await ready(lab, 'n1')).toMatchObject({ status: 'Unknown' });
  await report(lab, 'n1');
  await lab.settle(500_000);
  expect(await ready(lab, 'n1')).toMatchObject({ status: 'True' });
  await lab.settle(150_000);
  expect(await ready(lab, 'n1')).toMatchObject({ status: 'Unknown' });
});

test('a node without a pod of the agent is doubted too, and one whose agent says that it cannot serve is left alone', async () => {
  await using lab = await start();
  await lab.client.delete(PODS, { namespace: NAMESPACE, name: 'agent-n1' });
  await report(lab, 'n2', 'False');
  await setPod(lab, 'n2', 'False', 'T1');
  await lab.settle(40_000);
  expect(await ready(lab, 'n1')).toMatchObject({
    status: 'Unknown',
    message: 'the node has no agent pod',
  });
  expect(await ready(lab, 'n2')).toMatchObject({ status: 'False', reason: 'X' });
});

test('where agents do not run as pods nothing is concluded', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  await report(lab, 'n1');
  await lab.settle(3_600_000);
  expect(await ready(lab, 'n1')).toMatchObject({ status: 'True' });
});
