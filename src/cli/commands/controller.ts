import { randomBytes } from 'node:crypto';
import { homedir, hostname } from 'node:os';
import { runController } from '../../controller/controller.ts';
import { RuleThread } from '../../controller/labels/rule-thread.ts';
import { SNAPSHOT_MODES, type SnapshotMode } from '../../controller/snapshots/snapshot-reconcilers.ts';
import { createControllerMetrics } from '../../controller/context/metrics.ts';
import { Fault } from '../../core/fault.ts';
import { findCluster } from '../../kube/cluster-access.ts';
import { EventRecorder } from '../../kube/event-recorder.ts';
import { HttpKubeClient } from '../../kube/http-client.ts';
import { leadWhile } from '../../kube/leader-election.ts';
import { createKubeMetrics } from '../../kube/metrics.ts';
import { startAdminServer } from '../../runtime/admin-server.ts';
import { Health } from '../../runtime/health.ts';
import { createLogger, LOG_LEVELS, type LogLevel } from '../../runtime/logger.ts';
import { createMetrics } from '../../runtime/metrics.ts';
import { type Command, parseFlags } from '../command.ts';
import { VERSION } from '../../version.ts';

const usage =
  'keelson controller [--kubeconfig FILE] [--namespace NAME] [--workers N] [--qps N] [--no-leader-election] [--no-default-labels] ' +
  '[--snapshots auto|all|driver|off] ' +
  '[--metrics-address HOST:PORT|off] [--log-level LEVEL]';

/**
 * A ceiling against a runaway loop, and no brake: what the server must bear is bounded by the workers, each of which waits for its answer. A
 * claim costs about six requests, and Kubernetes binds some eighty claims a second when nothing holds it back.
 */
const DEFAULT_QPS = 500;

export const controllerCommand: Command = {
  summary: 'make volumes for the claims of a cluster, and tell its scheduler where there is room',
  usage,
  async run({ args, env, signal }) {
    const flags = parseFlags(
      args,
      {
        kubeconfig: { type: 'string' },
        namespace: { type: 'string' },
        workers: { type: 'string', default: '20' },
        qps: { type: 'string', default: String(DEFAULT_QPS) },
        'no-leader-election': { type: 'boolean', default: false },
        'no-default-labels': { type: 'boolean', default: false },
        snapshots: { type: 'string', default: 'auto' },
        'metrics-address': { type: 'string', default: '127.0.0.1:9812' },
        'log-level': { type: 'string', default: 'info' },
      },
      usage,
    );
    const workers = positive('--workers', flags.workers);
    const qps = positive('--qps', flags.qps);
    const snapshots = snapshotMode(flags.snapshots);
    const logger = createLogger({ level: logLevel(flags['log-level']), name: 'controller' });
    const registry = createMetrics({ process: 'controller' });
    const kubeMetrics = createKubeMetrics(registry);
    const metrics = createControllerMetrics(registry);
    const access = await findCluster({ env, homeDirectory: homedir(), kubeconfig: flags.kubeconfig });
    const namespace = flags.namespace ?? access.namespace;
    const userAgent = `keelson-controller/${VERSION}`;
    const identity = `${hostname()}_${randomBytes(4).toString('hex')}`;
    using client = new HttpKubeClient(
      { access, userAgent, qps, burst: 2 * qps },
      { observer: kubeMetrics.requests },
    );
    // Each of its own: neither a lease nor an event waits behind the work, or the work behind them.
    const observed = { observer: kubeMetrics.requests };
    using leaseClient = new HttpKubeClient({ access, userAgent }, observed);
    using eventClient = new HttpKubeClient({ access, userAgent, qps: 10, burst: 50 }, observed);

    await using evaluator = new RuleThread({}, { logger });

    let state: 'waits' | 'reads' | 'works' = 'waits';
    const health = new Health();
    health.add('work', async () => {
      // A candidate that waits for its turn is as ready as it can be.
      if (state === 'reads')
        throw new Fault('unavailable', 'this process leads, and still reads the cluster');
    });
    const address = flags['metrics-address'];
    await using _admin = await startAdminServer(
      { address: address === 'off' ? undefined : address },
      { logger, metrics: registry, health, status: async () => ({ state, identity, namespace }) },
    );
    const work = async (stopping: AbortSignal): Promise<void> => {
      state = 'reads';
      const events = new EventRecorder(
        { controller: 'keelson.dev/controller', instance: identity },
        { client: eventClient, logger },
      );
      await runController(
        { namespace, workers, snapshots, defaultLabels: !flags['no-default-labels'] },
        {
          client,
          events,
          metrics,
          evaluator,
          logger,
          informers: kubeMetrics.informers,
          onReady: () => (state = 'works'),
        },
        stopping,
      );
    };
    logger.info({ version: VERSION, server: access.server, namespace, identity }, 'controller starts');
    if (flags['no-leader-election']) await work(signal);
    else
      await leadWhile(
        { namespace, name: 'keelson-controller', identity },
        work,
        { client: leaseClient, logger },
        signal,
      );
    logger.info({ identity }, 'controller stopped');
    return 0;
  },
};

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Fault('invalid', `${flag} ${text}: give a whole number above 0`);
}

function snapshotMode(text: string): SnapshotMode {
  const mode = SNAPSHOT_MODES.find((candidate) => candidate === text);
  if (mode === undefined) {
    throw new Fault('invalid', `--snapshots ${text}: choose one of ${SNAPSHOT_MODES.join(', ')}`);
  }
  return mode;
}

function logLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find((candidate) => candidate === text);
  if (level === undefined) {
    throw new Fault('invalid', `--log-level ${text}: choose one of ${LOG_LEVELS.join(', ')}`);
  }
  return level;
}
