import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUSYBOX_IMAGE } from '../../../src/demo/busybox-image.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import type { Kubectl } from '../../cluster/kubectl.ts';
import { waitFor } from '../../cluster/wait.ts';
import { sharedCluster } from './cluster.ts';

interface PolicyStatus {
  readonly metadata: { readonly generation: number };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly nodes?: number;
    readonly conditions?: readonly { readonly status: string; readonly reason: string }[];
  };
}

const NODES = ['node-1', 'node-2'];

/** Policies go from kubectl to the proxies of two nodes, and from there into containers. */
describe('a RuntimePolicy', { timeout: 300_000 }, () => {
  let cluster: Cluster;
  let kubectl: Kubectl;

  beforeAll(async () => {
    cluster = await sharedCluster();
    kubectl = await cluster.kubectl();
  }, 900_000);

  afterAll(async () => {
    await kubectl.run(['delete', 'runtimepolicies', '--all']);
    await kubectl.run(['delete', 'pods', '--all', '--grace-period=0', '--force']);
  }, 60_000);

  const readPolicy = async (name: string): Promise<PolicyStatus> =>
    await kubectl.get<PolicyStatus>([`runtimepolicy/${name}`]);
  const untilInForce = async (name: string): Promise<void> => {
    const inForce = async (): Promise<true | undefined> => {
      const { metadata, status } = await readPolicy(name);
      expect(status).toMatchObject({
        observedGeneration: metadata.generation,
        nodes: 2,
        conditions: [{ status: 'True', reason: 'Enforced' }],
      });
      return true;
    };
    await waitFor(`policy ${name} is in force on both nodes`, inForce, { timeoutMs: 120_000, everyMs: 200 });
  };
  const untilGone = async (name: string): Promise<void> => {
    const deleted = async (): Promise<true | undefined> => {
      for (const node of NODES) {
        const { stdout } = await cluster.machine(node).run('ls', ['/var/lib/keelson/policies/current/']);
        if (stdout.includes(name)) return undefined;
      }
      return true;
    };
    await waitFor(`policy ${name} is on no node`, deleted, { timeoutMs: 60_000, everyMs: 200 });
  };
  /** The variable MODE of a container that runs to its end on `node`. */
  const modeOn = async (node: string, namespace = 'default'): Promise<string> => {
    const name = `probe-${node}`;
    await kubectl.run(['delete', 'pod', name, `--namespace=${namespace}`, '--ignore-not-found', '--wait']);
    await kubectl.apply([pod(name, node, namespace, ['sh', '-c', 'echo mode=$MODE'])]);
    const ended = ['--for=jsonpath={.status.phase}=Succeeded', '--timeout=120s'];
    await kubectl.run(['wait', `pod/${name}`, `--namespace=${namespace}`, ...ended]);
    return (await kubectl.run(['logs', name, `--namespace=${namespace}`])).trim();
  };
  const modes = async (): Promise<string[]> => await Promise.all(NODES.map((node) => modeOn(node)));

  test('that kubectl applies changes new containers on both nodes, and reports that it is enforced', async () => {
    expect(await modes()).toEqual(['mode=', 'mode=']);
    await kubectl.apply([setMode('batch')]);
    await untilInForce('mode');
    expect(await modes()).toEqual(['mode=batch', 'mode=batch']);
  });

  test('that is changed counts as in force when the proxies have the new version', async () => {
    await kubectl.apply([setMode('other')]);
    await untilInForce('mode');
    expect((await readPolicy('mode')).metadata.generation).toBe(2);
    expect(await modes()).toEqual(['mode=other', 'mode=other']);
  });

  test('stays in force while agents and API server are away', async () => {
    const node = await cluster.node('node-1');
    await node.stopAgent();
    await node.stopProxy();
    await node.ensureProxy();
    const { stdout } = await node.machine.run('ls', ['/var/lib/keelson/policies/current/']);
    expect(stdout).toBe('mode.yaml\n');
    await cluster.startNode('node-1');
    expect(await modeOn('node-1')).toBe('mode=other');
  });

  test('survives the reboot of a node', async () => {
    await cluster.stopNode('node-2');
    await cluster.startNode('node-2');
    expect(await modeOn('node-2')).toBe('mode=other');
  });

  test('that is deleted changes nothing any more', async () => {
    await kubectl.run(['delete', 'runtimepolicy', 'mode']);
    await untilGone('mode');
    // Proxies follow their files within a moment, or after 5 s at the latest.
    const ended = async (): Promise<true | undefined> =>
      (await modes()).join() === 'mode=,mode=' ? true : undefined;
    await waitFor('new containers are left alone', ended, { timeoutMs: 90_000 });
  });

  test('that denies shows in the events of the pod, and spares kube-system', async () => {
    await kubectl.apply([
      {
        apiVersion: 'keelson.dev/v1alpha1',
        kind: 'RuntimePolicy',
        metadata: { name: 'closed' },
        spec: {
          match: { podSelector: { matchLabels: { app: 'probe' } } },
          deny: { message: 'we are closed' },
        },
      },
    ]);
    await untilInForce('closed');
    await kubectl.apply([pod('refused', 'node-1', 'default', ['true'])]);
    const told = async (): Promise<true | undefined> => {
      const events = await kubectl.run([
        'get',
        'events',
        '--field-selector=involvedObject.name=refused',
        '--output=jsonpath={.items[*].message}',
      ]);
      return events.includes('RuntimePolicy closed denies') && events.includes('we are closed')
        ? true
        : undefined;
    };
    await waitFor('the pod says why it does not start', told, { timeoutMs: 120_000, everyMs: 300 });
    expect(await modeOn('node-1', 'kube-system')).toBe('mode=');
    await kubectl.run(['delete', 'runtimepolicy', 'closed']);
    await untilGone('closed');
    // kubelet tries again each 10 to 15 s, and as soon as the pod is changed. Proxies may still be
    // reading their files.
    let tries = 0;
    const started = async (): Promise<true | undefined> => {
      const { phase } = (await kubectl.get<{ status: { phase: string } }>(['pod', 'refused'])).status;
      if (phase === 'Succeeded') return true;
      tries += 1;
      await kubectl.run(['annotate', 'pod', 'refused', '--overwrite', `example.com/try=${tries}`]);
      return undefined;
    };
    await waitFor('the pod starts after all', started, { timeoutMs: 120_000, everyMs: 1_000 });
  });

  test('of the same name as a file of the administrator does not replace that, and says so', async () => {
    for (const node of NODES) {
      await cluster
        .machine(node)
        .write('/etc/keelson/policies/mode.yaml', JSON.stringify(setMode('by-hand')));
    }
    await kubectl.apply([setMode('by-api')]);
    const refused = async (): Promise<true | undefined> => {
      const [condition] = (await readPolicy('mode')).status?.conditions ?? [];
      return condition?.reason === 'Refused' ? true : undefined;
    };
    await waitFor('the policy reports that it is refused', refused, { timeoutMs: 120_000, everyMs: 300 });
    // One node is enough to say so; the other may still be reading the file.
    await expect.poll(modes).toEqual(['mode=by-hand', 'mode=by-hand']);
  });
});

function setMode(mode: string): object {
  return {
    apiVersion: 'keelson.dev/v1alpha1',
    kind: 'RuntimePolicy',
    metadata: { name: 'mode' },
    spec: {
      match: { namespaces: ['default'], podSelector: { matchLabels: { app: 'probe' } } },
      mutate: { env: { set: { MODE: mode } } },
    },
  };
}

function pod(name: string, nodeName: string, namespace: string, command: readonly string[]): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { app: 'probe' } },
    spec: {
      nodeName,
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'main', image: BUSYBOX_IMAGE, command }],
    },
  };
}
