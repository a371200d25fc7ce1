import { z } from 'zod';
import { type LabelSelector, selectsLabels } from '../kube-text/label-selector.ts';
import type { Peer } from './peer-routes.ts';

/** What is read of a Node for the network. */
export interface NodeNetworkFacts {
  readonly name: string;
  /** spec.podCIDRs; empty while Kubernetes has given it none. */
  readonly podCidrs: readonly string[];
  /** Its InternalIPs. */
  readonly addresses: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

export interface ClusterNetworkFacts {
  readonly nodeName: string;
  /** The node's ranges by its configuration, which win. */
  readonly configuredRanges: readonly string[] | undefined;
  readonly nodes: readonly NodeNetworkFacts[];
  /** Undefined while they have not been read: those of before stay. */
  readonly pools: readonly NetworkPoolFacts[] | undefined;
}

/** A NetworkPool. */
export interface NetworkPoolFacts {
  readonly nodeSelector?: LabelSelector | undefined;
  readonly masqueradeExclusions: readonly string[];
}

/** The network of a node as its cluster wants it; also what is written down for a start without API server. */
export interface ClusterNetwork {
  /** Of this node's pods; empty while nobody has given it any. */
  readonly ranges: readonly string[];
  /** The other nodes, by name. */
  readonly peers: readonly Peer[];
  readonly exclusions: readonly string[];
}

/** What the node's network should be, given what it was. */
export function planClusterNetwork(
  { nodeName, configuredRanges, nodes, pools }: ClusterNetworkFacts,
  previous: ClusterNetwork | undefined,
): ClusterNetwork {
  const node = nodes.find(({ name }) => name === nodeName);
  const own = node?.podCidrs ?? [];
  return {
    // A Node that is deleted, or made anew and not given its range yet, is no reason to take the range from living pods.
    ranges: configuredRanges ?? (own.length > 0 ? own : (previous?.ranges ?? [])),
    peers: nodes
      .filter(({ name, podCidrs }) => name !== nodeName && podCidrs.length > 0)
      .map(({ name, podCidrs, addresses }) => ({ name, ranges: podCidrs, addresses }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    exclusions:
      pools === undefined || node === undefined
        ? (previous?.exclusions ?? [])
        : exclusionsOf(pools, node.labels),
  };
}

function exclusionsOf(
  pools: readonly NetworkPoolFacts[],
  labels: NodeNetworkFacts['labels'],
): readonly string[] {
  const mine = pools.filter(({ nodeSelector }) => selectsLabels(nodeSelector, labels));
  return [...new Set(mine.flatMap(({ masqueradeExclusions }) => masqueradeExclusions))].sort();
}

const texts = z.array(z.string());
const record = z.object({
  version: z.literal(1),
  ranges: texts,
  peers: z.array(z.object({ name: z.string(), ranges: texts, addresses: texts })),
  exclusions: texts,
});

/** The text to write down; the same for the same network. */
export function formatClusterNetwork(network: ClusterNetwork): string {
  return `${JSON.stringify({ version: 1, ...network }, undefined, 2)}\n`;
}

/** What was written down; throws when that cannot be read. */
export function parseClusterNetwork(text: string): ClusterNetwork {
  const { version: _, ...network } = record.parse(JSON.parse(text));
  return network;
}
