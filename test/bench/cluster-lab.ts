import { homedir } from 'node:os';
import { BUSYBOX_IMAGE } from '../../src/demo/busybox-image.ts';
import { DRIVER_NAME } from '../../src/core/volumes/driver.ts';
import { Fault } from '../../src/core/fault.ts';
import { STORAGE_CLASSES } from '../../src/kube/built-in.ts';
import { listAll } from '../../src/kube/client.ts';
import type { ClusterAccess } from '../../src/kube/transport.ts';
import { findCluster } from '../../src/kube/cluster-access.ts';
import { HttpKubeClient } from '../../src/kube/http-client.ts';
import { Cluster } from '../cluster/cluster.ts';
import type { Machine } from '../cluster/machine.ts';
import { countOwnRequests, parseMetrics, type RequestCounts } from './metrics-text.ts';

export interface ClusterLabOptions {
  /** Of a cluster where Keelson is installed already; it is used as it is. */
  readonly kubeconfig?: string | undefined;
  /** Name of a cluster of `make cluster ARGS=--controller` that is up, and stays so. */
  readonly cluster?: string | undefined;
  readonly report: (text: string) => void;
}

/** What the cluster part measures on. */
export interface ClusterLab extends AsyncDisposable {
  readonly description: string;
  readonly client: HttpKubeClient;
  readonly access: ClusterAccess;
  /** Classes of Keelson by their binding mode. */
  readonly classes: { readonly immediate: string; readonly waiting: string };
  readonly image: string;
  /**
   * Process ids of Keelson's agents and controller by name; undefined where they are out of reach.
   */
  processes(): Promise<ReadonlyMap<string, number> | undefined>;
  /** Requests of all of these so far; undefined where they are out of reach. */
  requests(): Promise<RequestCounts | undefined>;
}

const CONTROL_PLANE_QPS = 2_000;
const METRICS = { controller: '127.0.0.1:9812', agent: '127.0.0.1:9810' } as const;

/** The given cluster, or one of two nodes that is made for this and removed by disposing. */
export async function openClusterLab({
  kubeconfig,
  cluster: name,
  report,
}: ClusterLabOptions): Promise<ClusterLab> {
  await using undo = new AsyncDisposableStack();
  const cluster = kubeconfig === undefined ? new Cluster({ name: name ?? 'bench' }, { report }) : undefined;
  if (cluster !== undefined && name === undefined) {
    undo.defer(() => cluster.down());
    const controllerQps = CONTROL_PLANE_QPS;
    const settings = { controller: true, controllerQps, poolSize: '40Gi', durable: true };
    await cluster.up({ nodes: 2, settings });
  }
  const file = kubeconfig ?? cluster?.kubeconfig ?? '';
  const access = await findCluster({ env: {}, homeDirectory: homedir(), kubeconfig: file });
  const options = { access, userAgent: 'keelson-bench', qps: 2_000, burst: 2_000, timeoutMs: 120_000 };
  const client = undo.use(new HttpKubeClient(options));
  const classes = await findClasses(client);
  const machines = async (): Promise<readonly Machine[]> => {
    if (cluster === undefined) return [];
    const { nodes } = await cluster.status();
    const { machine } = await cluster.controlPlane();
    return [machine, ...nodes.map(({ name: node }) => cluster.machine(node))];
  };
  const stack = undo.move();
  return {
    description:
      cluster === undefined
        ? `the cluster of ${file}`
        : `two nodes of test/cluster, kube-controller-manager with ${name === undefined ? `${CONTROL_PLANE_QPS} requests a second` : `what cluster ${name} gives it`}`,
    ...{ client, access, classes, image: BUSYBOX_IMAGE },
    async processes() {
      if (cluster === undefined) return undefined;
      const found = new Map<string, number>();
      for (const machine of await machines()) {
        for (const { pid, args } of await machine.processes()) {
          const [command = ''] = args.slice(args.findIndex((arg) => arg.endsWith('/keelson.mjs')) + 1);
          if (command in METRICS) found.set(`${command} of ${machine.name}`, pid);
        }
      }
      return found;
    },
    async requests() {
      if (cluster === undefined) return undefined;
      const sum = new Map<string, number>();
      for (const machine of await machines()) {
        const address = machine.name === 'control-plane' ? METRICS.controller : METRICS.agent;
        const text = await machine.runInNetwork(['curl', '-sSf', `http://${address}/metrics`]);
        for (const [key, count] of countOwnRequests(parseMetrics(text.stdout))) {
          sum.set(key, (sum.get(key) ?? 0) + count);
        }
      }
      return sum;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function findClasses(client: HttpKubeClient): Promise<ClusterLab['classes']> {
  const ours = (await listAll(client, STORAGE_CLASSES)).filter(
    ({ provisioner, reclaimPolicy }) => provisioner === DRIVER_NAME && reclaimPolicy !== 'Retain',
  );
  const named = (mode: string): string => {
    const found = ours.find(({ volumeBindingMode }) => volumeBindingMode === mode)?.metadata?.name;
    if (found !== undefined) return found;
    throw new Fault(
      'precondition',
      `the cluster has no StorageClass of ${DRIVER_NAME} with volumeBindingMode ${mode} and reclaimPolicy Delete; make one`,
    );
  };
  return { immediate: named('Immediate'), waiting: named('WaitForFirstConsumer') };
}
