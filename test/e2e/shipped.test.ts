import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { copyFile, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Cluster } from '../cluster/cluster.ts';
import { RELEASE } from '../../src/controller/volumes/lost-node-volumes.ts';
import { agentOf } from '../cluster/keelson-pods.ts';
import { Kubectl } from '../cluster/kubectl.ts';
import { NAMESPACE } from '../cluster/shipped.ts';
import { waitFor } from '../cluster/wait.ts';

const MINUTES = 60_000;
/** Where the pool is mounted, on the host and in the agent's pod. */
const POOL = '/var/lib/keelson/pools/default';
const DEPLOY = join(import.meta.dirname, '../../deploy');

/**
 * Writes a number each 0.1 s, and asks the peer whose address it has been given for a sign of life;
 * says what failed.
 */
const WRITER = `
echo start >>/data/log
n=0
while :; do
  n=$((n + 1))
  echo $n >>/data/log || echo "write $n" >>/tmp/failures
  if [ -e /tmp/peer ]; then ping -c 1 -W 10 "$(cat /tmp/peer)" >/dev/null 2>&1 || echo "ping $n" >>/tmp/failures; fi
  sleep 0.1
done`;

const WRITERS = ['writer-0', 'writer-1', 'writer-2', 'writer-3'] as const;

interface Pod {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly spec: { readonly nodeName: string };
  readonly status: {
    readonly podIP: string;
    readonly containerStatuses: readonly { readonly restartCount: number; readonly ready: boolean }[];
  };
}

const writers = {
  apiVersion: 'apps/v1',
  kind: 'StatefulSet',
  metadata: { name: 'writer' },
  spec: {
    serviceName: 'writer',
    replicas: WRITERS.length,
    podManagementPolicy: 'Parallel',
    selector: { matchLabels: { app: 'writer' } },
    template: {
      metadata: { labels: { app: 'writer' } },
      spec: {
        terminationGracePeriodSeconds: 0,
        automountServiceAccountToken: false,
        // Two a node.
        topologySpreadConstraints: [
          {
            maxSkew: 1,
            topologyKey: 'kubernetes.io/hostname',
            whenUnsatisfiable: 'DoNotSchedule',
            labelSelector: { matchLabels: { app: 'writer' } },
          },
        ],
        containers: [
          {
            name: 'main',
            image: 'keelson.dev/demo/busybox:1',
            imagePullPolicy: 'Never',
            command: ['sh', '-c', WRITER],
            volumeMounts: [{ name: 'data', mountPath: '/data' }],
          },
        ],
      },
    },
    volumeClaimTemplates: [
      {
        metadata: { name: 'data' },
        spec: {
          accessModes: ['ReadWriteOnce'],
          storageClassName: 'keelson',
          resources: { requests: { storage: '64Mi' } },
        },
      },
    ],
  },
};

/**
 * What users apply, from the image that is shipped, on two nodes; the tests follow on each other.
 */
describe('the shipped manifests', { timeout: 10 * MINUTES }, () => {
  const cluster = new Cluster({ name: 'shipped' });
  let kubectl: Kubectl;

  beforeAll(async () => {
    await cluster.down();
    await cluster.up({ nodes: 2, settings: { keelson: 'shipped', poolSize: '2Gi' } });
    kubectl = await cluster.kubectl();
  }, 15 * MINUTES);

  afterAll(async () => {
    await cluster.down();
  }, 2 * MINUTES);

  /** kubectl with that token alone. */
  const withToken = async (token: string): Promise<Kubectl> => {
    const file = `${kubectl.kubeconfig}.token`;
    await copyFile(kubectl.kubeconfig, file);
    const limited = new Kubectl(kubectl.file, file);
    await limited.run(['config', 'set-credentials', 'limited', `--token=${token}`]);
    const context = (await limited.run(['config', 'current-context'])).trim();
    await limited.run(['config', 'set-context', context, '--user=limited']);
    return limited;
  };
  const pods = async (selector: string, namespace = 'default'): Promise<readonly Pod[]> =>
    (
      await kubectl.get<{ readonly items: readonly Pod[] }>([
        ...['pods', '--namespace', namespace, '--selector', selector],
      ])
    ).items;
  const exec = async (pod: string, script: string): Promise<string> =>
    await kubectl.run(['exec', pod, '--', 'sh', '-c', script]);
  const rollout = async (what: string, namespace = 'default'): Promise<void> => {
    const args = ['rollout', 'status', '--namespace', namespace, what, '--timeout=180s'];
    await kubectl.run(args, { timeoutMs: 190_000 });
  };
  const failures = async (): Promise<string> =>
    (
      await Promise.all(WRITERS.map((pod) => exec(pod, `sed 's/^/${pod}: /' /tmp/failures 2>/dev/null || :`)))
    ).join('');
  const written = async (pod: string): Promise<number> => Number(await exec(pod, 'tail -n 1 /data/log'));
  /** Resolves when each writer has written on, since the call. */
  const waitForWrites = async (): Promise<void> => {
    for (const pod of WRITERS) {
      const from = await written(pod);
      const hasWritten = async (): Promise<true | undefined> =>
        (await written(pod)) > from + 5 ? true : undefined;
      await waitFor(`${pod} writes on`, hasWritten, { timeoutMs: 2 * MINUTES, everyMs: 500 });
    }
  };
  const logs = async (component: string): Promise<string> =>
    await kubectl.run([
      ...['logs', '--namespace', NAMESPACE, '--selector', `app.kubernetes.io/component=${component}`],
      ...['--tail=-1', '--all-containers'],
    ]);

  test('run without a restart, and the controller satisfies the restricted Pod Security Standard', async () => {
    await rollout('daemonset/keelson-agent', NAMESPACE);
    await rollout('deployment/keelson-controller', NAMESPACE);
    const all = await pods('app.kubernetes.io/name=keelson', NAMESPACE);
    expect(all).toHaveLength(4);
    for (const { metadata, status } of all) {
      expect(status.containerStatuses, metadata.name).toMatchObject([{ restartCount: 0 }]);
    }
    // A pod as the Deployment makes them, where nothing else is let in.
    const { spec } = await kubectl.get<{ spec: { template: { spec: object } } }>([
      ...['deployment', 'keelson-controller', '--namespace', NAMESPACE],
    ]);
    await kubectl.apply([
      {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: 'strict', labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
      },
      {
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { name: 'keelson-controller', namespace: 'strict' },
      },
    ]);
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'controller', namespace: 'strict' },
      spec: spec.template.spec,
    };
    await kubectl.run(['create', '--dry-run=server', '--filename=-'], { input: JSON.stringify(pod) });
    await kubectl.run(['delete', 'namespace', 'strict', '--wait=false']);
  });

  test('provide a StatefulSet with volumes and network, and the host sees the pools', async () => {
    await kubectl.apply([writers]);
    await rollout('statefulset/writer');
    const all = await pods('app=writer');
    expect(all.filter(({ spec }) => spec.nodeName === 'node-1')).toHaveLength(2);
    for (const { metadata, spec } of all) {
      const peer = all.find((other) => other.spec.nodeName !== spec.nodeName);
      await exec(metadata.name, `echo ${peer?.status.podIP ?? ''} >/tmp/peer`);
    }
    await waitForWrites();
    for (const name of ['node-1', 'node-2']) {
      const { stdout } = await cluster
        .machine(name)
        .run('findmnt', ['--noheadings', '--output', 'FSTYPE', POOL]);
      expect(stdout.trim()).toBe('btrfs');
    }
    expect(await failures()).toBe('');
  });

  test('are upgraded under running pods: no write and no ping fails, nothing restarts', async () => {
    const before = await pods('app=writer');
    await kubectl.run(['rollout', 'restart', '--namespace', NAMESPACE, 'daemonset/keelson-agent']);
    await kubectl.run(['rollout', 'restart', '--namespace', NAMESPACE, 'deployment/keelson-controller']);
    await rollout('daemonset/keelson-agent', NAMESPACE);
    await rollout('deployment/keelson-controller', NAMESPACE);
    await waitForWrites();
    expect(await failures()).toBe('');
    const after = await pods('app=writer');
    expect(after.map(({ metadata, status }) => [metadata.uid, status.podIP])).toEqual(
      before.map(({ metadata, status }) => [metadata.uid, status.podIP]),
    );
    for (const { status } of after) expect(status.containerStatuses).toMatchObject([{ restartCount: 0 }]);
  });

  test('keep pods running while no agent runs, and new pods start when it returns', async () => {
    const agents = async (nodeSelector: object): Promise<void> => {
      const patch = JSON.stringify({ spec: { template: { spec: { nodeSelector } } } });
      await kubectl.run([
        ...[
          'patch',
          '--namespace',
          NAMESPACE,
          'daemonset',
          'keelson-agent',
          '--type=merge',
          '--patch',
          patch,
        ],
      ]);
    };
    await agents({ 'example.com/nowhere': 'true' });
    const deleted = async (): Promise<true | undefined> =>
      (await pods('app.kubernetes.io/component=agent', NAMESPACE)).length === 0 ? true : undefined;
    await waitFor('no agent is left', deleted, { timeoutMs: 2 * MINUTES, everyMs: 500 });
    for (const name of ['node-1', 'node-2']) {
      await cluster.machine(name).run('findmnt', ['--noheadings', POOL]);
    }
    await waitForWrites();
    expect(await failures()).toBe('');
    await agents({ 'example.com/nowhere': null });
    await rollout('daemonset/keelson-agent', NAMESPACE);
    await waitForWrites();
    expect(await failures()).toBe('');
  });

  test('give a re-created pod its data again', async () => {
    const from = await written('writer-0');
    await kubectl.run(['delete', 'pod', 'writer-0']);
    // What the StatefulSet says of itself may be from before.
    await kubectl.wait('pod/writer-0', 'create');
    await kubectl.wait('pod/writer-0', 'condition=Ready');
    const log = (): Promise<string> => exec('writer-0', 'cat /data/log');
    await expect.poll(async () => (await log()).match(/^start$/gm)).toHaveLength(2);
    expect(await log()).toContain(`\n${from}\n`);
  });

  test('send no request that the API server denies', async () => {
    for (const component of ['agent', 'controller']) {
      expect(await logs(component), component).not.toMatch(/forbidden/i);
    }
  });

  test('let the token of an agent write the objects of its node only', async () => {
    const { machine } = await cluster.node('node-1');
    const process = await machine.findDaemon(agentOf('node-1'));
    const inPod = `/proc/${process?.pid ?? ''}/root/var/run/secrets/kubernetes.io/serviceaccount/token`;
    const agent = await withToken((await readFile(inPod, 'utf8')).trim());
    const volumes = await kubectl.get<{
      items: { metadata: { name: string }; spec: { nodeName: string } }[];
    }>(['localvolumes']);
    const volumeOn = (node: string): string =>
      volumes.items.find(({ spec }) => spec.nodeName === node)?.metadata.name ?? '';
    // Whatever is let through by mistake is not done.
    const dryRun = '--dry-run=server';
    type Attempt = readonly [args: readonly string[], input?: string];
    const send = (args: readonly string[], kind: string, name: string, fields: object): Attempt => {
      const apiVersion = kind === 'Pod' ? 'v1' : 'keelson.dev/v1alpha1';
      const object = { apiVersion, kind, metadata: { name }, ...fields };
      return [[...args, dryRun, '--filename=-'], JSON.stringify(object)];
    };
    const create = (kind: string, name: string, fields: object = {}): Attempt =>
      send(['create'], kind, name, fields);
    // kubectl reads before it writes, but for a server-side apply.
    const report = (kind: string, name: string, status: object): Attempt =>
      send(['apply', '--server-side', '--force-conflicts', '--subresource=status'], kind, name, { status });
    const attempt = async ([args, input]: Attempt): Promise<string> =>
      await agent.run(args, input === undefined ? {} : { input }).then(
        () => 'done',
        (error: unknown) => String(error),
      );
    expect(await attempt(report('NodeInventory', 'node-1', { agentVersion: '9' }))).toBe('done');
    expect(await attempt(report('LocalVolume', volumeOn('node-1'), { message: 'x' }))).toBe('done');

    const mine = { spec: { nodeName: 'node-1', poolName: 'default', size: '1Gi' } };
    const main = { spec: { containers: [{ name: 'main', image: 'x' }] } };
    const release = `${RELEASE}=yes`;
    const unschedulable = '--patch={"spec":{"unschedulable":true}}';
    const refused: readonly Attempt[] = [
      report('LocalVolume', volumeOn('node-2'), { message: 'x' }),
      report('NodeInventory', 'node-2', { agentVersion: '9' }),
      [['annotate', 'localvolume', volumeOn('node-1'), release, dryRun]],
      [['delete', 'localvolume', volumeOn('node-1'), dryRun]],
      create('LocalVolume', 'mine', mine),
      [['delete', 'nodeinventory', 'node-2', dryRun]],
      create('NodeInventory', 'node-3'),
      [['label', 'node', 'node-1', 'example.com/mine=yes', dryRun]],
      [['label', 'node', 'node-1', 'disk.keelson.dev/nvme=yes', '--overwrite', dryRun]],
      [['label', 'node', 'node-2', 'disk.keelson.dev/nvme=yes', '--overwrite', dryRun]],
      [['annotate', 'node', 'node-1', 'example.com/mine=yes', dryRun]],
      [['taint', 'node', 'node-1', 'example.com/mine:NoSchedule', dryRun]],
      [['patch', 'node', 'node-1', unschedulable, dryRun]],
      [['patch', 'node', 'node-2', unschedulable, dryRun]],
      [['delete', 'node', 'node-2', dryRun]],
      create('StoragePool', 'mine', { spec: { backend: 'btrfs', source: { path: '/' } } }),
      create('NodeLabelRule', 'mine', { spec: { labels: [{ key: 'example.com/a', value: 'b' }] } }),
      create('Pod', 'mine', main),
      [['get', 'persistentvolumes']],
      [['get', 'persistentvolumeclaims', '--all-namespaces']],
      [['get', 'secrets', '--all-namespaces']],
      [['get', 'pods', '--all-namespaces']],
      [['create', 'token', 'keelson-controller', '--namespace', NAMESPACE]],
    ];
    for (const each of refused) {
      expect(await attempt(each), each.join(' ')).toMatch(/forbidden/i);
    }
  });

  test('do not lose all volumes when the applied manifests are deleted', async () => {
    const refused = kubectl.run(['delete', 'crd', 'localvolumes.keelson.dev']);
    await expect(refused).rejects.toThrow('deletes the data of every volume');
  });

  test('are uninstalled by the documented steps, which leave nothing on the nodes', async () => {
    const nodes = ['node-1', 'node-2'] as const;
    await kubectl.run(['delete', 'statefulset', 'writer', '--cascade=foreground'], {
      timeoutMs: 2 * MINUTES,
    });
    await kubectl.run(['delete', 'pvc', '--all'], { timeoutMs: 2 * MINUTES });
    await expect.poll(() => kubectl.run(['get', 'localvolumes', '--output=name'])).toBe('');

    const remove = [
      'delete',
      '--namespace',
      NAMESPACE,
      'deployment,daemonset',
      '--all',
      '--cascade=foreground',
    ];
    await kubectl.run(remove, { timeoutMs: 2 * MINUTES });
    await kubectl.run(['apply', '--kustomize', join(DEPLOY, 'uninstall')]);
    await rollout('daemonset/keelson-node-cleaner', NAMESPACE);
    await kubectl.run(['annotate', 'crd', 'localvolumes.keelson.dev', 'keelson.dev/delete-all-volumes=true']);
    await kubectl.run(['delete', '--ignore-not-found', '--kustomize', DEPLOY], { timeoutMs: 3 * MINUTES });

    for (const name of nodes) {
      const machine = cluster.machine(name);
      const list = async (path: string): Promise<string[]> => await readdir(await machine.outside(path));
      expect(await list('/opt/cni/bin'), name).not.toContain('keelson-cni');
      expect(await list('/etc/cni/net.d'), name).not.toContain('10-keelson.conflist');
      expect((await list('/run/keelson')).filter((file) => !file.startsWith('cri'))).toEqual([]);
      expect(await list('/var/lib/kubelet/plugins_registry'), name).toEqual([]);
      const mounts = await readFile(`/proc/${await machine.initPid()}/mounts`, 'utf8');
      expect(mounts, name).not.toContain('/var/lib/keelson/pools');
      const { stdout: tables } = await machine.runInNetwork(['nft', 'list', 'tables']);
      expect(tables, name).not.toContain('keelson');
      const { stdout: links } = await machine.runInNetwork(['ip', '-brief', 'link']);
      expect(
        links
          .trim()
          .split('\n')
          .map((line) => line.split(/[ @]/)[0]),
        name,
      ).toEqual(['lo', 'eth0']);
      // Volumes in pools outlive an uninstallation that was not told otherwise.
      expect(await list('/var/lib/keelson/pools'), name).toContain('default.img');
    }
    const { items } = await kubectl.get<{ items: readonly { metadata: { name: string } }[] }>([
      'crd,clusterroles',
    ]);
    expect(items.filter(({ metadata }) => metadata.name.includes('keelson'))).toEqual([]);
  });
});
