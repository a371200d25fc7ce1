import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { NETWORK_POOLS, type NetworkPool } from '../../src/api/network-pool.ts';
import {
  type ClusterNetwork,
  formatClusterNetwork,
  type NodeNetworkFacts,
  parseClusterNetwork,
  planClusterNetwork,
} from '../../src/core/network/cluster-network.ts';
import { type Node, NODES } from '../../src/kube/built-in.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { Informer, type InformerObserver } from '../../src/kube/informer.ts';
import { BoundedRunner } from '../../src/runtime/bounded-runner.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { writeDurably } from '../linux/files/durable-file.ts';

export interface ClusterNetworkOptions {
  readonly nodeName: string;
  readonly stateDir: string;
  /** Ranges of the agent's configuration; undefined: those of the Node. */
  readonly ranges: readonly string[] | undefined;
}

/** The pod network of this node. */
interface ConfigurableNetwork {
  configure(network: ClusterNetwork): Promise<void>;
}

export interface ClusterNetworkDeps {
  readonly client: KubeClient;
  readonly network: ConfigurableNetwork;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly observer?: InformerObserver;
  /** Called when other settings are applied. */
  readonly onChange?: () => void;
}

/** Stored, so that a node that starts without the API server has its ranges and routes. */
function fileIn(stateDir: string): string {
  return join(stateDir, 'network', 'cluster.json');
}

/**
 * Returns the network that the cluster last requested of this node; undefined when it is unknown.
 */
export async function readClusterNetwork(
  stateDir: string,
  { logger }: Pick<ClusterNetworkDeps, 'logger'>,
): Promise<ClusterNetwork | undefined> {
  try {
    return parseClusterNetwork(await readFile(fileIn(stateDir), 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      logger.error(
        { file: fileIn(stateDir), err: error },
        'cannot read the stored network; reading it from the API server',
      );
    }
    return undefined;
  }
}

/**
 * Applies the cluster's network settings: this node's ranges, and routes to all other nodes. It
 * watches all Nodes, reduced to the fields it needs. Nothing changes while the API server is
 * unavailable.
 */
export class ClusterNetworkFollower {
  readonly #options: ClusterNetworkOptions;
  readonly #deps: ClusterNetworkDeps;
  readonly #nodes: Informer<Node>;
  readonly #pools: Informer<NetworkPool>;
  readonly #runner: BoundedRunner;
  /** What is applied and stored; undefined while one of the two steps is pending. */
  #inForce: string | undefined;
  #current: ClusterNetwork | undefined;

  /** `written` is what was stored, and is applied. */
  constructor(options: ClusterNetworkOptions, deps: ClusterNetworkDeps, written: ClusterNetwork | undefined) {
    const { client, logger, clock = systemClock, observer } = deps;
    this.#options = options;
    this.#deps = deps;
    this.#current = written;
    this.#inForce = written === undefined ? undefined : formatClusterNetwork(written);
    const informerDeps = { client, logger, clock, ...(observer === undefined ? {} : { observer }) };
    this.#nodes = new Informer(
      { resource: NODES, transform: (node) => reduced(node, options.nodeName) },
      informerDeps,
    );
    this.#pools = new Informer({ resource: NETWORK_POOLS }, informerDeps);
    this.#runner = new BoundedRunner(
      { name: 'cluster-network', minIntervalMs: 200, maxIntervalMs: 600_000, retryMs: 2_000 },
      () => this.#reconcile(),
      { logger, clock },
    );
  }

  /** Follows the cluster until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    using _nodes = this.#nodes.subscribe(() => this.#runner.poke());
    using _pools = this.#pools.subscribe(() => this.#runner.poke());
    // Without the NetworkPool kind, routes still work.
    const poolsKnown = this.#pools.synced({ signal }).then(
      () => this.#runner.poke(),
      () => undefined,
    );
    const known = this.#nodes.synced({ signal }).then(
      () => this.#runner.run(signal),
      () => undefined,
    );
    await Promise.all([this.#nodes.run(signal), this.#pools.run(signal), known, poolsKnown]);
  }

  async #reconcile(): Promise<void> {
    const { nodeName, stateDir, ranges } = this.#options;
    const nodes = [...this.#nodes.store.values()].map(networkFacts);
    const pools = this.#pools.hasSynced ? [...this.#pools.store.values()].map(({ spec }) => spec) : undefined;
    const next = planClusterNetwork({ nodeName, configuredRanges: ranges, nodes, pools }, this.#current);
    const text = formatClusterNetwork(next);
    if (text === this.#inForce) return;
    // Stored first: after a crash, what is applied must be known. Both steps are repeated until
    // both succeed.
    this.#inForce = undefined;
    await mkdir(dirname(fileIn(stateDir)), { recursive: true, mode: 0o700 });
    await writeDurably(fileIn(stateDir), text);
    this.#current = next;
    await this.#deps.network.configure(next);
    this.#inForce = text;
    this.#deps.onChange?.();
  }
}

function networkFacts({ metadata, spec, status }: Node): NodeNetworkFacts {
  return {
    name: metadata?.name ?? '',
    podCidrs: spec?.podCIDRs ?? (spec?.podCIDR === undefined ? [] : [spec.podCIDR]),
    addresses: (status?.addresses ?? [])
      .filter(({ type }) => type === 'InternalIP')
      .map(({ address }) => address),
    labels: metadata?.labels ?? {},
  };
}

/**
 * Keeps what `networkFacts` reads of a Node: images and conditions are most of its size. Labels are
 * read of the own Node only.
 */
function reduced({ metadata, spec, status }: Node, nodeName: string): Node {
  const { name = '', uid = '', resourceVersion = '', labels } = metadata ?? {};
  const { podCIDR, podCIDRs } = spec ?? {};
  return {
    metadata: {
      ...{ name, uid, resourceVersion },
      ...(name === nodeName && labels !== undefined ? { labels } : {}),
    },
    spec: {
      ...(podCIDR === undefined ? {} : { podCIDR }),
      ...(podCIDRs === undefined ? {} : { podCIDRs }),
    },
    ...(status?.addresses === undefined ? {} : { status: { addresses: status.addresses } }),
  };
}
