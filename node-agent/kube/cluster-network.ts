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
  /** By the agent's configuration; undefined: those of the Node. */
  readonly ranges: readonly string[] | undefined;
}

/** The pod network of this node. */
export interface ConfigurableNetwork {
  configure(network: ClusterNetwork): Promise<void>;
}

export interface ClusterNetworkDeps {
  readonly client: KubeClient;
  readonly network: ConfigurableNetwork;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly observer?: InformerObserver;
  /** Something else is in force now. */
  readonly onChange?: () => void;
}

/** On disk, so that a node that starts without API server has its ranges and its ways to other nodes. */
function fileIn(stateDir: string): string {
  return join(stateDir, 'network', 'cluster.json');
}

/** What the cluster wanted of this node's network when it was last heard of; undefined when that is not known. */
export async function readClusterNetwork(
  stateDir: string,
  { logger }: Pick<ClusterNetworkDeps, 'logger'>,
): Promise<ClusterNetwork | undefined> {
  try {
    return parseClusterNetwork(await readFile(fileIn(stateDir), 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      logger.error({ file: fileIn(stateDir), err: error }, 'cannot be read; asking the API server instead');
    }
    return undefined;
  }
}

/**
 * Puts in force what the cluster says of the network: this node's ranges, and the ways to all other nodes. For these it watches all
 * Nodes, reduced to what it needs of them. An API server that is away changes nothing.
 */
export class ClusterNetworkFollower {
  readonly #options: ClusterNetworkOptions;
  readonly #deps: ClusterNetworkDeps;
  readonly #nodes: Informer<Node>;
  readonly #pools: Informer<NetworkPool>;
  readonly #runner: BoundedRunner;
  /** What is in force, and on disk; undefined while a step is missing. */
  #inForce: string | undefined;
  #current: ClusterNetwork | undefined;

  /** `written` is what was on disk, and is in force. */
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
    // A cluster without that kind has routes all the same.
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
    // Written down first: what is in force must be known after a crash. Both are repeated until both are done.
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

/** Of a Node, what `networkFacts` reads: images and conditions are most of its size. Labels matter of our own alone. */
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
