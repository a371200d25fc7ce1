import { access, mkdtemp, readFile, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compareMachine } from '../../src/demo/leftovers.ts';
import { readMachine, type Resource } from '../../src/demo/machine-state.ts';
import { BUSYBOX_IMAGE } from '../../src/demo/busybox-image.ts';
import { listProcesses } from '../../src/demo/processes.ts';
import { runCommand, sendSignal } from '../../src/runtime/child-process.ts';
import { Cluster } from '../cluster/cluster.ts';
import {
  apiServerDown,
  cutLink,
  deleteNode,
  restartContainerd,
  restartKubelet,
  restoreLink,
} from '../cluster/faults.ts';
import type { Kubectl } from '../cluster/kubectl.ts';
import { waitFor } from '../cluster/wait.ts';

interface Pod {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly spec: { readonly nodeName: string };
  readonly status: {
    readonly podIP: string;
    readonly containerStatuses: readonly { readonly restartCount: number; readonly containerID: string }[];
  };
}

/** kubelet wants other values of these than machines usually have. */
const KERNEL_SETTINGS = ['vm/overcommit_memory', 'kernel/panic', 'kernel/panic_on_oops'];

const SERVE =
  'mkdir /tmp/www; hostname >/tmp/www/index.html; echo serving; exec httpd -f -p 8080 -h /tmp/www';

/**
 * What a cluster is for tests: brought up once, then every fault in turn; the last test takes it
 * down.
 */
describe('a cluster of two nodes', { timeout: 180_000 }, () => {
  let before: readonly Resource[];
  const settings = new Map<string, string>();
  let base: string;
  let cluster: Cluster;
  let kubectl: Kubectl;

  beforeAll(async () => {
    before = await readMachine();
    for (const name of KERNEL_SETTINGS) {
      settings.set(name, await readFile(`/proc/sys/${name}`, 'utf8'));
    }
    base = await mkdtemp(join(homedir(), '.cache/keelson-cluster-test-'));
    cluster = new Cluster({ name: `e2e-${process.pid}`, baseDirectory: base });
    await cluster.up({ nodes: 2 });
    kubectl = await cluster.kubectl();
  }, 900_000);

  afterAll(async () => {
    await cluster.down();
    await rm(base, { recursive: true, force: true });
  }, 60_000);

  const pods = async (): Promise<readonly Pod[]> =>
    (await kubectl.get<{ items: Pod[] }>(['pods', '--selector=app=web'])).items;
  const readiness = async (node: string): Promise<string> =>
    await kubectl.run([
      'get',
      'node',
      node,
      '--output=jsonpath={.status.conditions[?(@.type=="Ready")].status}',
    ]);
  const untilReadiness = async (node: string, wanted: string): Promise<void> => {
    const reached = async (): Promise<true | undefined> =>
      (await readiness(node)) === wanted ? true : undefined;
    await waitFor(`node ${node} has Ready ${wanted}`, reached, { timeoutMs: 60_000, everyMs: 500 });
  };
  /**
   * Every pod asks every pod, one on each node. kubelet finds its pods again a moment after it says
   * that it is ready.
   */
  const talk = async (): Promise<void> => {
    const round = async (): Promise<true> => {
      const all = await pods();
      expect(all.map(({ spec }) => spec.nodeName).sort()).toEqual(['node-1', 'node-2']);
      for (const from of all) {
        for (const to of all) {
          const answer = await inPod(from, `timeout 5 wget -q -O - http://${to.status.podIP}:8080/`);
          expect(answer.trim()).toBe(to.metadata.name);
        }
      }
      return true;
    };
    await waitFor('every pod answers every pod', round, { timeoutMs: 40_000, everyMs: 500 });
  };
  const inPod = async (pod: Pod, command: string): Promise<string> =>
    await kubectl.run(['exec', pod.metadata.name, '--', 'sh', '-c', command]);

  test('has Kubernetes 1.36 nodes that are Ready, each with its own pod range', async () => {
    const { items } = await kubectl.get<{
      items: { spec: { podCIDR: string }; status: { nodeInfo: { kubeletVersion: string } } }[];
    }>(['nodes']);
    expect(items.map(({ status }) => status.nodeInfo.kubeletVersion)).toEqual(['v1.36.3', 'v1.36.3']);
    expect(new Set(items.map(({ spec }) => spec.podCIDR)).size).toBe(2);
    expect(await readiness('node-1')).toBe('True');
    expect(await readiness('node-2')).toBe('True');
  });

  test('spreads a Deployment of two over its nodes, with logs, exec and answers across them', async () => {
    await kubectl.apply([webDeployment()]);
    await kubectl.wait('deployment/web', 'condition=Available');
    const all = await pods();
    expect(all.map(({ spec }) => spec.nodeName).sort()).toEqual(['node-1', 'node-2']);
    for (const pod of all) expect(await kubectl.run(['logs', pod.metadata.name])).toBe('serving\n');
    await talk();
  });

  test('lets pods, also those on the network of their node, reach the API by its Service', async () => {
    const ask = 'printf "GET /version HTTP/1.0\\r\\n\\r\\n" | timeout 5 nc 10.96.0.1 443 | head -c 12; true';
    for (const pod of await pods()) {
      // A TLS server answers plain text with a refusal in plain text.
      expect(await inPod(pod, ask)).toContain('HTTP/1.0 400');
    }
    await kubectl.apply([hostNetworkPod()]);
    await kubectl.wait('pod/on-the-host', 'condition=Ready');
    expect(await kubectl.run(['exec', 'on-the-host', '--', 'sh', '-c', ask])).toContain('HTTP/1.0 400');
    await kubectl.run(['delete', 'pod', 'on-the-host', '--grace-period=1']);
  });

  test('denies a node the objects of other nodes', async () => {
    const node = await cluster.node('node-1');
    const config = await node.machine.outside('/etc/kubernetes/kubelet.kubeconfig');
    const as = async (args: readonly string[]): Promise<string> =>
      (await runCommand(kubectl.file, ['--kubeconfig', config, ...args])).stdout;
    expect(await as(['auth', 'whoami', '--output=jsonpath={.status.userInfo.username}'])).toBe(
      'system:node:node-1',
    );
    await expect(as(['get', 'node', 'node-2'])).rejects.toThrow(/only its own Node object/);
    const reserved = 'node-restriction.kubernetes.io/mine=yes';
    await expect(as(['label', 'node', 'node-1', reserved])).rejects.toThrow(
      /is not allowed to modify labels/,
    );
    await expect(as(['get', 'secrets', '--all-namespaces'])).rejects.toThrow(/forbidden/);
  });

  test('shares no hostname, process, file or kernel setting with the host', async () => {
    const { machine } = await cluster.node('node-1');
    expect((await machine.run('hostname', [])).stdout.trim()).toBe('node-1');
    expect((await machine.run('cat', ['/proc/1/cmdline'])).stdout).toContain('machine-init.sh');
    await machine.run('sh', ['-c', 'echo x >/etc/only-on-node-1']);
    await expect(access('/etc/only-on-node-1')).rejects.toThrow(/ENOENT/);
    for (const [name, value] of settings) expect(await readFile(`/proc/sys/${name}`, 'utf8')).toBe(value);
    expect((await machine.run('cat', ['/proc/sys/kernel/panic'])).stdout).toBe('10\n');
  });

  test('is not affected when another cluster with other options is created and deleted', async () => {
    const other = new Cluster({ name: `${cluster.name}x-b`, baseDirectory: base });
    try {
      await other.up({ nodes: 1, settings: { cni: 'bridge', proxy: false } });
      const itsKubectl = await other.kubectl();
      expect(await itsKubectl.run(['get', 'nodes', '--output=name'])).toBe('node/node-1\n');
      expect(await itsKubectl.run(['get', 'pods', '--output=name'])).toBe('');
      await itsKubectl.apply([webDeployment(1)]);
      await itsKubectl.wait('deployment/web', 'condition=Available');
      // To take down a third, whose name this one's begins with, finds nothing that is not its own.
      await new Cluster({ name: `${cluster.name}x`, baseDirectory: base }).down();
      await expect(other.up({ settings: { cni: 'none' } })).rejects.toThrow(/has cni bridge, not none/);
    } finally {
      await other.down();
    }
    await talk();
  });

  test('is not changed by a second up', async () => {
    const running = await daemons();
    expect(running.length).toBeGreaterThan(15);
    await cluster.up({ nodes: 2 });
    expect(await daemons()).toEqual(running);
  });

  test('recovers from a crash of each component: up starts what is missing, and pods are not affected', async () => {
    const containers = (await pods()).map(({ status }) => status.containerStatuses);
    const victims = (await processesOf()).filter(({ program }) =>
      ['kubelet', 'containerd', 'kube-apiserver', 'kube-scheduler', 'node'].includes(program),
    );
    // On each node kubelet, containerd, Keelson's agent and its proxy; two of the control plane.
    expect(victims).toHaveLength(10);
    for (const { pid } of victims) sendSignal(pid, 'SIGKILL');
    await cluster.up();
    expect((await pods()).map(({ status }) => status.containerStatuses)).toEqual(containers);
    await talk();
  });

  test('restarts kubelet and containerd of a node under its pods', async () => {
    const containers = (await pods()).map(({ status }) => status.containerStatuses);
    await restartKubelet(cluster, 'node-1');
    await restartContainerd(cluster, 'node-1');
    expect((await pods()).map(({ status }) => status.containerStatuses)).toEqual(containers);
    await talk();
  });

  test('keeps its pods running without an API server', async () => {
    const outage = apiServerDown(cluster, 3_000);
    await waitFor(
      'the API server is away',
      async () =>
        await kubectl.run(['get', 'nodes', '--request-timeout=1s']).then(
          () => undefined,
          () => true,
        ),
      { timeoutMs: 10_000 },
    );
    await outage;
    await kubectl.wait('deployment/web', 'condition=Available');
    await talk();
  });

  test('reports a node that is off as NotReady, and as Ready when it returns with its pods', async () => {
    await cluster.stopNode('node-2');
    expect(
      (await processesOf()).some(({ cgroups }) => cgroups.some((path) => path.includes('.node-2/'))),
    ).toBe(false);
    await untilReadiness('node-2', 'Unknown');
    expect(await readiness('node-1')).toBe('True');
    await cluster.up();
    expect((await cluster.status()).nodes.map(({ running }) => running)).toEqual([true, false]);
    await cluster.startNode('node-2');
    expect(await readiness('node-2')).toBe('True');
    await kubectl.wait('deployment/web', 'condition=Available');
    await talk();
  });

  test('reports a node without its link as NotReady, and its pods keep running', async () => {
    const containers = (await pods()).map(({ status }) => status.containerStatuses);
    await cutLink(cluster, 'node-2');
    await untilReadiness('node-2', 'Unknown');
    await restoreLink(cluster, 'node-2');
    await untilReadiness('node-2', 'True');
    expect((await pods()).map(({ status }) => status.containerStatuses)).toEqual(containers);
    await talk();
  });

  test('registers a node again that was deleted from Kubernetes', async () => {
    await deleteNode(cluster, 'node-2');
    expect(await kubectl.run(['get', 'nodes', '--output=name'])).toBe('node/node-1\n');
    await restartKubelet(cluster, 'node-2');
    expect(await readiness('node-2')).toBe('True');
    // It may have another range for pods now: new ones get their addresses from it.
    await kubectl.run(['delete', 'pods', '--selector=app=web', '--grace-period=1']);
    await talk();
    const { spec } = await kubectl.get<{ spec: { podCIDR: string } }>(['node', 'node-2']);
    const moved = (await pods()).find((pod) => pod.spec.nodeName === 'node-2');
    expect(moved?.status.podIP.startsWith(spec.podCIDR.replace(/0\/24$/, ''))).toBe(true);
  });

  test('grows by a node and shrinks again', async () => {
    await cluster.addNode('late');
    await kubectl.apply([{ ...hostNetworkPod(), spec: { ...hostNetworkPod().spec, nodeName: 'late' } }]);
    await kubectl.wait('pod/on-the-host', 'condition=Ready');
    await cluster.removeNode('late');
    expect(await kubectl.run(['get', 'nodes', '--output=name'])).not.toContain('late');
    await expect(access(cluster.machine('late').directory)).rejects.toThrow(/ENOENT/);
  });

  test('detaches what is attached to files of a node that is switched off', async () => {
    const { machine } = await cluster.node('node-1');
    await machine.run('truncate', ['--size=16M', '/var/lib/keelson/pool.img']);
    const { stdout } = await machine.run('losetup', ['--find', '--show', '/var/lib/keelson/pool.img']);
    const device = stdout.trim();
    await cluster.stopNode('node-1');
    const { stdout: attached } = await runCommand('losetup', ['--list', '--noheadings', '--output=NAME']);
    expect(attached.split(/\s+/)).not.toContain(device);
  });

  test('leaves nothing when it is taken down, also with a node off and a killed control plane', async () => {
    const [init] = (await processesOf()).filter(
      ({ args }) => args.includes('control-plane') && args[0] === '/bin/sh',
    );
    sendSignal(init?.pid ?? 0, 'SIGKILL');
    await cluster.down();
    await expect(access(cluster.directory)).rejects.toThrow(/ENOENT/);
    const belongings = { name: cluster.name, podRange: '10.244.0.0/24', namespaces: [] };
    const { own } = compareMachine(before, await readMachine(), belongings);
    expect(own.filter(({ trace }) => trace !== base)).toEqual([]);
    await cluster.down();
  });

  const processesOf = async (): ReturnType<typeof listProcesses> =>
    (await listProcesses()).filter(
      ({ args, cgroups }) =>
        cgroups.some((path) => path.startsWith(`/keelson.${cluster.name}.`)) ||
        args.some((arg) => arg.startsWith(`${cluster.directory}/`)),
    );
  /** But for those that come and go: probes, and what a shell waits with. */
  const daemons = async (): Promise<readonly number[]> =>
    (await processesOf())
      .filter(({ program }) => /^(etcd|kube|containerd|node|dash)/.test(program))
      .map(({ pid }) => pid)
      .sort((a, b) => a - b);
});

function webDeployment(replicas = 2): object {
  const labels = { app: 'web' };
  const spread = { maxSkew: 1, topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'DoNotSchedule' };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web' },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          topologySpreadConstraints: [{ ...spread, labelSelector: { matchLabels: labels } }],
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: 'web',
              image: BUSYBOX_IMAGE,
              command: ['sh', '-c', SERVE],
              readinessProbe: { httpGet: { port: 8080, path: '/' }, periodSeconds: 1 },
            },
          ],
        },
      },
    },
  };
}

function hostNetworkPod(): { readonly spec: object; readonly [key: string]: unknown } {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'on-the-host' },
    spec: {
      hostNetwork: true,
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'main', image: BUSYBOX_IMAGE, command: ['sleep', '3600'] }],
    },
  };
}
