import type { Logger } from '../src/runtime/logger.ts';
import { createMetrics } from '../src/runtime/metrics.ts';
import { TaskGroup } from '../src/runtime/task-group.ts';
import { serveCni } from './cni/server.ts';
import { type AgentOptions, socketsOf } from './compose/agent-options.ts';
import { AgentState } from './compose/agent-state.ts';
import { joinCluster } from './compose/join-cluster.ts';
import { openPodNetwork } from './compose/pod-network.ts';
import { serveAdmin } from './compose/serve-admin.ts';
import { runStorage } from './compose/serve-storage.ts';

export interface AgentDeps {
  readonly logger: Logger;
  /** Ends the agent: calls in flight complete, pods and mounts stay. */
  readonly signal: AbortSignal;
}

/**
 * Runs a node's agent until the signal aborts. Rejects when it cannot start, or when a part of it
 * fails permanently.
 */
export async function runAgent(options: AgentOptions, { logger, signal }: AgentDeps): Promise<void> {
  const { config, version } = options;
  logger.info({ version, config }, 'agent is starting');
  const deps = { logger, metrics: createMetrics({ node: config.nodeName }) };
  const state = new AgentState();
  await using parts = new AsyncDisposableStack();
  const cluster = await joinCluster({ ...options, env: process.env }, deps, state, parts);
  const member = cluster?.member;

  // The network starts first and independently: pods must start even where no volumes are
  // available.
  const podNetwork = await openPodNetwork(config, {
    cluster,
    logger: logger.child({ component: 'network' }),
  });
  const network = parts.use(podNetwork.network);
  state.network = network;
  const cniDeps = { network, logger: logger.child({ component: 'cni' }) };
  parts.use(await serveCni({ socketPath: socketsOf(config).cni }, cniDeps));
  parts.use(await serveAdmin(options, { ...deps, state, network, member }));

  const tasks = new TaskGroup({ logger });
  tasks.run('storage', (running) => runStorage(options, { ...deps, state, member }, running));
  if (member !== undefined) {
    tasks.run('cluster-network', (running) => podNetwork.follow(running));
    tasks.run('kubernetes', (running) => member.run(running));
  }
  const stop = (): void => tasks.stop();
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  await tasks.wait();
  signal.removeEventListener('abort', stop);
  logger.info({}, 'agent stopped; pods keep their network and volumes');
}
