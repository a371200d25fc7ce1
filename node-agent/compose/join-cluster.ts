import { homedir } from 'node:os';
import { join } from 'node:path';
import { PROXY_ADMIN_SOCKET } from '../../src/core/policies/policy-report.ts';
import { findCluster } from '../../src/kube/cluster-access.ts';
import { HttpKubeClient } from '../../src/kube/http-client.ts';
import type { InformerObserver } from '../../src/kube/informer.ts';
import { createKubeMetrics } from '../../src/kube/metrics.ts';
import { systemFiles } from '../inventory/file-reader.ts';
import { askProxy } from '../kube/ask-proxy.ts';
import { ClusterMember } from '../kube/cluster-member.ts';
import { policiesDirectory, PolicyFiles } from '../kube/policy-files.ts';
import type { AgentOptions, PartDeps } from './agent-options.ts';
import type { AgentState } from './agent-state.ts';

/** A node only writes when its volumes change, four at a time: a limit for bursts. */
const API_QPS = 100;

export interface JoinedCluster {
  readonly client: HttpKubeClient;
  readonly observer: InformerObserver;
  readonly member: ClusterMember;
  /** The network has other settings. */
  readonly onChange: () => void;
  /** The state of the network changed. */
  readonly onStatus: () => void;
}

/**
 * Joins the cluster of the configuration; undefined where it has none. Does not contact the API
 * server yet.
 */
export async function joinCluster(
  { config, version, env }: AgentOptions & { readonly env: NodeJS.ProcessEnv },
  { logger, metrics }: PartDeps,
  state: AgentState,
  parts: AsyncDisposableStack,
): Promise<JoinedCluster | undefined> {
  const { nodeName, kubeletDir, pools, network, kubernetes, orphanGraceMs } = config;
  if (kubernetes === undefined) return undefined;
  const { kubeconfig } = kubernetes;
  const access = await findCluster({ env, homeDirectory: homedir(), kubeconfig });
  const { requests, informers } = createKubeMetrics(metrics);
  const client = parts.use(
    new HttpKubeClient(
      { access, userAgent: `keelson-agent/${version}`, qps: API_QPS, burst: 2 * API_QPS },
      { observer: requests },
    ),
  );
  const member = new ClusterMember(
    {
      ...{ nodeName, agentVersion: version, architecture: process.arch, kubeletDir },
      ...{ pools, network, orphanGraceMs },
    },
    {
      client,
      files: systemFiles,
      notServing: () => state.notServing(),
      network: () => state.network?.measure(),
      proxy: {
        files: new PolicyFiles({ stateDir: config.stateDir }),
        directory: policiesDirectory(config.stateDir),
        askProxy: () => askProxy(join(config.runDir, PROXY_ADMIN_SOCKET)),
      },
      logger: logger.child({ component: 'kubernetes' }),
      observer: informers,
    },
  );
  return {
    ...{ client, observer: informers, member },
    onChange: () => member.readinessChanged(),
    onStatus: () => member.networkChanged(),
  };
}
