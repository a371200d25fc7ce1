import { expect, test } from 'vitest';
import { type ControllerOnFakes, startControllerOnFakes } from '../../../test/fakes/controller-on-fakes.ts';
import { NETWORK_POOLS, type NetworkPool } from '../../api/network-pool.ts';
import { Fault } from '../../core/fault.ts';
import { NODES } from '../../kube/built-in.ts';

const EXCLUSIONS = { masqueradeExclusions: ['192.168.0.0/16'] };

async function create(
  lab: ControllerOnFakes,
  name: string,
  spec: Partial<NetworkPool['spec']>,
): Promise<void> {
  await lab.client.create(NETWORK_POOLS, { metadata: { name }, spec: { ...EXCLUSIONS, ...spec } });
  await lab.settle();
}

async function addNode(lab: ControllerOnFakes, name: string, labels: Record<string, string>): Promise<void> {
  await lab.client.create(NODES, { metadata: { name, labels } });
  await lab.settle();
}

async function relabel(lab: ControllerOnFakes, name: string, zone: string | null): Promise<void> {
  await lab.client.patch(NODES, { name }, { merge: { metadata: { labels: { zone } } } });
  await lab.settle();
}

const statusOf = async (lab: ControllerOnFakes, name: string): Promise<NetworkPool['status']> =>
  (await lab.client.get(NETWORK_POOLS, { name })).status;

const writes = ({ client }: ControllerOnFakes): number =>
  client.calls.filter((call) => call.startsWith('patch') && call.includes('networkpools')).length;

test('a pool counts the nodes that it is for, as they come, change and go', async () => {
  await using lab = await startControllerOnFakes();
  await create(lab, 'all', {});
  await create(lab, 'a', { nodeSelector: { matchLabels: { zone: 'a' } } });
  expect(await statusOf(lab, 'all')).toEqual({ observedGeneration: 1, nodes: 0 });
  await addNode(lab, 'n1', { zone: 'a' });
  await addNode(lab, 'n2', { zone: 'b' });
  expect([(await statusOf(lab, 'all'))?.nodes, (await statusOf(lab, 'a'))?.nodes]).toEqual([2, 1]);
  await relabel(lab, 'n2', 'a');
  expect((await statusOf(lab, 'a'))?.nodes).toBe(2);
  await relabel(lab, 'n2', null);
  await lab.client.delete(NODES, { name: 'n1' });
  await lab.settle();
  expect([(await statusOf(lab, 'all'))?.nodes, (await statusOf(lab, 'a'))?.nodes]).toEqual([1, 0]);
});

test('a changed selector is evaluated again, and observed', async () => {
  await using lab = await startControllerOnFakes();
  await addNode(lab, 'n1', { zone: 'a' });
  await create(lab, 'a', { nodeSelector: { matchLabels: { zone: 'a' } } });
  const merge = { spec: { nodeSelector: { matchLabels: { zone: 'b' } } } };
  await lab.client.patch(NETWORK_POOLS, { name: 'a' }, { merge });
  await lab.settle();
  expect(await statusOf(lab, 'a')).toEqual({ observedGeneration: 2, nodes: 0 });
});

test('changes of a node other than its labels cause no write', async () => {
  await using lab = await startControllerOnFakes();
  await addNode(lab, 'n1', { zone: 'a' });
  await create(lab, 'all', {});
  const before = writes(lab);
  const merge = { status: { conditions: [{ type: 'Ready', status: 'True' }] } };
  await lab.client.patch(NODES, { name: 'n1' }, { merge }, { subresource: 'status' });
  await relabel(lab, 'n1', 'b');
  await lab.settle(60_000);
  expect(writes(lab)).toBe(before);
});

test.each(['conflict', 'not-found'] as const)(
  'a write that meets %s is left to the next news',
  async (kind) => {
    await using lab = await startControllerOnFakes();
    lab.client.failures.push({ verb: 'patch', error: new Fault(kind, 'deleted meanwhile') });
    await create(lab, 'all', {});
    expect(lab.client.failures).toEqual([]);
    expect(await statusOf(lab, 'all')).toBeUndefined();
    await addNode(lab, 'n1', {});
    expect((await statusOf(lab, 'all'))?.nodes).toBe(1);
  },
);
