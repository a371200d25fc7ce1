import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'vitest';
import { DRIVER_NAME, TOPOLOGY_KEY } from '../../src/core/volumes/driver.ts';
import {
  CSI_DRIVERS,
  CSI_NODES,
  NODES,
  PERSISTENT_VOLUME_CLAIMS,
  type PersistentVolumeClaim,
  PODS,
  STORAGE_CLASSES,
} from '../../src/kube/built-in.ts';
import type { HttpKubeClient } from '../../src/kube/http-client.ts';
import type { KubeObject, Resource } from '../../src/kube/resource.ts';
import { type ManagedProcess, startProcess } from '../../src/runtime/child-process.ts';
import { retry } from '../../src/runtime/retry.ts';
import { startApiServer } from '../integration/apiserver/kube-api-server.ts';
import { installCrds } from '../integration/apiserver/kube-manifests.ts';
import { requireTool } from '../tools/require-tool.ts';
import { FakeAgents } from './controller-agent.ts';

export const GI = 1n << 30n;
export const NODE_NAMES = ['node-a', 'node-b'] as const;
const SERVICE_ACCOUNTS: Resource<KubeObject> = {
  group: '',
  version: 'v1',
  plural: 'serviceaccounts',
  kind: 'ServiceAccount',
  namespaced: true,
};

/**
 * A real control plane (API server, volume binder, garbage collector, scheduler), the `keelson
 * controller` process, and fake agents.
 */
export interface ControllerLab extends AsyncDisposable {
  readonly client: HttpKubeClient;
  readonly agents: FakeAgents;
  /** Alone by default: after a kill, an election would wait for the lease to run out. */
  startController(options?: { readonly elected?: boolean }): Promise<void>;
  /** Another candidate for the lease; it is the caller's to end. */
  startRival(): Promise<ManagedProcess>;
  /** The controller that `startController` started. */
  controllerPid(): number;
  /** What `/readyz` says. */
  isReady(): Promise<boolean>;
  /** SIGKILL. */
  killController(): Promise<void>;
  controllerLog(): Promise<string>;
}

/** Starts all of it; the controller has to be started. */
export async function startControllerLab(context: Pick<TestContext, 'skip'>): Promise<ControllerLab> {
  const manager = await requireTool(context, 'kube-controller-manager');
  const scheduler = await requireTool(context, 'kube-scheduler');
  await using undo = new AsyncDisposableStack();
  const api = undo.use(await startApiServer(context));
  const client = undo.use(api.client('admin'));
  const directory = await mkdtemp(join(tmpdir(), 'keelson-controller-'));
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const kubeconfig = join(directory, 'kubeconfig');
  await writeFile(kubeconfig, api.kubeconfig, { mode: 0o600 });
  await installCrds(client);
  await client.create(SERVICE_ACCOUNTS, { metadata: { namespace: 'default', name: 'default' } });
  await client.create(CSI_DRIVERS, {
    metadata: { name: DRIVER_NAME },
    spec: { attachRequired: false, storageCapacity: true },
  });
  for (const name of NODE_NAMES) await addNode(client, name);
  await addClass(client, 'local', { volumeBindingMode: 'WaitForFirstConsumer' });
  await addClass(client, 'at-once', { volumeBindingMode: 'Immediate' });
  await addClass(client, 'kept', { volumeBindingMode: 'Immediate', reclaimPolicy: 'Retain' });

  const common = [`--kubeconfig=${kubeconfig}`, '--bind-address=127.0.0.1', '--leader-elect=false'];
  const launch = async (name: string, file: string, args: readonly string[]): Promise<ManagedProcess> =>
    await startProcess({ name, file, args: [...args], logFile: join(directory, `${name}.log`) });
  undo.use(
    await launch('kube-controller-manager', manager, [
      ...common,
      `--secure-port=${await freePort()}`,
      `--controllers=${[
        'persistentvolume-binder-controller',
        'persistentvolume-protection-controller',
        'persistentvolumeclaim-protection-controller',
        'garbage-collector-controller',
      ].join(',')}`,
      '--kube-api-qps=200',
      '--kube-api-burst=400',
    ]),
  );
  undo.use(await launch('kube-scheduler', scheduler, [...common, `--secure-port=${await freePort()}`]));

  const agents = new FakeAgents(client, { 'node-a': 10n * GI, 'node-b': 10n * GI });
  const stopAgents = new AbortController();
  const running = agents.run(stopAgents.signal);
  undo.defer(async () => {
    stopAgents.abort();
    await running;
  });
  const address = `127.0.0.1:${await freePort()}`;
  let controller: ManagedProcess | undefined;
  undo.defer(async () => await controller?.[Symbol.asyncDispose]());
  const main = join(import.meta.dirname, '../../src/cli/main.ts');
  const stack = undo.move();
  return {
    client,
    agents,
    async startController({ elected = false } = {}) {
      controller = await launch('controller', process.execPath, [
        main,
        'controller',
        `--kubeconfig=${kubeconfig}`,
        ...(elected ? [] : ['--no-leader-election']),
        `--metrics-address=${address}`,
        '--log-level=debug',
      ]);
    },
    startRival: async () =>
      await launch('rival', process.execPath, [
        ...[main, 'controller', `--kubeconfig=${kubeconfig}`],
        ...['--metrics-address=off', '--log-level=debug'],
      ]),
    controllerPid() {
      if (controller === undefined) throw new Error('no controller was started');
      return controller.pid;
    },
    async isReady() {
      return (await fetch(`http://${address}/readyz`)).ok;
    },
    async killController() {
      if (controller === undefined) return;
      process.kill(controller.pid, 'SIGKILL');
      await controller.exited;
      controller = undefined;
    },
    controllerLog: async () => (await controller?.tail(40)) ?? '',
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** A node as a kubelet with the driver would register it, ready for simulated pods. */
export async function addNode(client: HttpKubeClient, name: string): Promise<void> {
  const node = await client.create(NODES, {
    metadata: { name, labels: { [TOPOLOGY_KEY]: name, 'kubernetes.io/hostname': name } },
  });
  await client.patch(NODES, { name }, { merge: { spec: { taints: null } } });
  const status = {
    capacity: { cpu: '8', memory: '8Gi', pods: '500' },
    allocatable: { cpu: '8', memory: '8Gi', pods: '500' },
    conditions: [{ type: 'Ready', status: 'True', reason: 'KubeletReady', message: '' }],
  };
  await client.patch(NODES, { name }, { merge: { status } }, { subresource: 'status' });
  await client.create(CSI_NODES, {
    metadata: {
      name,
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name, uid: node.metadata?.uid ?? '' }],
    },
    spec: { drivers: [{ name: DRIVER_NAME, nodeID: name, topologyKeys: [TOPOLOGY_KEY] }] },
  });
}

async function addClass(client: HttpKubeClient, name: string, fields: object): Promise<void> {
  await client.create(STORAGE_CLASSES, {
    metadata: { name },
    provisioner: DRIVER_NAME,
    mountOptions: ['noatime'],
    ...fields,
  });
}

export async function addClaim(
  client: HttpKubeClient,
  name: string,
  className: string,
  size = '1Gi',
  fields: object = {},
): Promise<PersistentVolumeClaim> {
  return await client.create(PERSISTENT_VOLUME_CLAIMS, {
    metadata: { namespace: 'default', name },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: className,
      resources: { requests: { storage: size } },
      ...fields,
    },
  });
}

export async function addPod(client: HttpKubeClient, name: string, claim = name): Promise<void> {
  await client.create(PODS, {
    metadata: { namespace: 'default', name },
    spec: {
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'main', image: 'nothing' }],
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: claim } }],
    },
  });
}

export async function claimNamed(client: HttpKubeClient, name: string): Promise<PersistentVolumeClaim> {
  return await client.get(PERSISTENT_VOLUME_CLAIMS, { namespace: 'default', name });
}

/** Repeats `check` until it does not throw; rejects with its last error. */
export async function eventually<T>(check: () => Promise<T>, withinMs = 30_000): Promise<T> {
  return await retry(check, { baseMs: 100, maxMs: 250, attempts: Math.ceil(withinMs / 200) });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}
