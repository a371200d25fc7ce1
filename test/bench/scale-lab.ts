import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DRIVER_NAME } from '../../src/core/volumes/driver.ts';
import { Fault } from '../../src/core/fault.ts';
import { STORAGE_CLASSES } from '../../src/kube/built-in.ts';
import type { HttpKubeClient } from '../../src/kube/http-client.ts';
import { type ManagedProcess, startProcess } from '../../src/runtime/child-process.ts';
import { waitFor } from '../cluster/wait.ts';
import { startApiServer } from '../integration/apiserver/kube-api-server.ts';
import { installCrds } from '../integration/apiserver/kube-manifests.ts';
import { ensureTool } from '../tools/build-tool.ts';
import { FLOOR } from './floor-provisioner.ts';
import { fetchMetrics, type MetricSample } from './metrics-text.ts';
import { findProcesses } from './process-usage.ts';
import { fetchServerMetrics } from './server-metrics.ts';

/** The parts of Kubernetes that bind and delete; no pods run here. */
const CONTROLLERS = [
  'persistentvolume-binder-controller',
  'persistentvolume-protection-controller',
  'persistentvolumeclaim-protection-controller',
  'garbage-collector-controller',
];
/**
 * What Kubernetes' controllers may ask of the API server each second: so much that it does not
 * bound them.
 */
export const KUBERNETES_QPS = 2_000;

export const CLASSES = { immediate: 'at-once', waiting: 'local', floor: FLOOR } as const;

/**
 * An API server, Kubernetes' volume controllers, and `keelson controller` as a process. Disposing
 * it leaves nothing.
 */
export interface ScaleLab extends AsyncDisposable {
  readonly client: HttpKubeClient;
  /** Process ids by name. */
  readonly processes: ReadonlyMap<string, number>;
  controllerMetrics(): Promise<readonly MetricSample[]>;
  serverMetrics(): Promise<readonly MetricSample[]>;
}

/** Resolves when the controller has read the cluster. `register` is called before it starts. */
export async function startScaleLab(
  { controllerArgs = [] }: { readonly controllerArgs?: readonly string[] },
  register: (client: HttpKubeClient) => Promise<void>,
): Promise<ScaleLab> {
  await using undo = new AsyncDisposableStack();
  const skip = (reason?: unknown): never => {
    throw new Fault('precondition', String(reason));
  };
  const api = undo.use(await startApiServer({ skip }));
  const client = undo.use(api.client('admin', { qps: 5_000, burst: 5_000, timeoutMs: 120_000 }));
  const directory = await mkdtemp(join(tmpdir(), 'keelson-scale-'));
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const kubeconfig = join(directory, 'kubeconfig');
  await writeFile(kubeconfig, api.kubeconfig, { mode: 0o600 });
  await installCrds(client);
  await addClass(client, CLASSES.waiting, DRIVER_NAME, 'WaitForFirstConsumer');
  await addClass(client, CLASSES.immediate, DRIVER_NAME, 'Immediate');
  await addClass(client, CLASSES.floor, FLOOR, 'Immediate');
  await register(client);

  const launch = async (name: string, file: string, args: readonly string[]): Promise<ManagedProcess> =>
    undo.use(await startProcess({ name, file, args: [...args], logFile: join(directory, `${name}.log`) }));
  const manager = await launch('kube-controller-manager', await ensureTool('kube-controller-manager'), [
    `--kubeconfig=${kubeconfig}`,
    '--bind-address=127.0.0.1',
    '--leader-elect=false',
    `--secure-port=${await freePort()}`,
    `--controllers=${CONTROLLERS.join(',')}`,
    `--kube-api-qps=${KUBERNETES_QPS}`,
    `--kube-api-burst=${2 * KUBERNETES_QPS}`,
  ]);
  const address = `127.0.0.1:${await freePort()}`;
  const controller = await launch('controller', join(import.meta.dirname, '../../bin/keelson'), [
    ...['controller', `--kubeconfig=${kubeconfig}`, '--no-leader-election', `--metrics-address=${address}`],
    ...controllerArgs,
  ]);
  await waitFor(
    'the controller has read the cluster',
    async () => {
      if (!controller.running) throw new Fault('unavailable', await controller.tail(5));
      return (await fetch(`http://${address}/readyz`)).ok ? true : undefined;
    },
    { timeoutMs: 60_000 },
  );
  const [etcd = 0] = await findProcesses([`--data-dir=${join(api.directory, 'etcd')}`]);
  const [server = 0] = await findProcesses([`--cert-dir=${api.directory}`]);
  const processes = new Map([
    ['keelson controller', controller.pid],
    ['kube-controller-manager', manager.pid],
    ['kube-apiserver', server],
    ['etcd', etcd],
    ['this process (the agents)', process.pid],
  ]);
  const stack = undo.move();
  return {
    client,
    processes,
    controllerMetrics: () => fetchMetrics(`http://${address}/metrics`),
    serverMetrics: () => fetchServerMetrics(api.access('admin')),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function addClass(
  client: HttpKubeClient,
  name: string,
  provisioner: string,
  volumeBindingMode: string,
): Promise<void> {
  await client.create(STORAGE_CLASSES, { metadata: { name }, provisioner, volumeBindingMode });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}
