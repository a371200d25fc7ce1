import { createHash } from 'node:crypto';

/** Addresses of a cluster's machines, all in one /24. */
export interface ClusterAddresses {
  /** First three numbers of its network, e.g. `198.18.7`. */
  readonly prefix: string;
  readonly controlPlane: string;
  /** The end of the link by which this machine reaches the cluster. */
  readonly host: string;
  node(index: number): string;
}

/**
 * Services and pods are known inside the cluster alone, so that every cluster may have the same
 * ranges.
 */
export const SERVICE_RANGE = '10.96.0.0/16';
/** The Service `kubernetes` gets the first address of the range. */
export const API_SERVICE_ADDRESS = '10.96.0.1';
/** The conventional address of a DNS service. It serves nothing until one is installed. */
export const DNS_SERVICE_ADDRESS = '10.96.0.10';
export const POD_RANGE = '10.244.0.0/16';

/**
 * Networks in 198.18.0.0/15, which is set aside for benchmarks (RFC 2544), so that no other network
 * should be there.
 */
const NETWORKS = 512;
const FIRST_NODE = 10;
export const MAX_NODES = 254 - FIRST_NODE;

/** The addresses of a cluster whose network has `prefix`. */
export function clusterAddresses(prefix: string): ClusterAddresses {
  return {
    prefix,
    controlPlane: `${prefix}.1`,
    host: `${prefix}.2`,
    node: (index) => `${prefix}.${FIRST_NODE + index}`,
  };
}

/**
 * The prefix that is the cluster's by its directory, or the next one that `isTaken` does not know;
 * undefined when all are.
 */
export function choosePrefix(directory: string, isTaken: (prefix: string) => boolean): string | undefined {
  const start = createHash('sha256').update(directory).digest().readUInt16BE() % NETWORKS;
  for (let i = 0; i < NETWORKS; i += 1) {
    const number = (start + i) % NETWORKS;
    const prefix = `198.${18 + (number >> 8)}.${number & 0xff}`;
    if (!isTaken(prefix)) return prefix;
  }
  return undefined;
}

/** Name of the host's end of the link; the kernel takes 15 characters. */
export function hostLinkName(directory: string): string {
  return `kc-${createHash('sha256').update(directory).digest('hex').slice(0, 8)}`;
}

/** The lowest index that no node has. */
export function freeIndex(nodes: readonly { readonly index: number }[]): number {
  const used = new Set(nodes.map(({ index }) => index));
  let index = 0;
  while (used.has(index)) index += 1;
  return index;
}
