import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandOutput, runCommand } from '../../src/runtime/child-process.ts';
import { Cluster } from '../cluster/cluster.ts';
import type { Kubectl } from '../cluster/kubectl.ts';
import { waitFor } from '../cluster/wait.ts';
import { classOf, IMMEDIATE } from './claims-lab.ts';

const MINUTES = 60_000;
const BIN = join(import.meta.dirname, '../../bin');
const cluster = new Cluster({ name: 'kubectl' });
let kubectl: Kubectl;

beforeAll(async () => {
  await cluster.down();
  await cluster.up({ settings: { keelson: 'shipped', poolSize: '4Gi' } });
  kubectl = await cluster.kubectl();
  await kubectl.apply([IMMEDIATE]);
}, 10 * MINUTES);

afterAll(async () => {
  await cluster.down();
}, 2 * MINUTES);

interface Answer {
  readonly verdict: string;
  readonly reason: string;
  readonly summary: string;
  readonly nodes: readonly { readonly name: string; readonly lacks: readonly { readonly code: string }[] }[];
  readonly hidden: readonly string[];
}

/** kubectl finds the plugin and its completion on PATH. */
const environment = (kubeconfig = kubectl.kubeconfig): Record<string, string> => ({
  PATH: `${BIN}:/usr/bin:/bin`,
  HOME: `${kubectl.kubeconfig}.home`,
  KUBECONFIG: kubeconfig,
});

/** Runs `kubectl keelson ARGS`. */
async function keelson(
  args: readonly string[],
  kubeconfig = kubectl.kubeconfig,
  input?: string,
): Promise<CommandOutput> {
  return await runCommand(kubectl.file, ['keelson', ...args], {
    env: environment(kubeconfig),
    accept: [1],
    ...(input === undefined ? {} : { input }),
  });
}

async function why(subject: string): Promise<Answer> {
  return JSON.parse((await keelson(['why', subject, '-o', 'json'])).stdout) as Answer;
}

/** Waits for the reason: the answer is of one moment, and a cluster takes some to get there. */
async function untilReason(subject: string, reason: string): Promise<Answer> {
  return await waitFor(
    `the answer about ${subject} is ${reason}`,
    async () => {
      const answer = await why(subject);
      if (answer.reason === reason) return answer;
      throw new Error(`${subject}: ${answer.verdict} ${answer.reason}: ${answer.summary}`);
    },
    { timeoutMs: MINUTES },
  );
}

function claim(name: string, storageClassName: string, size: string): object {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace: 'default' },
    spec: { storageClassName, accessModes: ['ReadWriteOnce'], resources: { requests: { storage: size } } },
  };
}

function pod(name: string, spec: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'main',
          image: 'keelson.dev/demo/busybox:1',
          command: ['sleep', '10000'],
          volumeMounts: [{ name: 'data', mountPath: '/data' }],
        },
      ],
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: name } }],
      ...spec,
    },
  };
}

describe('kubectl keelson on a real cluster', { timeout: 5 * MINUTES }, () => {
  test('a claim that exceeds the free space is explained for each node, and so is its pod', async () => {
    await kubectl.apply([claim('full', 'keelson', '50Gi'), pod('full')]);
    const answer = await untilReason('pvc/full', 'InsufficientCapacity');
    expect(answer.verdict).toBe('stuck');
    expect(answer.summary).toContain('it requests 50 GiB');
    expect(answer.nodes.map(({ name, lacks }) => [name, lacks.map(({ code }) => code)])).toEqual([
      ['node-1', ['InsufficientCapacity']],
      ['node-2', ['InsufficientCapacity']],
    ]);
    expect((await untilReason('pod/full', 'InsufficientCapacity')).summary).toContain(
      'its claim default/full is stuck',
    );
    const { stdout, code } = await keelson(['why', 'pvc/full']);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^claim default\/full is stuck \(InsufficientCapacity\): it requests 50 GiB/);
  });

  test('an immediate claim that is too large is explained the same way without a pod', async () => {
    await kubectl.apply([claim('full-now', 'keelson-immediate', '50Gi')]);
    expect((await untilReason('pvc/full-now', 'InsufficientCapacity')).nodes).toHaveLength(2);
  });

  test('a class whose pool no node has is named', async () => {
    const fast = {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name: 'fast' },
      provisioner: 'keelson.dev',
      volumeBindingMode: 'WaitForFirstConsumer',
      parameters: { pool: 'fast' },
    };
    await kubectl.apply([fast, claim('fast', 'fast', '1Gi'), pod('fast')]);
    expect((await untilReason('pvc/fast', 'NoPool')).summary).toContain(
      'no candidate node has pool fast of StorageClass fast',
    );
    const { stdout, code } = await keelson(['doctor']);
    expect(code).toBe(1);
    expect(stdout).toContain('class fast requires pool fast, which no node has');
    await kubectl.run(['delete', 'pod/fast', 'pvc/fast', 'storageclass/fast']);
  });

  test('a class that no pool can serve is explained with what each pool lacks', async () => {
    const images = classOf('images', {
      volumeBindingMode: 'WaitForFirstConsumer',
      parameters: { backend: 'image' },
    });
    await kubectl.apply([images, claim('images', 'images', '64Mi'), pod('images')]);
    const answer = await untilReason('pvc/images', 'PoolIncompatible');
    expect(answer.verdict).toBe('stuck');
    expect(answer.summary).toContain('StorageClass images requires backend image');
    expect(JSON.stringify(answer.nodes)).toContain('pool default has backend btrfs, not image');
    await kubectl.run(['delete', 'pod/images', 'pvc/images', 'storageclass/images']);
  });

  test('a class that does not exist, and a claim that no pod uses', async () => {
    await kubectl.apply([claim('typo', 'keelsn', '1Gi'), claim('alone', 'keelson', '1Gi')]);
    expect(await why('pvc/typo')).toMatchObject({ verdict: 'stuck', reason: 'StorageClassNotFound' });
    expect(await why('pvc/alone')).toMatchObject({ verdict: 'waits', reason: 'WaitForFirstConsumer' });
  });

  test('cordoned nodes are the reason while they are cordoned', async () => {
    await kubectl.run(['cordon', 'node-1', 'node-2']);
    await kubectl.apply([claim('quiet', 'keelson', '64Mi'), pod('quiet')]);
    expect((await untilReason('pvc/quiet', 'Cordoned')).verdict).toBe('stuck');
    expect((await untilReason('pod/quiet', 'Cordoned')).nodes).toHaveLength(2);
    await kubectl.run(['uncordon', 'node-1', 'node-2']);
    expect((await untilReason('pod/quiet', 'Running')).verdict).toBe('well');
    expect(await why('pvc/quiet')).toMatchObject({ verdict: 'well', reason: 'Bound' });
  });

  test('a pod with spec.nodeName gets no volume, and the reason', async () => {
    await kubectl.apply([claim('bypass', 'keelson', '64Mi'), pod('bypass', { nodeName: 'node-1' })]);
    expect((await untilReason('pod/bypass', 'SchedulerBypassed')).summary).toContain('spec.nodeName');
  });

  test('an agent that is down is the reason when its node was chosen', async () => {
    const node = await cluster.node('node-2');
    await node.stopAgent();
    const spec = { nodeSelector: { 'kubernetes.io/hostname': 'node-2' } };
    await kubectl.apply([claim('down', 'keelson', '64Mi'), pod('down', spec)]);
    const answer = await waitFor(
      'the answer about pvc/down is that of an agent that is down',
      async () => {
        const found = await why('pvc/down');
        if (found.reason === 'AgentUnresponsive' || found.reason === 'NotRegistered') return found;
        throw new Error(`${found.reason}: ${found.summary}`);
      },
      { timeoutMs: MINUTES },
    );
    expect(answer.verdict).toBe('stuck');
    await node.ensureNetwork();
    expect((await untilReason('pvc/down', 'Bound')).verdict).toBe('well');
  });

  test('a controller that is down is the reason when nothing else is', async () => {
    await (await cluster.keelson()).stopController();
    await kubectl.apply([claim('silent', 'keelson', '64Mi'), pod('silent')]);
    expect((await untilReason('pvc/silent', 'ControllerUnresponsive')).verdict).toBe('stuck');
    await (await cluster.keelson()).startController();
    expect((await untilReason('pod/silent', 'Running')).verdict).toBe('well');
  });

  test('status, volumes and nodes show the state of the cluster', async () => {
    const status = await keelson(['status']);
    expect(status.stdout).toContain('2 of 2 ready');
    expect(status.stdout).toMatch(/default\/full +50Gi +keelson/);
    const volumes = await keelson(['volumes', '-o', 'wide']);
    expect(volumes.stdout).toMatch(/default +quiet +node-[12] +default +64 MiB +Ready +- +0/);
    const nodes = JSON.parse((await keelson(['nodes', '-o', 'json'])).stdout) as {
      nodes: { name: string; agent: string }[];
    };
    expect(nodes.nodes.map(({ name, agent }) => [name, agent])).toEqual([
      ['node-1', 'serves'],
      ['node-2', 'serves'],
    ]);
  });

  test('doctor finds no problem in a healthy cluster', async () => {
    const { stdout, code } = await keelson(['doctor']);
    expect(`${code}\n${stdout}`).toMatch(/^0\n/);
  });

  test('a user of one namespace gets the readable objects, and the names of the kinds that are denied', async () => {
    await kubectl.apply([
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'dev', namespace: 'default' } },
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'RoleBinding',
        metadata: { name: 'dev', namespace: 'default' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
        subjects: [{ kind: 'ServiceAccount', name: 'dev', namespace: 'default' }],
      },
    ]);
    const token = (await kubectl.run(['create', 'token', 'dev'])).trim();
    const limited = `${kubectl.kubeconfig}.dev`;
    await copyFile(kubectl.kubeconfig, limited);
    const env = { PATH: '/usr/bin:/bin', HOME: `${limited}.home` };
    const config = ['--kubeconfig', limited, 'config'];
    await runCommand(kubectl.file, [...config, 'set-credentials', 'dev', `--token=${token}`], { env });
    const context = (await runCommand(kubectl.file, [...config, 'current-context'], { env })).stdout.trim();
    await runCommand(kubectl.file, [...config, 'set-context', context, '--user=dev'], { env });
    const { stdout } = await keelson(['why', 'pvc/full', '-o', 'json'], limited);
    const answer = JSON.parse(stdout) as Answer;
    expect(answer.hidden.join('\n')).toContain('no permission to read nodes in all namespaces');
    expect(['ReportedByController', 'Unschedulable']).toContain(answer.reason);
    expect(answer.nodes).toEqual([]);
  });

  test('kubectl completes the verbs, the options and the names of objects', async () => {
    const complete = async (...line: readonly string[]): Promise<string> =>
      (await runCommand(kubectl.file, ['__complete', 'keelson', ...line], { env: environment() })).stdout;
    expect(await complete('rel')).toMatch(/^release\t.*\n:4\n$/);
    expect(await complete('status', '-o', 'y')).toBe('yaml\n:4\n');
    expect(await complete('why', '')).toBe('pvc/\npod/\n:6\n');
    expect(await complete('why', 'pvc/fu')).toMatch(/^pvc\/full\n/);
    expect(await complete('release', 'node', 'node-')).toBe('node-1\nnode-2\n:4\n');
  });

  test('lists existing claims when a claim does not exist', async () => {
    const { stderr, code } = await keelson(['why', 'pvc/unknown']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/claim default\/unknown not found; found .*full/);
  });

  test('releases a lost node when its name is typed, so that its claims can be deleted', async () => {
    const spec = { nodeSelector: { 'kubernetes.io/hostname': 'node-2' } };
    await kubectl.apply([claim('lost', 'keelson-retain', '64Mi'), pod('lost', spec)]);
    expect((await untilReason('pod/lost', 'Running')).verdict).toBe('well');
    const refused = await keelson(['release', 'node/node-2', '--yes']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('node node-2 is Ready and serves its volumes: nothing is released');

    await cluster.stopNode('node-2');
    await kubectl.wait('node/node-2', 'condition=Ready=Unknown', { timeoutMs: MINUTES });
    const unsaid = await keelson(['release', 'node/node-2'], kubectl.kubeconfig, 'yes\n');
    expect(unsaid.code).toBe(1);
    expect(unsaid.stderr).toMatch(/default\/lost +volume +64 MiB +Retain +lost +pvc-/);
    expect(unsaid.stderr).toContain('nothing is released');
    const { stdout, code } = await keelson(
      ['release', 'node/node-2', '-o', 'json'],
      kubectl.kubeconfig,
      'node-2\n',
    );
    expect(code).toBe(0);
    const { volumes } = JSON.parse(stdout) as { volumes: { name: string; next: string[] }[] };
    const commands = volumes.flatMap(({ next }) => next);
    expect(commands).toContain('kubectl delete pvc -n default lost --wait=false');
    expect(commands).toContain('kubectl delete pod -n default lost --force');
    for (const command of commands) await kubectl.run(command.split(' ').slice(1));
    const names = volumes.map(({ name }) => name);
    await waitFor(
      'nothing of the lost volumes is in the API',
      async () => {
        const kinds = await kubectl.run(['get', 'localvolumes,persistentvolumes', '--output=name']);
        const left = names.filter((name) => kinds.includes(name));
        if (left.length === 0) return true;
        throw new Error(`there still are ${left.join(', ')}`);
      },
      { timeoutMs: MINUTES },
    );

    await cluster.startNode('node-2');
    await waitFor(
      'the node says what is left on it',
      async () => {
        const { stdout: nodes } = await keelson(['nodes']);
        if (nodes.includes('node-2: orphaned volumes')) return true;
        throw new Error(nodes);
      },
      { timeoutMs: MINUTES },
    );
  });
});
