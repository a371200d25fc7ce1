import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { STARTUP_TAINT } from '../../../node-agent/kube/startup-taint.ts';
import { sleep } from '../../../src/runtime/clock.ts';
import { BUSYBOX_IMAGE } from '../../../src/demo/busybox-image.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { deleteNode } from '../../cluster/faults.ts';
import type { Kubectl } from '../../cluster/kubectl.ts';
import { waitFor } from '../../cluster/wait.ts';
import { sharedCluster } from './cluster.ts';

interface NodeObject {
  readonly metadata: {
    readonly uid: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly managedFields: readonly { readonly manager: string; readonly time: string }[];
  };
  readonly spec: { readonly taints?: readonly { readonly key: string }[] };
  readonly status: { readonly allocatable: Readonly<Record<string, string>> };
}

const WITHIN_MS = 60_000;
const FAST = 'example.com/fast';
const SLOW_TAINT = 'example.com/slow';
const GPU = 'example.com/gpu';

/**
 * Labels, taints and resources on a real cluster, down to the pods that land by them. Each test
 * goes on from the one before.
 */
describe('nodes that say what they are', { timeout: 240_000 }, () => {
  let cluster: Cluster;
  let kubectl: Kubectl;

  beforeAll(async () => {
    cluster = await sharedCluster();
    kubectl = await cluster.kubectl();
  }, 900_000);

  afterAll(async () => {
    await kubectl.run(['delete', 'nodelabelrules', '--all']);
    await kubectl.run(['delete', 'pods', '--all', '--grace-period=0', '--force']);
  }, 120_000);

  const node = async (name: string): Promise<NodeObject> =>
    await kubectl.get<NodeObject>(['node', name, '--show-managed-fields']);
  const labels = async (name: string): Promise<Readonly<Record<string, string>>> =>
    (await node(name)).metadata.labels;
  const taints = async (name: string): Promise<readonly string[]> =>
    ((await node(name)).spec.taints ?? []).map(({ key }) => key);
  const until = async (what: string, check: () => Promise<boolean>): Promise<void> => {
    const holds = async (): Promise<true | undefined> => ((await check()) ? true : undefined);
    await waitFor(what, holds, { timeoutMs: WITHIN_MS, everyMs: 300 });
  };
  const rule = async (name: string, spec: object): Promise<void> =>
    await kubectl.apply([
      { apiVersion: 'keelson.dev/v1alpha1', kind: 'NodeLabelRule', metadata: { name }, spec },
    ]);
  const ruleStatus = async (name: string): Promise<string> =>
    await kubectl.run(['get', 'nlr', name, '--output=jsonpath={.status}']);
  const pod = async (name: string, spec: object): Promise<void> =>
    await kubectl.apply([
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name },
        spec: {
          automountServiceAccountToken: false,
          terminationGracePeriodSeconds: 0,
          containers: [{ name: 'main', image: BUSYBOX_IMAGE, command: ['sleep', '3600'] }],
          ...spec,
        },
      },
    ]);
  const landsOn = async (name: string, condition = 'Ready'): Promise<string> => {
    await kubectl.wait(`pod/${name}`, `condition=${condition}`);
    return await kubectl.run(['get', 'pod', name, '--output=jsonpath={.spec.nodeName}']);
  };
  /** The scheduler has looked at the pod and found no node. */
  const untilUnschedulable = async (name: string): Promise<string> => {
    await kubectl.wait(
      `pod/${name}`,
      'jsonpath={.status.conditions[?(@.type=="PodScheduled")].reason}=Unschedulable',
    );
    return await kubectl.run([
      ...['get', 'pod', name],
      '--output=jsonpath={.status.conditions[?(@.type=="PodScheduled")].message}',
    ]);
  };
  const remove = async (...what: string[]): Promise<void> => {
    await kubectl.run(['delete', ...what, '--grace-period=0', '--force']);
  };
  /** As if node-2 were another machine; its agent must be stopped, or it would say what is true. */
  const pretend = async (status: object): Promise<void> => {
    const patch = JSON.stringify({ status });
    await kubectl.run(['patch', 'ninv', 'node-2', '--subresource=status', '--type=merge', '--patch', patch]);
  };
  const disk = (type: string): object => ({
    disks: [{ name: 'd0', type, rotational: false, size: '1Ti' }],
  });

  test('have default labels, and lose the startup taint when their agents serve', async () => {
    for (const name of ['node-1', 'node-2']) {
      await until(
        `${name} has its labels`,
        async () => (await labels(name))['pool.keelson.dev/default'] === 'btrfs',
      );
      await until(
        `${name} is proxied`,
        async () => (await labels(name))['runtime.keelson.dev/proxied'] === 'true',
      );
      const found = await labels(name);
      expect(found['kernel.keelson.dev/version']).toMatch(/^\d+\.\d+$/);
      expect(found['runtime.keelson.dev/name']).toBe('containerd');
      await until(`${name} has no startup taint`, async () => !(await taints(name)).includes(STARTUP_TAINT));
    }
  });

  test('are re-created with their labels at once, and keep pods off until their agent serves', async () => {
    const two = await cluster.node('node-2');
    await two.stopAgent();
    await two.stopKubelet();
    await deleteNode(cluster, 'node-2');
    await two.ensureKubelet();
    await until(
      'it is labelled',
      async () => (await labels('node-2'))['pool.keelson.dev/default'] === 'btrfs',
    );
    expect(await taints('node-2')).toContain(STARTUP_TAINT);
    await pod('early', { nodeSelector: { 'kubernetes.io/hostname': 'node-2' } });
    expect(await untilUnschedulable('early')).toContain(`untolerated taint`);
    await cluster.startNode('node-2');
    expect(await landsOn('early')).toBe('node-2');
    expect(await taints('node-2')).not.toContain(STARTUP_TAINT);
    await remove('pod', 'early');
  });

  test('are found by pods that want a label, and the label follows the inventory', async () => {
    await rule('fast', {
      match: 'inventory.disks.exists(d, d.type == "nvme")',
      labels: [{ key: FAST, value: 'yes' }],
    });
    const affinity = {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: FAST, operator: 'In', values: ['yes'] }] }],
        },
      },
    };
    await pod('wants-fast', { affinity });
    expect(await untilUnschedulable('wants-fast')).toMatch(/didn't match Pod's node affinity/);
    await (await cluster.node('node-2')).stopAgent();
    await pretend(disk('nvme'));
    // Without its agent the node gives no network, so the pod is placed there and no more.
    expect(await landsOn('wants-fast', 'PodScheduled')).toBe('node-2');
    expect(await labels('node-2')).toHaveProperty([FAST], 'yes');
    expect(await labels('node-2')).toHaveProperty(['disk.keelson.dev/nvme'], 'true');
    expect(await labels('node-1')).not.toHaveProperty([FAST]);
    await pretend(disk('hdd'));
    await until('the label is removed', async () => (await labels('node-2'))[FAST] === undefined);
    await remove('pod', 'wants-fast');
  });

  test('keep their labels when discovery fails, and the rule says where and why', async () => {
    await pretend(disk('nvme'));
    await until('the label is there', async () => (await labels('node-2'))[FAST] === 'yes');
    await pretend({ disks: null });
    await until('the rule tells', async () => (await ruleStatus('fast')).includes('No such key: disks'));
    expect(await labels('node-2')).toMatchObject({ [FAST]: 'yes', 'disk.keelson.dev/nvme': 'true' });
    await until('the inventory reports that its agent is absent', async () => {
      const ready = '--output=jsonpath={.status.conditions[?(@.type=="Ready")]}';
      const condition = await kubectl.run(['get', 'ninv', 'node-2', ready]);
      return condition.includes('"Unknown"') && condition.includes('the node has no agent pod');
    });
    await kubectl.run(['delete', 'ninv', 'node-2']);
    // Another rule reaches the node, so this deletion has been seen and has taken nothing.
    await rule('seen', { labels: [{ key: 'example.com/seen', value: 'yes' }] });
    await until('node-1 is labelled', async () => (await labels('node-1'))['example.com/seen'] === 'yes');
    expect(await labels('node-2')).toMatchObject({ [FAST]: 'yes', 'pool.keelson.dev/default': 'btrfs' });
    await remove('nlr', 'seen');
    await cluster.startNode('node-2');
    await until('the agent tells the truth', async () => (await labels('node-2'))[FAST] === undefined);
  });

  test('are kept from pods by a taint of a rule, but for those that tolerate it', async () => {
    await rule('slow', {
      match: 'node.name == "node-1"',
      taints: [{ key: SLOW_TAINT, effect: 'NoSchedule' }],
    });
    await until('node-1 is tainted', async () => (await taints('node-1')).includes(SLOW_TAINT));
    const onNode1 = { nodeSelector: { 'kubernetes.io/hostname': 'node-1' } };
    const tolerations = [{ key: SLOW_TAINT, operator: 'Exists', effect: 'NoSchedule' }];
    await pod('tolerates', { ...onNode1, tolerations });
    expect(await landsOn('tolerates')).toBe('node-1');
    await pod('does-not', onNode1);
    expect(await untilUnschedulable('does-not')).toMatch(/untolerated taint/);
    // Taints of others are neither lost when ours comes nor when it goes.
    await kubectl.run(['taint', 'node', 'node-1', 'example.com/theirs=x:PreferNoSchedule']);
    await remove('nlr', 'slow');
    expect(await landsOn('does-not')).toBe('node-1');
    expect(await taints('node-1')).toEqual(['example.com/theirs']);
    await kubectl.run(['taint', 'node', 'node-1', 'example.com/theirs-']);
    await remove('pod', 'tolerates', 'does-not');
  });

  test('lend out what a rule counts, and no more than there is', async () => {
    await rule('gpu', {
      match: 'node.name == "node-2"',
      extendedResources: [{ name: GPU, expression: '1 + 1' }],
    });
    await until('kubelet offers it', async () => (await node('node-2')).status.allocatable[GPU] === '2');
    const wants = (count: number): object => ({
      containers: [
        {
          name: 'main',
          image: BUSYBOX_IMAGE,
          command: ['sleep', '3600'],
          resources: { limits: { [GPU]: String(count) } },
        },
      ],
    });
    await pod('two-gpus', wants(2));
    expect(await landsOn('two-gpus')).toBe('node-2');
    await pod('one-more', wants(1));
    expect(await untilUnschedulable('one-more')).toContain(`Insufficient ${GPU}`);
    await remove('pod', 'two-gpus');
    expect(await landsOn('one-more')).toBe('node-2');
    await remove('pod', 'one-more');
    await remove('nlr', 'gpu');
    await until('it is removed', async () => !(GPU in (await node('node-2')).status.allocatable));
  });

  test('leave alone what a user has set, and a wrong rule has line and column', async () => {
    await kubectl.run(['label', 'node', 'node-1', 'example.com/mine=by-hand']);
    await rule('mine', { labels: [{ key: 'example.com/mine', value: 'by-rule' }] });
    await until('node-2 is labelled', async () => (await labels('node-2'))['example.com/mine'] === 'by-rule');
    await until('the rule tells', async () =>
      (await ruleStatus('mine')).includes('another writer has set it'),
    );
    expect((await labels('node-1'))['example.com/mine']).toBe('by-hand');
    await rule('wrong', {
      match: 'inventory.dsks.size() > 0',
      labels: [{ key: 'example.com/x', value: 'y' }],
    });
    await until('the rule tells', async () => (await ruleStatus('wrong')).includes('line 1, column 11'));
    expect(await kubectl.run(['get', 'nlr', 'wrong', '--no-headers'])).toMatch(/^wrong +0 +False +Unknown/);
    await remove('nlr', 'mine', 'wrong');
    await until(
      'the own one is removed',
      async () => (await labels('node-2'))['example.com/mine'] === undefined,
    );
    expect((await labels('node-1'))['example.com/mine']).toBe('by-hand');
  });

  test('are not written in a minute in which nothing happens', async () => {
    interface Controller {
      readonly spec: { readonly nodeName: string };
      readonly status: { readonly podIP: string };
    }
    const written = async (): Promise<readonly string[]> => {
      const { items } = await kubectl.get<{ items: readonly Controller[] }>([
        ...['pods', '--namespace=keelson-system', '--selector=app.kubernetes.io/component=controller'],
      ]);
      // From its own node: node-2 has been deleted, and a pod that was there has an address that is
      // no longer routed to it.
      const metrics = await Promise.all(
        items.map(async ({ spec, status }) => {
          const ask = `fetch('http://${status.podIP}:9812/metrics').then(r => r.text()).then(t => console.log(t))`;
          const read = [process.execPath, '--eval', ask];
          return (await cluster.machine(spec.nodeName).runInNetwork(read)).stdout;
        }),
      );
      return metrics
        .flatMap((text) => text.split('\n'))
        .filter((line) => line.startsWith('keelson_controller_node_writes_total'));
    };
    const versions = async (): Promise<string> =>
      await kubectl.run(['get', 'ninv,nlr', '--output=jsonpath={.items[*].metadata.resourceVersion}']);
    await sleep(3_000);
    const before = { written: await written(), versions: await versions() };
    expect(before.written).not.toEqual([]);
    await sleep(60_000);
    expect({ written: await written(), versions: await versions() }).toEqual(before);
  });
});
