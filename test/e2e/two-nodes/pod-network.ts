import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUSYBOX_IMAGE } from '../../../src/demo/busybox-image.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { cutLink, deleteNode, restartKubelet, restoreLink } from '../../cluster/faults.ts';
import type { Kubectl } from '../../cluster/kubectl.ts';
import { waitFor } from '../../cluster/wait.ts';
import { sharedCluster } from './cluster.ts';

interface Pod {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly nodeName: string };
  readonly status: {
    readonly podIP?: string;
    readonly containerStatuses?: readonly { readonly restartCount: number; readonly containerID: string }[];
  };
}

/** Answers with its own name and the address of its peer. */
const SERVE =
  "mkdir -p /tmp/www/cgi-bin; printf '#!/bin/sh\\necho; echo $(hostname) sees $REMOTE_ADDR\\n' >/tmp/www/cgi-bin/who; chmod +x /tmp/www/cgi-bin/who; exec httpd -f -p 8080 -h /tmp/www";

/**
 * What agents do of their own accord is there in a moment; nothing is proven by how short it is.
 */
const SOON = { timeout: 60_000, interval: 300 };

/**
 * Two nodes whose agents make the pod network as the cluster says, and a StatefulSet across them.
 */
describe('pods on two nodes', { timeout: 300_000 }, () => {
  let cluster: Cluster;
  let kubectl: Kubectl;

  beforeAll(async () => {
    cluster = await sharedCluster();
    kubectl = await cluster.kubectl();
    await kubectl.apply([statefulSet()]);
    await kubectl.run(['rollout', 'status', 'statefulset/talk', '--timeout=120s'], { timeoutMs: 130_000 });
  }, 900_000);

  afterAll(async () => {
    await kubectl.run(['delete', 'statefulset', 'talk', '--cascade=foreground']);
  }, 60_000);

  const pods = async (): Promise<readonly Pod[]> =>
    (await kubectl.get<{ items: Pod[] }>(['pods', '--selector=app=talk'])).items;
  const podRange = async (node: string): Promise<string> =>
    (await kubectl.get<{ spec: { podCIDR: string } }>([`node/${node}`])).spec.podCIDR;
  const routes = async (node: string): Promise<readonly (readonly [string, string])[]> => {
    const { stdout } = await cluster.machine(node).runInNetwork(['ip', '-j', 'route', 'show', 'proto', '76']);
    const list = (stdout.trim() === '' ? [] : JSON.parse(stdout)) as { dst: string; gateway: string }[];
    return list.map(({ dst, gateway }) => [dst, gateway] as const).sort();
  };
  /** Its status, and what it says where it says something. */
  const condition = async (node: string, type: string): Promise<string> => {
    const found = `.status.conditions[?(@.type=="${type}")]`;
    const output = `--output=jsonpath={${found}.status} {${found}.message}`;
    return (await kubectl.run(['get', 'nodeinventory', node, output])).trim();
  };
  /**
   * Each asks each, by TCP and by ping; who is asked sees the address of the pod, not of its node.
   */
  const talk = async (): Promise<void> => {
    const round = async (): Promise<true> => {
      const all = await pods();
      expect(all.map(({ spec }) => spec.nodeName).sort()).toEqual(['node-1', 'node-2']);
      for (const from of all) {
        for (const { metadata, status } of all) {
          const { podIP = '' } = status;
          const ask = `timeout 5 wget -q -O - http://${podIP}:8080/cgi-bin/who && ping -c 1 -W 2 ${podIP} >/dev/null && echo pong`;
          const answer = await kubectl.run(['exec', from.metadata.name, '--', 'sh', '-c', ask]);
          // httpd listens to both families at once.
          expect(answer.replace(/\[::ffff:(.*)\]/, '$1')).toBe(
            `${metadata.name} sees ${from.status.podIP ?? ''}\npong\n`,
          );
        }
      }
      return true;
    };
    await waitFor('every pod answers every pod', round, { timeoutMs: 90_000, everyMs: 500 });
  };
  const containers = async (): Promise<unknown> =>
    (await pods()).map(({ status }) => status.containerStatuses);

  test('have addresses of the range that Kubernetes gave their node, which the agents found out', async () => {
    for (const { spec, status } of await pods()) {
      const range = await podRange(spec.nodeName);
      expect(status.podIP?.startsWith(range.replace(/0\/24$/, ''))).toBe(true);
      const inventory = (): Promise<{ status: { network: { ranges: string[] } } }> =>
        kubectl.get([`nodeinventory/${spec.nodeName}`]);
      await expect.poll(async () => (await inventory()).status.network.ranges, SOON).toEqual([range]);
      await expect.poll(() => condition(spec.nodeName, 'PeersReachable'), SOON).toBe('True');
    }
  });

  test('reach each other by routes of the agents alone, with their own addresses', async () => {
    const [one, two] = [await cluster.node('node-1'), await cluster.node('node-2')];
    const [range1, range2] = [await podRange('node-1'), await podRange('node-2')];
    await expect.poll(() => routes('node-1'), SOON).toEqual([[range2, two.address]]);
    await expect.poll(() => routes('node-2'), SOON).toEqual([[range1, one.address]]);
    const { stdout } = await one.machine.runInNetwork(['ip', 'route', 'show', 'proto', '201']);
    expect(stdout).toBe('');
    await talk();
  });

  test('are not masqueraded towards destinations of a NetworkPool, for as long as there is one', async () => {
    const range = '203.0.113.0/24';
    const direct = async (): Promise<boolean[]> =>
      await Promise.all(
        ['node-1', 'node-2'].map(async (node) => {
          const list = ['nft', 'list', 'set', 'inet', 'keelson_network', 'direct4'];
          return (await cluster.machine(node).runInNetwork(list)).stdout.includes(range);
        }),
      );
    const spec = {
      nodeSelector: { matchLabels: { 'kubernetes.io/hostname': 'node-2' } },
      masqueradeExclusions: [range],
    };
    await kubectl.apply([
      { apiVersion: 'keelson.dev/v1alpha1', kind: 'NetworkPool', metadata: { name: 'office' }, spec },
    ]);
    await expect.poll(direct, SOON).toEqual([false, true]);
    await kubectl.wait('networkpool/office', 'jsonpath={.status.nodes}=1');
    await kubectl.run(['delete', 'networkpool', 'office']);
    await expect.poll(direct, SOON).toEqual([false, false]);
  });

  test('go on talking while an agent is away, and after it has come back', async () => {
    const before = await containers();
    await (await cluster.node('node-1')).stopAgent();
    await talk();
    await cluster.startNode('node-1');
    await talk();
    expect(await containers()).toEqual(before);
  });

  test('talk again when a link has been cut, and when it has been down on the node itself', async () => {
    const before = await containers();
    await cutLink(cluster, 'node-2');
    await restoreLink(cluster, 'node-2');
    await talk();
    const { machine } = await cluster.node('node-2');
    await machine.runInNetwork(['ip', 'link', 'set', 'eth0', 'down']);
    expect(await routes('node-2')).toEqual([]);
    await machine.runInNetwork(['ip', 'link', 'set', 'eth0', 'up']);
    await talk();
    expect(await containers()).toEqual(before);
  });

  test('talk again when a node has been switched off and on', async () => {
    await cluster.stopNode('node-2');
    await cluster.startNode('node-2');
    await talk();
  });

  test('are known to a node that is added, and forgotten with one that is removed', async () => {
    await cluster.addNode('late');
    const late = await cluster.node('late');
    const range = await podRange('late');
    await expect.poll(() => routes('node-1'), SOON).toContainEqual([range, late.address]);
    await expect.poll(() => routes('late'), SOON).toHaveLength(2);
    await cluster.removeNode('late');
    await expect.poll(() => routes('node-1'), SOON).not.toContainEqual([range, late.address]);
  });

  test('get addresses of another range when their node comes back with one', async () => {
    const former = await podRange('node-2');
    await deleteNode(cluster, 'node-2');
    await restartKubelet(cluster, 'node-2');
    const range = await podRange('node-2');
    await kubectl.run(['delete', 'pods', '--selector=app=talk', '--grace-period=1']);
    await kubectl.run(['rollout', 'status', 'statefulset/talk', '--timeout=120s'], { timeoutMs: 130_000 });
    await talk();
    const moved = (await pods()).find(({ spec }) => spec.nodeName === 'node-2');
    expect(moved?.status.podIP?.startsWith(range.replace(/0\/24$/, ''))).toBe(true);
    expect(range).not.toBe(former);
    await expect.poll(async () => (await routes('node-1')).map(([dst]) => dst), SOON).toEqual([range]);
    // Pods of the controller have such addresses too, where they run on this node.
    const controllers = ['--namespace=keelson-system', 'deployment/keelson-controller'];
    await kubectl.run(['rollout', 'restart', ...controllers]);
    // Both pods were replaced: as soon as the last of the old ones is taken off the network.
    await expect.poll(() => condition('node-2', 'FormerAddresses'), SOON).toBe('False');
  });
});

function statefulSet(): object {
  const labels = { app: 'talk' };
  const apart = { labelSelector: { matchLabels: labels }, topologyKey: 'kubernetes.io/hostname' };
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'talk' },
    spec: {
      replicas: 2,
      serviceName: 'talk',
      podManagementPolicy: 'Parallel',
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [apart] } },
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: 'main',
              image: BUSYBOX_IMAGE,
              command: ['sh', '-c', SERVE],
              readinessProbe: { httpGet: { port: 8080, path: '/cgi-bin/who' }, periodSeconds: 1 },
            },
          ],
        },
      },
    },
  };
}
