import { homedir } from 'node:os';
import { join } from 'node:path';
import { VOLUME_DELETE_PATH, VOLUME_STREAM_PATH } from '../src/core/config/admin-paths.ts';
import type { AgentConfig } from '../src/core/config/agent-config.ts';
import { Fault, isFault } from '../src/core/fault.ts';
import { NO_REFERENCES } from '../src/core/volumes/orphans.ts';
import { PROXY_ADMIN_SOCKET } from '../src/core/policies/policy-report.ts';
import { findCluster } from '../src/kube/cluster-access.ts';
import { HttpKubeClient } from '../src/kube/http-client.ts';
import type { InformerObserver } from '../src/kube/informer.ts';
import { createKubeMetrics } from '../src/kube/metrics.ts';
import { createRpcServer } from '../src/rpc/server.ts';
import { startAdminServer } from '../src/runtime/admin-server.ts';
import { Health } from '../src/runtime/health.ts';
import type { Logger } from '../src/runtime/logger.ts';
import { createMetrics, type MetricsRegistry } from '../src/runtime/metrics.ts';
import { retry } from '../src/runtime/retry.ts';
import { TaskGroup } from '../src/runtime/task-group.ts';
import { serveCni } from './cni/server.ts';
import { createController } from './csi/controller.ts';
import { createGroupController } from './csi/group-controller.ts';
import { createIdentity } from './csi/identity.ts';
import { createNode } from './csi/node.ts';
import { createSnapshotMetadata } from './csi/snapshot-metadata.ts';
import { serveRegistration } from './csi/registration.ts';
import { systemFiles } from './inventory/file-reader.ts';
import { askProxy } from './kube/ask-proxy.ts';
import { ClusterMember, type ClusterMemberDeps } from './kube/cluster-member.ts';
import { policiesDirectory, PolicyFiles } from './kube/policy-files.ts';
import { startKernel } from './linux/kernel/kernel.ts';
import type { Network } from './network/network.ts';
import { openPodNetwork } from './compose/pod-network.ts';
import { createRpcMetrics } from './compose/rpc-metrics.ts';
import { readStatus } from './admin/status.ts';
import { createVolumeDeleteRoute } from './admin/volume-delete-route.ts';
import { createVolumeStreamRoute } from './admin/volume-stream-route.ts';
import { AgeFile } from './storage/removal/orphan-ages.ts';
import { type VolumeReferenceSource, OrphanCollector } from './storage/removal/orphan-collector.ts';
import { openStorage, type Storage } from './storage/open-storage.ts';

export interface AgentOptions {
  readonly config: AgentConfig;
  readonly version: string;
}

export interface AgentDeps {
  readonly logger: Logger;
  /** Ends the agent: calls in flight complete, pods and mounts stay. */
  readonly signal: AbortSignal;
}

/**
 * Runs a node's agent until the signal aborts. Rejects when it cannot start, or when a part of it
 * fails permanently.
 */
export async function runAgent(
  { config, version }: AgentOptions,
  { logger, signal }: AgentDeps,
): Promise<void> {
  logger.info({ version, config }, 'agent is starting');
  const startedAt = new Date();
  const sockets = { csi: join(config.runDir, 'csi.sock'), cni: join(config.runDir, 'cni.sock') };
  const metrics = createMetrics({ node: config.nodeName });
  const health = new Health();
  const tasks = new TaskGroup({ logger });
  const stop = (): void => tasks.stop();
  signal.addEventListener('abort', stop, { once: true });

  await using parts = new AsyncDisposableStack();

  const opened: { network?: Network } = {};
  let storage: Storage | undefined;
  let storageFault: Fault | undefined = new Fault('unavailable', 'the pools are being opened');
  const cluster = await joinCluster(
    { config, version },
    {
      logger,
      metrics,
      notServing: () => storageFault ?? faultOf(opened.network),
      network: () => opened.network?.measure(),
    },
    parts,
  );

  // The network starts first and independently: pods must start even where no volumes are
  // available.
  const networkLogger = logger.child({ component: 'network' });
  const podNetwork = await openPodNetwork(config, { cluster, logger: networkLogger });
  const network = parts.use(podNetwork.network);
  opened.network = network;
  parts.use(
    await serveCni({ socketPath: sockets.cni }, { network, logger: logger.child({ component: 'cni' }) }),
  );
  health.add('network', async () => void network.status());

  health.add('storage', async () => {
    if (storageFault !== undefined) throw storageFault;
    // One failed pool is reported and does not affect the others; without any pool the node has no
    // storage.
    const pools = (await storage?.health.report())?.pools ?? [];
    const sick = pools.find(({ problem }) => problem !== undefined);
    if (sick === undefined || pools.some(({ problem }) => problem === undefined)) return;
    throw new Fault('precondition', `pool ${sick.name}: ${sick.problem ?? ''}`);
  });

  parts.use(
    await startAdminServer(
      { address: config.metricsAddress, socketPath: join(config.runDir, 'admin.sock') },
      {
        metrics,
        health,
        logger,
        status: () => readStatus({ config, version, startedAt, sockets, storage, network }),
        routes: {
          [VOLUME_STREAM_PATH]: createVolumeStreamRoute({ storage: () => storage }),
          [VOLUME_DELETE_PATH]: createVolumeDeleteRoute({
            storage: () => storage,
            references: () => (cluster === undefined ? NO_REFERENCES : cluster.member.known()),
          }),
        },
      },
    ),
  );

  tasks.run('storage', async (running) => {
    await using _served = await serveStorage(
      { config, version, endpoint: sockets.csi },
      { logger, metrics },
      running,
      {
        onOpen(pools) {
          storage = pools;
          cluster?.member.storageOpened(pools);
        },
        onChange: () => cluster?.member.storageChanged(),
        onServing() {
          storageFault = undefined;
          cluster?.member.readinessChanged();
        },
        onFault(fault) {
          storageFault = fault;
          cluster?.member.readinessChanged();
        },
      },
    );
    if (storage === undefined) return;
    await Promise.all([
      storage.run(running),
      collectOrphans(config, storage, cluster?.member, { logger }, running),
    ]);
  });
  if (cluster !== undefined) {
    tasks.run('cluster-network', (running) => podNetwork.follow(running));
    tasks.run('kubernetes', (running) => cluster.member.run(running));
  }
  if (signal.aborted) stop();
  await tasks.wait();
  signal.removeEventListener('abort', stop);
  logger.info({}, 'agent stopped; pods keep their network and volumes');
}

interface StorageEvents {
  readonly onOpen: (storage: Storage) => void;
  /** After every operation that may have changed the usage of pools. */
  readonly onChange: () => void;
  /** CSI is served; a refusal by kubelet is a fault from then on. */
  readonly onServing: () => void;
  readonly onFault: (fault: Fault) => void;
}

/** Interval between attempts to read unreadable records. Pools are retried separately. */
const REOPEN = { baseMs: 1_000, maxMs: 30_000 };
/** A node only writes when its volumes change, four at a time: a limit for bursts. */
const API_QPS = 100;

/** Opens the pools, as many as possible, and serves CSI. */
async function serveStorage(
  { config, version, endpoint }: AgentOptions & { readonly endpoint: string },
  deps: { readonly logger: Logger; readonly metrics: MetricsRegistry },
  signal: AbortSignal,
  { onOpen, onChange, onServing, onFault }: StorageEvents,
): Promise<AsyncDisposable> {
  await using parts = new AsyncDisposableStack();
  const logger = deps.logger.child({ component: 'storage' });
  const kernel = parts.use(startKernel({ name: 'keelson-fs' }));
  const storage = parts.use(
    await retry(
      () =>
        openStorage(
          {
            stateDir: config.stateDir,
            pools: config.pools,
            trashBytesPerSecond: config.trashBytesPerSecond,
          },
          { kernel, logger, metrics: deps.metrics, onUsageChange: onChange },
        ),
      {
        ...REOPEN,
        signal,
        shouldRetry(error) {
          const fault = Fault.from(error);
          onFault(fault);
          if (isFault(error, 'invalid') || fault.kind === 'bug') return false;
          logger.error({ err: fault, ...fault.fields }, 'cannot open the storage, will retry');
          return true;
        },
      },
    ),
  );
  storage.pools.onChange(onChange);
  onOpen(storage);
  await collectEphemerals(config, { storage, logger });

  const { nodeName, kubeletDir, maxVolumesPerNode, volumeMountGroup } = config;
  const csi = parts.use(
    createRpcServer(
      {},
      { logger: deps.logger.child({ component: 'csi' }), onCall: createRpcMetrics(deps.metrics) },
    ),
  );
  csi.add(
    'csi.v1.Identity',
    createIdentity({ version }, { isReady: () => true, offersCopies: () => storage.pools.offersCopies() }),
  );
  csi.add(
    'csi.v1.Controller',
    createController(
      { nodeName, publishing: config.controllerPublish ? { maxVolumesPerNode } : undefined },
      { storage },
    ),
  );
  csi.addStreams('csi.v1.SnapshotMetadata', createSnapshotMetadata({ storage }));
  csi.add('csi.v1.GroupController', createGroupController({ nodeName }, { storage }));
  csi.add('csi.v1.Node', createNode({ nodeName, maxVolumesPerNode, volumeMountGroup }, { storage }));
  await csi.listen(endpoint);
  logger.info({ socket: endpoint, pools: config.pools.map(({ name }) => name) }, 'serving CSI');
  let refused = false;
  if (kubeletDir !== undefined) {
    const onRefused = (reason: string): void => {
      refused = true;
      logger.error({ reason }, 'kubelet refused the CSI driver');
      onFault(new Fault('precondition', `kubelet refused the CSI driver: ${reason}`));
    };
    parts.use(await serveRegistration({ kubeletDir, endpoint }, { logger, onRefused }));
  }
  if (!refused) onServing();
  return parts.move();
}

/**
 * Inline volumes of pods that were deleted while the agent was down: kubelet's directory is empty.
 * A pool that opens later may have such volumes too.
 */
async function collectEphemerals(
  { kubeletDir }: AgentConfig,
  { storage, logger }: { readonly storage: Storage; readonly logger: Logger },
): Promise<void> {
  if (kubeletDir === undefined) return;
  const collect = async (): Promise<void> => {
    try {
      await storage.ephemerals.collect(join(kubeletDir, 'pods'));
    } catch (error) {
      logger.warn({ err: error }, 'cannot look for volumes of deleted pods');
    }
  };
  storage.pools.onChange(() => void collect());
  await collect();
}

/** Removes unreferenced data after the configured grace period. */
async function collectOrphans(
  { orphanGraceMs, stateDir }: AgentConfig,
  storage: Storage,
  references: VolumeReferenceSource | undefined,
  deps: { readonly logger: Logger },
  signal: AbortSignal,
): Promise<void> {
  if (orphanGraceMs === undefined) return;
  const logger = deps.logger.child({ component: 'orphans' });
  const ages = new AgeFile({ stateDir }, { logger });
  await new OrphanCollector({ graceMs: orphanGraceMs }, { storage, references, ages, logger }).run(signal);
}

interface JoinedCluster {
  readonly client: HttpKubeClient;
  readonly observer: InformerObserver;
  readonly member: ClusterMember;
  /** The network has other settings. */
  readonly onChange: () => void;
  /** The state of the network changed. */
  readonly onStatus: () => void;
}

/** Why pods cannot have a network on this node. */
function faultOf(network: Network | undefined): Fault | undefined {
  try {
    if (network === undefined) return new Fault('unavailable', 'the network is being opened');
    network.status();
    return undefined;
  } catch (error) {
    return Fault.from(error);
  }
}

/** Joins the cluster of the configuration. Does not contact the API server yet. */
async function joinCluster(
  { config, version }: AgentOptions,
  deps: {
    readonly logger: Logger;
    readonly metrics: MetricsRegistry;
    readonly notServing: () => Fault | undefined;
    readonly network: ClusterMemberDeps['network'];
  },
  parts: AsyncDisposableStack,
): Promise<JoinedCluster | undefined> {
  const { nodeName, kubeletDir, pools, network, kubernetes, orphanGraceMs } = config;
  if (kubernetes === undefined) return undefined;
  const { kubeconfig } = kubernetes;
  const access = await findCluster({ env: process.env, homeDirectory: homedir(), kubeconfig });
  const { requests, informers } = createKubeMetrics(deps.metrics);
  const client = parts.use(
    new HttpKubeClient(
      { access, userAgent: `keelson-agent/${version}`, qps: API_QPS, burst: 2 * API_QPS },
      { observer: requests },
    ),
  );
  const logger = deps.logger.child({ component: 'kubernetes' });
  const member = new ClusterMember(
    {
      ...{ nodeName, agentVersion: version, architecture: process.arch, kubeletDir },
      ...{ pools, network, orphanGraceMs },
    },
    {
      client,
      files: systemFiles,
      notServing: deps.notServing,
      network: deps.network,
      proxy: {
        files: new PolicyFiles({ stateDir: config.stateDir }),
        directory: policiesDirectory(config.stateDir),
        askProxy: () => askProxy(join(config.runDir, PROXY_ADMIN_SOCKET)),
      },
      logger,
      observer: informers,
    },
  );
  return {
    client,
    observer: informers,
    member,
    onChange: () => member.readinessChanged(),
    onStatus: () => member.networkChanged(),
  };
}
