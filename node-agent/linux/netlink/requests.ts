import {
  addressBits,
  addressBytes,
  type Cidr,
  formatAddress,
  formatCidr,
  type IpAddress,
  type IpFamily,
} from '../../../src/core/network/cidr.ts';
import {
  type Attribute,
  concatenate,
  encodeAttributes,
  LITTLE_ENDIAN,
  macBytes,
  text,
  u32,
  viewOf,
} from './attributes.ts';
import * as k from './constants.ts';
import type { Request } from './message.ts';

const CHANGE = k.NLM_F_REQUEST | k.NLM_F_ACK;
const CREATE = CHANGE | k.NLM_F_CREATE | k.NLM_F_EXCL;
const REPLACE = CHANGE | k.NLM_F_CREATE | k.NLM_F_REPLACE;

export interface VethEnd {
  readonly name: string;
  /** Chosen by the caller, so that further requests of a batch can refer to the link. */
  readonly index: number;
  readonly mac: string;
  readonly mtu: number;
}

/**
 * Creates a veth pair whose peer is in the namespace of `peerNetnsFd`. Neither end generates IPv6
 * addresses.
 */
export function createVeth(end: VethEnd, peer: VethEnd, peerNetnsFd: number): Request {
  const peerEnd: Attribute[] = [...vethEnd(peer), [k.IFLA_NET_NS_FD, u32(peerNetnsFd)]];
  const peerBytes = nestedLink(peer.index, peerEnd);
  return {
    what: `creating veth ${end.name} with peer ${peer.name}`,
    type: k.RTM_NEWLINK,
    flags: CREATE,
    body: ifinfomsg({ index: end.index }),
    attributes: [
      ...vethEnd(end),
      [
        k.IFLA_LINKINFO,
        [
          [k.IFLA_INFO_KIND, text('veth')],
          [k.IFLA_INFO_DATA, [[k.VETH_INFO_PEER, peerBytes]]],
        ],
      ],
    ],
  };
}

function vethEnd({ name, mac, mtu }: VethEnd): Attribute[] {
  return [
    [k.IFLA_IFNAME, text(name)],
    [k.IFLA_ADDRESS, macBytes(mac)],
    [k.IFLA_MTU, u32(mtu)],
    // Otherwise the kernel creates a queue per CPU with sysfs files, unused without a queueing
    // discipline.
    [k.IFLA_NUM_TX_QUEUES, u32(1)],
    [k.IFLA_NUM_RX_QUEUES, u32(1)],
  ];
}

export interface LinkChange {
  readonly up?: boolean;
  readonly name?: string;
  readonly alias?: string;
  /** False: the kernel generates no link-local address. */
  readonly generateAddresses?: boolean;
}

/** Changes the link `index` in one request. */
export function changeLink(index: number, { up, name, alias, generateAddresses }: LinkChange): Request {
  const attributes: Attribute[] = [];
  if (name !== undefined) attributes.push([k.IFLA_IFNAME, text(name)]);
  if (alias !== undefined) attributes.push([k.IFLA_IFALIAS, text(alias)]);
  if (generateAddresses === false) {
    const mode: Attribute = [k.IFLA_INET6_ADDR_GEN_MODE, Uint8Array.of(k.IN6_ADDR_GEN_MODE_NONE)];
    attributes.push([k.IFLA_AF_SPEC, [[k.AF_INET6, [mode]]]]);
  }
  return {
    what: `changing link ${index}${up === undefined ? '' : up ? ' (up)' : ' (down)'}`,
    type: k.RTM_NEWLINK,
    flags: CHANGE,
    body: ifinfomsg({ index, flags: up === true ? k.IFF_UP : 0, change: up === undefined ? 0 : k.IFF_UP }),
    attributes,
  };
}

/** Deletes the link of this name and its peer. */
export function deleteLink(name: string): Request {
  return {
    what: `deleting link ${name}`,
    type: k.RTM_DELLINK,
    flags: CHANGE,
    body: ifinfomsg({ index: 0 }),
    attributes: [[k.IFLA_IFNAME, text(name)]],
  };
}

/** Assigns the link of this name to a link group. */
export function groupLink(name: string, group: number): Request {
  return {
    what: `grouping link ${name}`,
    type: k.RTM_NEWLINK,
    flags: CHANGE,
    body: ifinfomsg({ index: 0 }),
    attributes: [
      [k.IFLA_IFNAME, text(name)],
      [k.IFLA_GROUP, u32(group)],
    ],
  };
}

/** Deletes all links of a group. */
export function deleteGroup(group: number): Request {
  return {
    what: `deleting link group ${group}`,
    type: k.RTM_DELLINK,
    flags: CHANGE,
    body: ifinfomsg({ index: 0 }),
    attributes: [[k.IFLA_GROUP, u32(group)]],
  };
}

export interface AddressRequest {
  readonly index: number;
  readonly address: IpAddress;
  readonly prefix: number;
  /** `host`: never selected as a source address for other hosts. */
  readonly scope: 'global' | 'link' | 'host';
}

/**
 * Adds an address without duplicate address detection, which delays an IPv6 address by over a
 * second.
 */
export function addAddress({ index, address, prefix, scope }: AddressRequest): Request {
  const bytes = addressBytes(address);
  const body = new Uint8Array(8);
  body.set([af(address.family), prefix, 0, SCOPES[scope]]);
  viewOf(body).setUint32(4, index, LITTLE_ENDIAN);
  const flags = address.family === 6 ? k.IFA_F_NODAD | k.IFA_F_PERMANENT : k.IFA_F_PERMANENT;
  return {
    what: `adding address ${formatAddress(address)}/${prefix}`,
    type: k.RTM_NEWADDR,
    flags: REPLACE,
    body,
    attributes: [
      [k.IFA_LOCAL, bytes],
      [k.IFA_ADDRESS, bytes],
      [k.IFA_FLAGS, u32(flags)],
    ],
  };
}

const SCOPES = { global: k.RT_SCOPE_UNIVERSE, link: k.RT_SCOPE_LINK, host: k.RT_SCOPE_HOST } as const;

export interface RouteRequest {
  readonly destination: Cidr;
  /** Absent: an unreachable route. */
  readonly index?: number;
  /** The gateway is on the link `index`, regardless of its addresses. */
  readonly gateway?: IpAddress;
  readonly priority?: number;
  /** Origin of the route (`proto` of `ip route`). */
  readonly protocol: number;
}

/** Adds or replaces a route of the main table. */
export function addRoute(route: RouteRequest): Request {
  return { ...routeRequest(route), what: `adding route ${formatCidr(route.destination)}`, flags: REPLACE };
}

export function deleteRoute(route: RouteRequest): Request {
  return {
    ...routeRequest(route),
    what: `deleting route ${formatCidr(route.destination)}`,
    type: k.RTM_DELROUTE,
    flags: CHANGE,
  };
}

function routeRequest(route: RouteRequest): Omit<Request, 'what' | 'flags'> {
  const { destination, index, gateway, priority, protocol } = route;
  const body = new Uint8Array(12);
  const scope = index !== undefined && gateway === undefined ? k.RT_SCOPE_LINK : k.RT_SCOPE_UNIVERSE;
  const type = index === undefined ? k.RTN_UNREACHABLE : k.RTN_UNICAST;
  body.set([af(destination.family), destination.prefix, 0, 0, k.RT_TABLE_MAIN, protocol, scope, type]);
  if (gateway !== undefined) viewOf(body).setUint32(8, k.RTNH_F_ONLINK, LITTLE_ENDIAN);
  const attributes: Attribute[] = [];
  if (destination.prefix > 0) {
    const { family, base } = destination;
    attributes.push([k.RTA_DST, addressBytes({ family, value: base })]);
  }
  if (index !== undefined) attributes.push([k.RTA_OIF, u32(index)]);
  if (gateway !== undefined) attributes.push([k.RTA_GATEWAY, addressBytes(gateway)]);
  if (priority !== undefined) attributes.push([k.RTA_PRIORITY, u32(priority)]);
  return { type: k.RTM_NEWROUTE, body, attributes };
}

/** Adds a route to one address. */
export function hostCidr({ family, value }: IpAddress): Cidr {
  return { family, base: value, prefix: addressBits(family) };
}

/** Adds a permanent neighbour, which is never resolved. */
export function addNeighbour(index: number, address: IpAddress, mac: string): Request {
  const body = new Uint8Array(12);
  body[0] = af(address.family);
  viewOf(body).setInt32(4, index, LITTLE_ENDIAN);
  viewOf(body).setUint16(8, k.NUD_PERMANENT, LITTLE_ENDIAN);
  return {
    what: `adding neighbour ${formatAddress(address)}`,
    type: k.RTM_NEWNEIGH,
    flags: REPLACE,
    body,
    attributes: [
      [k.NDA_DST, addressBytes(address)],
      [k.NDA_LLADDR, macBytes(mac)],
    ],
  };
}

/** Requests all objects of one kind. */
export function dumpRequest(kind: 'links' | 'addresses' | 'routes' | 'neighbours'): Request {
  const shapes = {
    links: [k.RTM_GETLINK, 16],
    addresses: [k.RTM_GETADDR, 8],
    routes: [k.RTM_GETROUTE, 12],
    neighbours: [k.RTM_GETNEIGH, 12],
  } as const;
  const [type, bodyBytes] = shapes[kind];
  return {
    what: `listing ${kind}`,
    type,
    flags: k.NLM_F_REQUEST | k.NLM_F_DUMP,
    body: new Uint8Array(bodyBytes),
    attributes: [],
  };
}

/** Requests one link by name. */
export function getLink(name: string): Request {
  return {
    what: `reading link ${name}`,
    type: k.RTM_GETLINK,
    flags: CHANGE,
    body: ifinfomsg({ index: 0 }),
    attributes: [[k.IFLA_IFNAME, text(name)]],
  };
}

function ifinfomsg(link: { index: number; flags?: number; change?: number }): Uint8Array {
  const body = new Uint8Array(16);
  const view = viewOf(body);
  view.setInt32(4, link.index, LITTLE_ENDIAN);
  view.setUint32(8, link.flags ?? 0, LITTLE_ENDIAN);
  view.setUint32(12, link.change ?? 0, LITTLE_ENDIAN);
  return body;
}

/** VETH_INFO_PEER is an ifinfomsg followed by attributes. */
function nestedLink(index: number, attributes: readonly Attribute[]): Uint8Array {
  return concatenate([ifinfomsg({ index }), encodeAttributes(attributes)]);
}

function af(family: IpFamily): number {
  return family === 4 ? k.AF_INET : k.AF_INET6;
}
