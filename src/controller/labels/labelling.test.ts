import { afterEach, describe, expect, it } from 'vitest';
import { Registry } from 'prom-client';
import { NODE_INVENTORIES, type NodeInventory } from '../../api/node-inventory.ts';
import { NODE_LABEL_RULES, type NodeLabelRule } from '../../api/node-label-rule.ts';
import { Fault } from '../../core/fault.ts';
import { type Node, NODES } from '../../kube/built-in.ts';
import { Informer } from '../../kube/informer.ts';
import { silentLogger } from '../../runtime/logger.ts';
import { TaskGroup } from '../../runtime/task-group.ts';
import { WorkQueue } from '../../runtime/work-queue.ts';
import { FakeApiClient } from '../../../test/fakes/fake-api-client.ts';
import { FakeClock } from '../../../test/fakes/fake-clock.ts';
import { runInformers } from '../context/cluster.ts';
import { createControllerMetrics } from '../context/metrics.ts';
import { createNodeLabeller } from './labelling.ts';
import { slimNode, TAINTS_ANNOTATION } from '../context/node-state.ts';
import { createInlineEvaluator } from './rule-evaluator.ts';

type Spec = Partial<NodeLabelRule['spec']>;

const NVME = 'inventory.disks.exists(d, d.type == "nvme")';
const disk = (type: 'nvme' | 'hdd'): NodeInventory['status'] => ({
  disks: [{ name: 'd0', type, rotational: type === 'hdd', size: '1Ti' }],
});
const fast: Spec = { match: NVME, labels: [{ key: 'example.com/fast', value: 'yes' }] };

let stop: (() => Promise<void>) | undefined;
afterEach(async () => {
  await stop?.();
  stop = undefined;
});

async function setup(given: { readonly defaultLabels?: boolean } = {}) {
  const client = new FakeApiClient();
  const clock = new FakeClock();
  const registry = new Registry();
  const metrics = createControllerMetrics(registry);
  const start = async ({ defaultLabels = given.defaultLabels ?? false } = {}): Promise<void> => {
    const logger = silentLogger;
    const informerDeps = { client, logger, clock };
    const nodes = new Informer({ resource: NODES, transform: slimNode }, informerDeps);
    const inventories = new Informer({ resource: NODE_INVENTORIES }, informerDeps);
    const reconciler = createNodeLabeller(
      {
        ...informerDeps,
        informerDeps,
        metrics,
        cluster: { nodes, inventories },
        queue: (name, workers, work) => new WorkQueue({ name, workers }, work, { logger, clock }),
      },
      { defaultLabels, evaluator: createInlineEvaluator() },
    );
    const tasks = new TaskGroup({ logger });
    tasks.run('work', async (signal) => {
      await runInformers({ nodes, inventories, ...reconciler.informers }, tasks, signal);
      using _subscribed = reconciler.subscribe();
      await reconciler.queue.run(signal);
    });
    const running = tasks.wait();
    stop = async () => {
      tasks.stop();
      await running;
    };
    await clock.advance(2_000);
  };
  /** Nodes that were written since the last call. */
  let seen = 0;
  const writes = (plural = 'nodes'): number => {
    const since = client.calls.slice(seen);
    seen = client.calls.length;
    return since.filter((call) => call === `patch ${plural}`).length;
  };
  return { client, clock, registry, start, writes };
}

async function addNode(client: FakeApiClient, name: string, status?: NodeInventory['status']): Promise<void> {
  await client.create(NODES, { metadata: { name, labels: { 'kubernetes.io/hostname': name } } });
  if (status !== undefined) await publish(client, name, status);
}

async function publish(client: FakeApiClient, name: string, status: NodeInventory['status']): Promise<void> {
  await client.create(NODE_INVENTORIES, { metadata: { name } }).catch(() => undefined);
  await client.patch(NODE_INVENTORIES, { name }, { merge: { status } }, { subresource: 'status' });
}

async function addRule(client: FakeApiClient, name: string, spec: Spec): Promise<void> {
  await client.create(NODE_LABEL_RULES, {
    metadata: { name },
    spec: { match: 'true', priority: 0, ...spec },
  });
}

const node = (client: FakeApiClient, name = 'n1'): Promise<Node> => client.get(NODES, { name });
const labels = async (client: FakeApiClient, name = 'n1'): Promise<Node['metadata']> =>
  (await node(client, name)).metadata?.labels;
const status = async (client: FakeApiClient, name: string): Promise<NodeLabelRule['status']> =>
  (await client.get(NODE_LABEL_RULES, { name })).status;

describe('a rule', () => {
  it('labels the nodes that match, and no others; unlabels them when they no longer do', async () => {
    const { client, clock, start } = await setup();
    await addNode(client, 'n1', disk('nvme'));
    await addNode(client, 'n2', disk('hdd'));
    await addRule(client, 'fast', fast);
    await start();
    expect(await labels(client)).toEqual({ 'kubernetes.io/hostname': 'n1', 'example.com/fast': 'yes' });
    expect(await labels(client, 'n2')).toEqual({ 'kubernetes.io/hostname': 'n2' });
    await publish(client, 'n1', disk('hdd'));
    await publish(client, 'n2', disk('nvme'));
    await clock.advance(1_000);
    expect(await labels(client)).toEqual({ 'kubernetes.io/hostname': 'n1' });
    expect(await labels(client, 'n2')).toHaveProperty(['example.com/fast'], 'yes');
  });

  it('takes with it what it gave, when it is changed and when it goes', async () => {
    const { client, clock, start } = await setup();
    await addNode(client, 'n1', disk('nvme'));
    await addRule(client, 'fast', {
      ...fast,
      taints: [{ key: 'example.com/t', effect: 'NoSchedule' }],
      extendedResources: [{ name: 'example.com/r', quantity: 4 }],
    });
    await start();
    expect(await node(client)).toMatchObject({
      metadata: { annotations: { [TAINTS_ANNOTATION]: 'example.com/t:NoSchedule' } },
      spec: { taints: [{ key: 'example.com/t', effect: 'NoSchedule' }] },
      status: { capacity: { 'example.com/r': '4' } },
    });
    const spec = {
      labels: [{ key: 'example.com/other', value: 'x' }],
      taints: null,
      extendedResources: null,
    };
    await client.patch(NODE_LABEL_RULES, { name: 'fast' }, { merge: { spec } });
    await clock.advance(1_000);
    const changed = await node(client);
    expect(changed.metadata?.labels).toEqual({ 'kubernetes.io/hostname': 'n1', 'example.com/other': 'x' });
    expect(changed.metadata?.annotations ?? {}).toEqual({});
    expect(changed.spec?.taints).toEqual([]);
    expect(changed.status?.capacity ?? {}).toEqual({});
    await client.delete(NODE_LABEL_RULES, { name: 'fast' });
    await clock.advance(1_000);
    expect(await labels(client)).toEqual({ 'kubernetes.io/hostname': 'n1' });
  });

  it('finds a node that was re-created', async () => {
    const { client, clock, start } = await setup();
    await addNode(client, 'n1', disk('nvme'));
    await addRule(client, 'fast', fast);
    await start();
    await client.delete(NODES, { name: 'n1' });
    await clock.advance(1_000);
    await client.create(NODES, { metadata: { name: 'n1' } });
    await clock.advance(1_000);
    expect(await labels(client)).toEqual({ 'example.com/fast': 'yes' });
  });

  it('of which many come at once is a write or two of a node', async () => {
    const { client, clock, start, writes } = await setup();
    await addNode(client, 'n1', disk('nvme'));
    await start();
    writes();
    for (let n = 0; n < 50; n += 1)
      await addRule(client, `r${n}`, { labels: [{ key: `a.b/l${n}`, value: '1' }] });
    await clock.advance(2_000);
    expect(Object.keys((await labels(client)) ?? {})).toHaveLength(51);
    expect(writes()).toBeLessThanOrEqual(2);
  });
});

describe('a node that is right', () => {
  it('is not written, whatever moves in its inventory and however long it takes', async () => {
    const { client, clock, start, writes } = await setup({ defaultLabels: true });
    await addNode(client, 'n1', disk('nvme'));
    await addRule(client, 'fast', {
      ...fast,
      taints: [{ key: 'example.com/t', effect: 'NoSchedule' }],
      extendedResources: [{ name: 'example.com/r', quantity: 4 }],
    });
    await start();
    expect(writes()).toBe(3);
    const calls = client.calls.length;
    for (let n = 0; n < 5; n += 1) {
      await publish(client, 'n1', { ...disk('nvme'), observedTime: `2026-01-01T00:0${n}:00Z` });
      await clock.advance(24 * 3_600_000);
    }
    const patches = client.calls.slice(calls).filter((call) => call.startsWith('patch'));
    expect(patches).toEqual(Array(5).fill('patch nodeinventories'));
  });

  it('is not written by a controller that has just started', async () => {
    const { client, start, writes } = await setup();
    await addNode(client, 'n1', disk('nvme'));
    await addRule(client, 'fast', { ...fast, taints: [{ key: 'example.com/t', effect: 'NoSchedule' }] });
    await start();
    await stop?.();
    writes();
    await start();
    expect(writes()).toBe(0);
    expect(writes('nodelabelrules')).toBe(0);
  });
});

describe('default labels', () => {
  it('give way to a rule and come back after it; a controller that shall set none takes them away', async () => {
    const { client, clock, start } = await setup();
    await addNode(client, 'n1', disk('nvme'));
    await start({ defaultLabels: true });
    const key = 'disk.keelson.dev/nvme';
    expect(await labels(client)).toHaveProperty([key], 'true');
    await addRule(client, 'mine', { labels: [{ key, value: 'mine' }] });
    await clock.advance(1_000);
    expect(await labels(client)).toHaveProperty([key], 'mine');
    await client.delete(NODE_LABEL_RULES, { name: 'mine' });
    await clock.advance(1_000);
    expect(await labels(client)).toHaveProperty([key], 'true');
    await stop?.();
    await start({ defaultLabels: false });
    expect(await labels(client)).toEqual({ 'kubernetes.io/hostname': 'n1' });
  });
});

describe('when discovery or a rule fails', () => {
  it('labels stay as they were, and the status says where and why', async () => {
    const { client, clock, start } = await setup({ defaultLabels: true });
    await addNode(client, 'n1', disk('nvme'));
    await addNode(client, 'n2', disk('nvme'));
    await addRule(client, 'fast', fast);
    await start();
    expect(await status(client, 'fast')).toMatchObject({ matchedNodes: 2, observedGeneration: 1 });
    const before = await labels(client);
    expect(before).toMatchObject({ 'disk.keelson.dev/nvme': 'true', 'example.com/fast': 'yes' });
    // An agent that cannot read its disks any more, and an inventory that was deleted.
    await publish(client, 'n1', { disks: null } as never);
    await client.delete(NODE_INVENTORIES, { name: 'n2' });
    await clock.advance(2_000);
    expect(await labels(client)).toEqual(before);
    expect(await labels(client, 'n2')).toMatchObject({
      'disk.keelson.dev/nvme': 'true',
      'example.com/fast': 'yes',
    });
    expect(await status(client, 'fast')).toMatchObject({
      matchedNodes: 0,
      failedNodes: 1,
      failures: [{ nodeName: 'n1', message: 'spec.match: line 1, column 11: No such key: disks' }],
      conditions: [
        { type: 'Valid', status: 'True' },
        { type: 'Applied', status: 'False', reason: 'Failed' },
      ],
    });
  });

  it('a rule that does not compile says line and column, and nodes keep what they had of it', async () => {
    const { client, clock, start } = await setup();
    await addNode(client, 'n1', disk('nvme'));
    await addRule(client, 'fast', fast);
    await start();
    const spec = { match: 'inventory.disks.exists(d,\n  d.typ == "nvme")' };
    await client.patch(NODE_LABEL_RULES, { name: 'fast' }, { merge: { spec } });
    await clock.advance(2_000);
    expect(await labels(client)).toHaveProperty(['example.com/fast'], 'yes');
    expect(await status(client, 'fast')).toMatchObject({
      observedGeneration: 2,
      conditions: [
        { type: 'Valid', status: 'False', message: 'spec.match: line 2, column 5: No such key: typ' },
        { type: 'Applied', status: 'Unknown', reason: 'Invalid' },
      ],
    });
  });

  it('names ten nodes at most, and counts the others', async () => {
    const { client, start } = await setup();
    for (let n = 0; n < 15; n += 1) await addNode(client, `n${n}`, {});
    await addRule(client, 'fast', fast);
    await start();
    const found = await status(client, 'fast');
    expect(found?.failedNodes).toBe(15);
    expect(found?.failures).toHaveLength(10);
  });
});

describe('what others have set', () => {
  it('is not touched, and the status tells', async () => {
    const { client, clock, start, writes } = await setup();
    const foreign = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' };
    await client.create(NODES, {
      metadata: { name: 'n1', labels: { 'example.com/fast': 'no' } },
      spec: { taints: [foreign] },
    });
    await publish(client, 'n1', disk('nvme'));
    await addRule(client, 'fast', { ...fast, taints: [{ key: 'example.com/t', effect: 'NoSchedule' }] });
    await start();
    expect(await node(client)).toMatchObject({
      metadata: { labels: { 'example.com/fast': 'no' } },
      spec: { taints: [foreign, { key: 'example.com/t', effect: 'NoSchedule' }] },
    });
    expect(await status(client, 'fast')).toMatchObject({
      conflictingNodes: 1,
      conflicts: [{ nodeName: 'n1', message: 'label example.com/fast: another writer has set it to "no"' }],
    });
    // It is removed, and the rule's value is set; then another writer takes it over.
    await client.patch(
      NODES,
      { name: 'n1' },
      { merge: { metadata: { labels: { 'example.com/fast': null } } } },
    );
    await clock.advance(2_000);
    expect(await labels(client)).toEqual({ 'example.com/fast': 'yes' });
    expect((await status(client, 'fast'))?.conflicts).toBeUndefined();
    await client.patch(
      NODES,
      { name: 'n1' },
      { merge: { metadata: { labels: { 'example.com/fast': 'mine' } } } },
    );
    writes();
    await clock.advance(2_000);
    expect(await labels(client)).toEqual({ 'example.com/fast': 'mine' });
    await client.delete(NODE_LABEL_RULES, { name: 'fast' });
    await clock.advance(2_000);
    expect(await node(client)).toMatchObject({
      metadata: { labels: { 'example.com/fast': 'mine' } },
      spec: { taints: [foreign] },
    });
  });

  it('between reading and writing is never lost', async () => {
    const { client, clock, start } = await setup();
    await addNode(client, 'n1', disk('nvme'));
    await start();
    client.failures.push({ verb: 'patch', error: new Fault('busy', 'the object has been modified') });
    await addRule(client, 'slow', { taints: [{ key: 'example.com/t', effect: 'NoSchedule' }] });
    const theirs = { key: 'example.com/theirs', effect: 'NoExecute' };
    await clock.advance(500);
    client.store.patch(NODES, { name: 'n1' }, { type: 'merge', body: { spec: { taints: [theirs] } } });
    await clock.advance(5_000);
    expect((await node(client)).spec?.taints).toEqual([
      theirs,
      { key: 'example.com/t', effect: 'NoSchedule' },
    ]);
  });

  it('among rules is settled by priority, and the loser tells', async () => {
    const { client, start, registry } = await setup();
    await addNode(client, 'n1', disk('nvme'));
    await addRule(client, 'a', { labels: [{ key: 'example.com/x', value: 'a' }] });
    await addRule(client, 'b', { labels: [{ key: 'example.com/x', value: 'b' }], priority: 10 });
    await start();
    expect(await labels(client)).toHaveProperty(['example.com/x'], 'b');
    expect(await status(client, 'a')).toMatchObject({
      matchedNodes: 1,
      conflicts: [{ nodeName: 'n1', message: 'label example.com/x: rule b sets another value' }],
      conditions: [{ type: 'Valid' }, { type: 'Applied', status: 'False', reason: 'Conflict' }],
    });
    expect(await status(client, 'b')).toMatchObject({
      conditions: [{ type: 'Valid' }, { type: 'Applied', status: 'True' }],
    });
    const text = await registry.metrics();
    expect(text).toContain('keelson_controller_label_rules{problem="conflicting"} 1');
    expect(text).toContain('keelson_controller_node_writes_total{part="labels"} 1');
    expect(text).toContain('keelson_controller_label_rule_evaluations_total{state="matched"}');
  });
});

describe('500 nodes', { timeout: 60_000 }, () => {
  it('cost one write each, and then none', async () => {
    const { client, clock, start, writes } = await setup({ defaultLabels: true });
    for (let n = 0; n < 500; n += 1) await addNode(client, `n${n}`, disk(n % 2 === 0 ? 'nvme' : 'hdd'));
    await addRule(client, 'fast', fast);
    await start();
    await clock.advance(10_000);
    expect(writes()).toBe(500);
    expect(await status(client, 'fast')).toMatchObject({ matchedNodes: 250 });
    await clock.advance(3_600_000);
    expect(writes()).toBe(0);
  });
});
