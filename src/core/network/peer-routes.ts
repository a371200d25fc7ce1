import { type Cidr, cidrContains, cidrsOverlap, formatCidr, parseAddress, parseCidr } from './cidr.ts';

/** `proto 76` marks our routes to the pods of other nodes. */
export const PEER_ROUTE_PROTOCOL = 76;
/** Anybody's route to the same range with a lower metric wins: an administrator's own is never replaced. */
export const PEER_ROUTE_PRIORITY = 2048;

/** Another node: what its pods have, and where it is. */
export interface Peer {
  readonly name: string;
  /** Its pod ranges. */
  readonly ranges: readonly string[];
  /** Addresses by which other nodes reach it. */
  readonly addresses: readonly string[];
}

/** A route to a range of pods by the node that has them. */
export interface PeerRoute {
  readonly destination: Cidr;
  /** In canonical text. */
  readonly gateway: string;
  /** The link that leads there. */
  readonly index: number;
}

/** An address of this node with the length of the network that is on its link. */
export interface OwnAddress {
  readonly index: number;
  readonly address: string;
  readonly prefix: number;
}

export interface PeerRouteFacts {
  readonly peers: readonly Peer[];
  /** This node's own pod ranges: no route leads those away. */
  readonly ranges: readonly Cidr[];
  /** Of links that are up. */
  readonly addresses: readonly OwnAddress[];
  /** Our routes as they are; those whose gateway or link is not known never fit. */
  readonly present: readonly (Pick<PeerRoute, 'destination'> & Partial<PeerRoute>)[];
}

export interface PeerRoutePlan {
  readonly add: readonly PeerRoute[];
  readonly remove: readonly PeerRouteFacts['present'][number][];
  /** Why ranges have no route, in words. */
  readonly problems: readonly string[];
}

/** What to change so that our routes lead to every peer that is on a link of this node, and to nobody else. */
export function planPeerRoutes({ peers, ranges, addresses, present }: PeerRouteFacts): PeerRoutePlan {
  const wanted = new Map<string, PeerRoute & { readonly peer: string }>();
  const problems: string[] = [];
  for (const peer of peers) {
    for (const text of peer.ranges) {
      const destination = parseCidr(text);
      if (destination === undefined) {
        problems.push(`node ${peer.name}: its pod range ${JSON.stringify(text)} is no address range`);
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
    // One that leads elsewhere goes before the right one comes: the kernel may keep both.
    remove: present.filter((route) => !fits(route)),
    problems,
  };
}

/** Why a range of a peer is not routed, whoever the peer is. */
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
    `its address ${gateways.join(', ')} is on no network of this node, so its pods cannot be reached; ` +
    'nodes must share a link, or others must route between them'
  );
}

/** The address of this node whose network holds `text`; the narrowest network wins. */
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
