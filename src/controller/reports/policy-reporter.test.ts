import { expect, test } from 'vitest';
import { type ControllerOnFakes, startControllerOnFakes } from '../../../test/fakes/controller-on-fakes.ts';
import { NODE_INVENTORIES, type NodeInventory } from '../../api/node-inventory.ts';
import { RUNTIME_POLICIES, type RuntimePolicyObject } from '../../api/runtime-policy.ts';
import { Fault } from '../../core/fault.ts';

type Reported = NonNullable<NonNullable<NodeInventory['status']>['policies']>;

async function create(lab: ControllerOnFakes, name: string): Promise<string> {
  const spec = { audit: true, failurePolicy: 'Ignore', dryRun: false } as const;
  const made = await lab.client.create(RUNTIME_POLICIES, { metadata: { name }, spec });
  await lab.settle();
  return made.metadata?.uid ?? '';
}

/** What the agent of a node says of its proxy. */
async function report(lab: ControllerOnFakes, node: string, policies: Reported): Promise<void> {
  const merge = { status: { policies } };
  await lab.client.patch(NODE_INVENTORIES, { name: node }, { merge }, { subresource: 'status' });
  await lab.settle();
}

/** `nodes status reason` of a policy. */
async function said(lab: ControllerOnFakes, name: string): Promise<string> {
  const { status }: RuntimePolicyObject = await lab.client.get(RUNTIME_POLICIES, { name });
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  return [status?.nodes, ready?.status, ready?.reason].join(' ');
}

const writes = ({ client }: ControllerOnFakes): number =>
  client.calls.filter((call) => call.startsWith('patch') && call.includes('runtimepolicies')).length;

test('a policy is in force once the proxy of every node has this version of it', async () => {
  await using lab = await startControllerOnFakes();
  for (const node of ['n1', 'n2']) await lab.addNode(node);
  const uid = await create(lab, 'env');
  expect(await said(lab, 'env')).toBe('0 False ProxyNotRunning');
  await report(lab, 'n1', []);
  await report(lab, 'n2', []);
  expect(await said(lab, 'env')).toBe('0 False Pending');
  await report(lab, 'n1', [{ name: 'env', uid, generation: 1 }]);
  expect(await said(lab, 'env')).toBe('1 False Pending');
  await report(lab, 'n2', [{ name: 'env', uid, generation: 1 }]);
  expect(await said(lab, 'env')).toBe('2 True Enforced');
  await lab.client.patch(RUNTIME_POLICIES, { name: 'env' }, { merge: { spec: { dryRun: true } } });
  await lab.settle();
  expect(await said(lab, 'env')).toBe('0 False Pending');
  await lab.client.delete(NODE_INVENTORIES, { name: 'n2' });
  await report(lab, 'n1', [{ name: 'env', uid, generation: 2 }]);
  expect(await said(lab, 'env')).toBe('1 True Enforced');
});

test('what a proxy refuses is said in its own words, and of that policy alone', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const [env, audit] = [await create(lab, 'env'), await create(lab, 'audit')];
  await report(lab, 'n1', [
    { name: 'env', uid: env, generation: 1, problem: 'spec.x: unknown field' },
    { name: 'audit', uid: audit, generation: 1 },
  ]);
  expect(await said(lab, 'env')).toBe('0 False Refused');
  expect(await said(lab, 'audit')).toBe('1 True Enforced');
  const { status } = await lab.client.get(RUNTIME_POLICIES, { name: 'env' });
  expect(status?.conditions?.[0]?.message).toBe('n1: spec.x: unknown field');
});

test('nodes that answer together are one write; other news of nodes is none', async () => {
  await using lab = await startControllerOnFakes();
  for (const node of ['n1', 'n2', 'n3']) await lab.addNode(node);
  const uid = await create(lab, 'env');
  const before = writes(lab);
  const status = { policies: [{ name: 'env', uid, generation: 1 }] };
  for (const name of ['n1', 'n2', 'n3']) {
    await lab.client.patch(NODE_INVENTORIES, { name }, { merge: { status } }, { subresource: 'status' });
  }
  await lab.settle(2_000);
  expect(await said(lab, 'env')).toBe('3 True Enforced');
  expect(writes(lab)).toBe(before + 1);
  const news = { status: { agentVersion: '9.9.9' } };
  await lab.client.patch(NODE_INVENTORIES, { name: 'n1' }, { merge: news }, { subresource: 'status' });
  await lab.settle(60_000);
  expect(writes(lab)).toBe(before + 1);
});

test('a policy that is re-created under its name is another one', async () => {
  await using lab = await startControllerOnFakes();
  await lab.addNode('n1');
  const uid = await create(lab, 'env');
  await report(lab, 'n1', [{ name: 'env', uid, generation: 1 }]);
  await lab.client.delete(RUNTIME_POLICIES, { name: 'env' });
  await create(lab, 'env');
  expect(await said(lab, 'env')).toBe('0 False Pending');
});

test.each(['conflict', 'not-found'] as const)(
  'a write that meets %s is left to the next news',
  async (kind) => {
    await using lab = await startControllerOnFakes();
    lab.client.failures.push({ verb: 'patch', error: new Fault(kind, 'deleted meanwhile') });
    const uid = await create(lab, 'env');
    expect(lab.client.failures).toEqual([]);
    expect(await said(lab, 'env')).toBe('  ');
    await lab.addNode('n1');
    await report(lab, 'n1', [{ name: 'env', uid, generation: 1 }]);
    expect(await said(lab, 'env')).toBe('1 True Enforced');
  },
);
