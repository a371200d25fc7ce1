import { type Cidr, cidrContains, cidrsOverlap, formatCidr, parseAddress, parseCidr } from './cidr.ts';

/** `proto 76` marks Keelson's routes to the pods of other nodes. */
export const PEER_ROUTE_PROTOCOL = 76;
/**
 * Another route to the same range with a lower metric takes precedence: an administrator's route is
 * never replaced.
 */
export const PEER_ROUTE_PRIORITY = 2048;

/** Another node: its pod ranges and its addresses. */
export interface Peer {
  readonly name: string;
  /** Its pod ranges. */
  readonly ranges: readonly string[];
  /** Addresses by which other nodes reach it. */
  readonly addresses: readonly string[];
}

/** A route to a pod range via the node that has it. */
export interface PeerRoute {
  readonly destination: Cidr;
  /** Canonical. */
  readonly gateway: string;
  /** Index of the link. */
  readonly index: number;
}

/** An address of this node with the prefix length of its network. */
export interface OwnAddress {
  readonly index: number;
  readonly address: string;
  readonly prefix: number;
}

/** What the routes to peers depend on. */
export interface PeerRouteFacts {
  readonly peers: readonly Peer[];
  /** This node's own pod ranges, which are never routed away. */
  readonly ranges: readonly Cidr[];
  /** Addresses of links that are up. */
  readonly addresses: readonly OwnAddress[];
  /** Keelson's current routes; those with an unknown gateway or link never match. */
  readonly present: readonly (Pick<PeerRoute, 'destination'> & Partial<PeerRoute>)[];
}

/** Changes to the routes to peers. */
export interface PeerRoutePlan {
  readonly add: readonly PeerRoute[];
  readonly remove: readonly PeerRouteFacts['present'][number][];
  /** Why ranges have no route. */
  readonly problems: readonly string[];
}

/**
 * Returns the changes after which Keelson's routes lead to every peer on a link of this node, and
 * nowhere else.
 */
export function planPeerRoutes({ peers, ranges, addresses, present }: PeerRouteFacts): PeerRoutePlan {
  const wanted = new Map<string, PeerRoute & { readonly peer: string }>();
  const problems: string[] = [];
  for (const peer of peers) {
    for (const text of peer.ranges) {
      const destination = parseCidr(text);
      if (destination === undefined) {
        problems.push(`node ${peer.name}: its pod range ${JSON.stringify(text)} is not an address range`);
        continue;
      }
      const known = { ranges, addresses, taken: [...wanted.values()] };
      const way = refuse(destination, text, known) ?? findWay(peer, destination, addresses);
      if (typeof way === 'string') {
        problems.push(`node ${peer.name}: ${way}`);
        continue;
      }
      wanted.set(formatCidr(destination), { destination, ...way, peer: peer.name });
    }
  }
  const fits = ({ destination, gateway, index }: PeerRouteFacts['present'][number]): boolean => {
    const route = wanted.get(formatCidr(destination));
    return route !== undefined && route.gateway === gateway && route.index === index;
  };
  const right = new Set(present.filter(fits).map(({ destination }) => formatCidr(destination)));
  return {
    add: [...wanted]
      .filter(([range]) => !right.has(range))
      .map(([, { destination, gateway, index }]) => ({ destination, gateway, index })),
    // A wrong route is removed before the right one is added: the kernel may keep both.
    remove: present.filter((route) => !fits(route)),
    problems,
  };
}

/** Returns why a range of a peer is not routed. */
function refuse(
  range: Cidr,
  text: string,
  known: Pick<PeerRouteFacts, 'ranges' | 'addresses'> & {
    readonly taken: readonly (PeerRoute & { readonly peer: string })[];
  },
): string | undefined {
  const own = known.ranges.find((candidate) => cidrsOverlap(candidate, range));
  if (own !== undefined) return `its pod range ${text} overlaps ${formatCidr(own)} of this node`;
  const other = known.taken.find(({ destination }) => cidrsOverlap(destination, range));
  if (other !== undefined)
    return `its pod range ${text} overlaps ${formatCidr(other.destination)} of node ${other.peer}`;
  const node = known.addresses.find(({ address }) => {
    const parsed = parseAddress(address);
    return parsed !== undefined && cidrContains(range, parsed);
  });
  if (node !== undefined) return `its pod range ${text} contains ${node.address}, an address of this node`;
  return undefined;
}

function findWay(
  peer: Peer,
  { family }: Cidr,
  addresses: readonly OwnAddress[],
): Pick<PeerRoute, 'gateway' | 'index'> | string {
  const gateways = peer.addresses.filter((text) => parseAddress(text)?.family === family);
  if (gateways.length === 0) return `has pods with IPv${family} addresses, but no IPv${family} InternalIP`;
  for (const gateway of gateways) {
    const link = onLink(gateway, addresses);
    if (link !== undefined) return { gateway, index: link.index };
  }
  return (
    `its address ${gateways.join(', ')} is not on any network of this node, so its pods are unreachable; ` +
    'nodes must share a link, or other routers must connect them'
  );
}

/** Returns the address of this node whose network contains `text`; the longest prefix wins. */
function onLink(text: string, addresses: readonly OwnAddress[]): OwnAddress | undefined {
  const peer = parseAddress(text);
  if (peer === undefined) return undefined;
  return addresses
    .filter(({ address, prefix }) => {
      const network = parseCidr(`${address}/${prefix}`);
      return network !== undefined && prefix > 0 && cidrContains(network, peer) && address !== text;
    })
    .sort((a, b) => b.prefix - a.prefix)[0];
}
