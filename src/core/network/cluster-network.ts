import { z } from 'zod';
import { type LabelSelector, selectsLabels } from '../kube-text/label-selector.ts';
import type { Peer } from './peer-routes.ts';

/** What the network reads of a Node. */
export interface NodeNetworkFacts {
  readonly name: string;
  /** spec.podCIDRs; empty until Kubernetes assigns them. */
  readonly podCidrs: readonly string[];
  /** Its InternalIPs. */
  readonly addresses: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

/** What the network of a node depends on. */
export interface ClusterNetworkFacts {
  readonly nodeName: string;
  /** The node's configured ranges, which take precedence. */
  readonly configuredRanges: readonly string[] | undefined;
  readonly nodes: readonly NodeNetworkFacts[];
  /** Undefined while they have not been read: the previous ones stay. */
  readonly pools: readonly NetworkPoolFacts[] | undefined;
}

/** A NetworkPool. */
interface NetworkPoolFacts {
  readonly nodeSelector?: LabelSelector | undefined;
  readonly masqueradeExclusions: readonly string[];
}

/**
 * The network of a node as its cluster defines it; also stored for a start without the API server.
 */
export interface ClusterNetwork {
  /** Ranges of this node's pods; empty until assigned. */
  readonly ranges: readonly string[];
  /** The other nodes, by name. */
  readonly peers: readonly Peer[];
  readonly exclusions: readonly string[];
}

/** Returns the network of the node, given the previous one. */
export function planClusterNetwork(
  { nodeName, configuredRanges, nodes, pools }: ClusterNetworkFacts,
  previous: ClusterNetwork | undefined,
): ClusterNetwork {
  const node = nodes.find(({ name }) => name === nodeName);
  const own = node?.podCidrs ?? [];
  return {
    // A Node that is deleted, or re-created and not yet assigned a range, does not take the range
    // from running pods.
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
  const selected = pools.filter(({ nodeSelector }) => selectsLabels(nodeSelector, labels));
  return [...new Set(selected.flatMap(({ masqueradeExclusions }) => masqueradeExclusions))].sort();
}

const texts = z.array(z.string());
const record = z.object({
  version: z.literal(1),
  ranges: texts,
  peers: z.array(z.object({ name: z.string(), ranges: texts, addresses: texts })),
  exclusions: texts,
});

/** Formats the network for its file; equal for equal networks. */
export function formatClusterNetwork(network: ClusterNetwork): string {
  return `${JSON.stringify({ version: 1, ...network }, undefined, 2)}\n`;
}

/** Parses the file; throws when it is invalid. */
export function parseClusterNetwork(text: string): ClusterNetwork {
  const { version: _, ...network } = record.parse(JSON.parse(text));
  return network;
}
