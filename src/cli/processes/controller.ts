import { randomBytes } from 'node:crypto';
import { homedir, hostname } from 'node:os';
import { createControllerMetrics } from '../../controller/context/metrics.ts';
import { runController } from '../../controller/controller.ts';
import { RuleThread } from '../../controller/labels/rule-thread.ts';
import type { SnapshotMode } from '../../controller/snapshots/snapshot-reconcilers.ts';
import { Fault } from '../../core/fault.ts';
import { findCluster } from '../../kube/cluster-access.ts';
import { EventRecorder } from '../../kube/event-recorder.ts';
import { HttpKubeClient } from '../../kube/http-client.ts';
import { leadWhile } from '../../kube/leader-election.ts';
import { createKubeMetrics } from '../../kube/metrics.ts';
import { startAdminServer } from '../../runtime/admin-server.ts';
import { Health } from '../../runtime/health.ts';
import { createLogger, type LogLevel } from '../../runtime/logger.ts';
import { createMetrics } from '../../runtime/metrics.ts';
import { VERSION } from '../../version.ts';
import type { CliContext } from '../context.ts';

export interface ControllerOptions {
  readonly kubeconfig?: string | undefined;
  readonly namespace?: string | undefined;
  readonly workers: number;
  readonly qps: number;
  readonly leaderElection: boolean;
  readonly defaultLabels: boolean;
  readonly snapshots: SnapshotMode;
  /** HOST:PORT, or `off`. */
  readonly metricsAddress: string;
  readonly logLevel: LogLevel;
}

type State = 'standby' | 'syncing' | 'ready';

/** Runs the controller until `signal` aborts. */
export async function runControllerProcess(
  options: ControllerOptions,
  { env, signal }: Pick<CliContext, 'env' | 'signal'>,
): Promise<void> {
  const { qps, workers, snapshots, defaultLabels } = options;
  const logger = createLogger({ level: options.logLevel, name: 'controller' });
  const registry = createMetrics({ process: 'controller' });
  const { requests: observer, informers } = createKubeMetrics(registry);
  const metrics = createControllerMetrics(registry);
  const access = await findCluster({ env, homeDirectory: homedir(), kubeconfig: options.kubeconfig });
  const namespace = options.namespace ?? access.namespace;
  const userAgent = `keelson-controller/${VERSION}`;
  const identity = `${hostname()}_${randomBytes(4).toString('hex')}`;
  using client = new HttpKubeClient({ access, userAgent, qps, burst: 2 * qps }, { observer });
  // Own rate limits: leases and events do not queue behind reconciliation.
  using leaseClient = new HttpKubeClient({ access, userAgent }, { observer });
  using eventClient = new HttpKubeClient({ access, userAgent, qps: 10, burst: 50 }, { observer });
  await using evaluator = new RuleThread({}, { logger });
  let state: State = 'standby';
  const address = options.metricsAddress === 'off' ? undefined : options.metricsAddress;
  await using _admin = await startAdminServer(
    { address },
    {
      logger,
      metrics: registry,
      health: healthOf(() => state),
      status: async () => ({ state, identity, namespace }),
    },
  );
  const work = async (stopping: AbortSignal): Promise<void> => {
    state = 'syncing';
    const events = new EventRecorder(
      { controller: 'keelson.dev/controller', instance: identity },
      { client: eventClient, logger },
    );
    await runController(
      { namespace, workers, snapshots, defaultLabels },
      { client, events, metrics, evaluator, logger, informers, onReady: () => (state = 'ready') },
      stopping,
    );
  };
  logger.info({ version: VERSION, server: access.server, namespace, identity }, 'controller starts');
  const lease = { namespace, name: 'keelson-controller', identity };
  if (options.leaderElection) await leadWhile(lease, work, { client: leaseClient, logger }, signal);
  else await work(signal);
  logger.info({ identity }, 'controller stopped');
}

/** A standby replica is ready. */
function healthOf(state: () => State): Health {
  const health = new Health();
  health.add('work', async () => {
    if (state() === 'syncing') throw new Fault('unavailable', 'leader is still syncing its caches');
  });
  return health;
}
