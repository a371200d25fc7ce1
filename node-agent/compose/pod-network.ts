import type { AgentConfig } from '../../src/core/config/agent-config.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import type { InformerObserver } from '../../src/kube/informer.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { ClusterNetworkFollower, readClusterNetwork } from '../kube/cluster-network.ts';
import type { Network } from '../network/network.ts';
import { openNetwork } from '../network/open-network.ts';

export interface PodNetworkDeps {
  readonly logger: Logger;
  /** The cluster that configures the network; undefined: the configuration file only. */
  readonly cluster:
    | {
        readonly client: KubeClient;
        readonly observer: InformerObserver;
        /** Called when other settings are applied. */
        readonly onChange: () => void;
        /** See NetworkDeps. */
        readonly onStatus: () => void;
      }
    | undefined;
}

export interface PodNetwork {
  readonly network: Network;
  /** Applies the cluster's settings until the signal aborts. */
  follow(signal: AbortSignal): Promise<void>;
}

/**
 * Opens the node's network by its configuration and by the last settings of its cluster. The caller
 * disposes `network`.
 */
export async function openPodNetwork(
  { nodeName, stateDir, runDir, network: options }: AgentConfig,
  { logger, cluster }: PodNetworkDeps,
): Promise<PodNetwork> {
  const { ranges } = options;
  const last = cluster === undefined ? undefined : await readClusterNetwork(stateDir, { logger });
  const written = last && { ...last, ranges: ranges ?? last.ranges };
  const network = await openNetwork(
    {
      stateDir: runDir,
      ranges: written?.ranges ?? ranges ?? [],
      mtu: options.mtu,
      masqueradeExclusions: options.masqueradeExclusions,
      cooldownMs: options.cooldownSeconds * 1_000,
    },
    { logger, ...(cluster === undefined ? {} : { onStatus: cluster.onStatus }) },
  );
  if (cluster === undefined) return { network, follow: () => Promise.resolve() };
  let inForce = written;
  if (written !== undefined) {
    await network.configure(written).catch((error: unknown) => {
      logger.error({ err: error }, 'cannot restore the network; retrying');
      inForce = undefined;
    });
  }
  const { client, observer, onChange } = cluster;
  const follower = new ClusterNetworkFollower(
    { nodeName, stateDir, ranges },
    { client, network, logger, observer, onChange },
    inForce,
  );
  return { network, follow: (signal) => follower.run(signal) };
}
