import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import {
  type Cidr,
  formatAddress,
  formatCidr,
  type IpAddress,
  parseAddress,
} from '../../../src/core/network/cidr.ts';
import { Fault, isFault } from '../../../src/core/fault.ts';
import {
  GATEWAY_MAC,
  GATEWAYS,
  type LinkObservation,
  type LinkPlan,
  ROUTE_PROTOCOL,
} from '../../../src/core/network/link-plan.ts';
import { hostSocket } from './host-socket.ts';
import { RTN_UNICAST, RTN_UNREACHABLE } from '../netlink/constants.ts';
import type { Request } from '../netlink/message.ts';
import {
  decodeAddress,
  decodeLink,
  decodeNeighbour,
  decodeRoute,
  type LinkState,
  type RouteState,
} from '../netlink/replies.ts';
import * as request from '../netlink/requests.ts';
import { RouteSocket } from '../netlink/socket.ts';
import { openNetns, withNetns } from './netns.ts';

/** Metric of the unreachable routes of the pod ranges: any other route takes precedence. */
const RANGE_PRIORITY = 4_278_198_272;
const LOOPBACK_INDEX = 1;

/** Returns the network namespace of the worker's thread, as `net:[inode]`. */
export function currentNetns(): string {
  return readlinkSync('/proc/thread-self/ns/net');
}

/**
 * Connects a pod to the node: a veth pair, addresses, routes and permanent neighbours on both
 * sides, and the pod's `lo` up. Undoes all of it on failure. Throws `conflict` for a taken
 * interface name, `busy` for a taken index.
 */
export function attachLink(plan: LinkPlan): void {
  const addresses = plan.addresses.map(requireAddress);
  using netns = openNetns(plan.netns);
  const end = { ...plan.host, mtu: plan.mtu };
  hostSocket().execute([request.createVeth(end, { ...plan.pod, mtu: plan.mtu }, netns.fd)]);
  try {
    const ipv6 = addresses.some(({ family }) => family === 6);
    // Before either end is up, so that no router advertisement of a neighbour is accepted
    // (CVE-2020-10749).
    quietIpv6(plan.host.name, ipv6);
    writeSysctl(`ipv4/conf/${plan.host.name}/rp_filter`, '1');
    using pod = withNetns(netns, () => {
      quietIpv6(plan.pod.name, ipv6);
      return RouteSocket.open();
    });
    pod.execute(podRequests(plan, addresses));
    hostSocket().execute(hostRequests(plan, addresses, ipv6));
  } catch (error) {
    hostSocket().execute([request.deleteLink(plan.host.name)]);
    throw error;
  }
}

function podRequests({ pod }: LinkPlan, addresses: readonly IpAddress[]): Request[] {
  const { index } = pod;
  return [
    request.changeLink(LOOPBACK_INDEX, { up: true }),
    request.changeLink(index, { up: true }),
    ...addresses.flatMap((address) => {
      const { family } = address;
      const gateway = requireAddress(GATEWAYS[family]);
      const route = { protocol: ROUTE_PROTOCOL, index };
      return [
        request.addAddress({ index, address, prefix: request.hostCidr(address).prefix, scope: 'global' }),
        request.addNeighbour(index, gateway, GATEWAY_MAC),
        // An IPv6 gateway is link-local; an IPv4 gateway needs this route.
        ...(family === 4 ? [request.addRoute({ ...route, destination: request.hostCidr(gateway) })] : []),
        request.addRoute({ ...route, destination: { family, base: 0n, prefix: 0 }, gateway }),
      ];
    }),
  ];
}

function hostRequests(plan: LinkPlan, addresses: readonly IpAddress[], ipv6: boolean): Request[] {
  const { index } = plan.host;
  return [
    request.changeLink(index, {
      up: true,
      alias: plan.alias,
      ...(ipv6 ? { generateAddresses: false } : {}),
    }),
    ...addresses.flatMap((address) => [
      // Scope host: the gateway answers, but is never the source of the node's packets to the pod.
      request.addAddress({
        index,
        address: requireAddress(GATEWAYS[address.family]),
        prefix: address.family === 4 ? 32 : 64,
        scope: address.family === 4 ? 'host' : 'link',
      }),
      request.addNeighbour(index, address, plan.pod.mac),
      request.addRoute({ destination: request.hostCidr(address), index, protocol: ROUTE_PROTOCOL }),
    ]),
  ];
}

/** Whether the node has a link `name`. */
export function hasLink(name: string): boolean {
  return findLink(hostSocket(), name) !== undefined;
}

/** Reads both sides of a pod's link. An absent namespace counts as an absent interface. */
export function observeLink(link: {
  readonly netns: string;
  readonly hostName: string;
  readonly podName: string;
}): LinkObservation {
  return { host: observeHostEnd(link.hostName), pod: observePodEnd(link.netns, link.podName) };
}

function observeHostEnd(name: string): LinkObservation['host'] {
  const socket = hostSocket();
  const found = findLink(socket, name);
  if (found === undefined) return undefined;
  const routes = readRoutes(socket).filter(({ index }) => index === found.index);
  return { up: found.up, routes: routes.map(({ destination }) => baseOf(destination)) };
}

function observePodEnd(path: string, name: string): LinkObservation['pod'] {
  using netns = unlessNotFound(() => openNetns(path));
  if (netns === undefined) return undefined;
  using socket = withNetns(netns, () => RouteSocket.open());
  const found = findLink(socket, name);
  if (found === undefined) return undefined;
  const own = <T extends { readonly index: number | undefined }>(item: T | undefined): item is T =>
    item?.index === found.index;
  const neighbours = socket.dump(request.dumpRequest('neighbours')).map(decodeNeighbour).filter(own);
  return {
    up: found.up,
    mac: found.mac,
    addresses: socket
      .dump(request.dumpRequest('addresses'))
      .map(decodeAddress)
      .filter(own)
      .map(({ address }) => address),
    gateways: readRoutes(socket)
      .filter((route) => own(route) && route.destination.prefix === 0)
      .flatMap(({ gateway }) => gateway ?? []),
    neighbours: neighbours
      .filter(({ permanent, mac }) => permanent && mac === GATEWAY_MAC)
      .map(({ address }) => address),
  };
}

/** Lists the node's links whose names start with `prefix`. */
export function listLinks(prefix: string): readonly LinkState[] {
  return hostSocket()
    .dump(request.dumpRequest('links'))
    .map(decodeLink)
    .filter(({ name }) => name.startsWith(prefix));
}

/** Lists the pod addresses with a route on the node, with the names of the routes' links. */
export function listPodRoutes(): readonly { readonly address: string; readonly link: string }[] {
  const names = new Map(listLinks('').map(({ index, name }) => [index, name]));
  return readRoutes(hostSocket())
    .filter(({ protocol, type }) => protocol === ROUTE_PROTOCOL && type === RTN_UNICAST)
    .flatMap(({ destination, index = 0 }) => {
      const link = names.get(index);
      return link === undefined ? [] : [{ address: baseOf(destination), link }];
    });
}

/** Returns the MTU of the default route's link, IPv4 first; undefined without a default route. */
export function readUplinkMtu(): number | undefined {
  const defaults = readRoutes(hostSocket())
    .filter(({ destination, index, type }) => destination.prefix === 0 && index && type !== RTN_UNREACHABLE)
    .sort((a, b) => a.destination.family - b.destination.family || (a.priority ?? 0) - (b.priority ?? 0));
  const uplink = listLinks('').find(({ index }) => index === defaults[0]?.index);
  return uplink?.mtu;
}

/**
 * Enables forwarding, and adds unreachable routes for pod ranges: packets to unused addresses would
 * loop between node and default gateway. Removes those of earlier ranges.
 */
export function ensureForwarding(ranges: readonly Cidr[]): void {
  ensureSysctl('ipv4/ip_forward', '1');
  if (ranges.some(({ family }) => family === 6)) {
    keepRouterAdvertisements();
    ensureSysctl('ipv6/conf/all/forwarding', '1');
  }
  const present = readRoutes(hostSocket()).filter(
    ({ protocol, type }) => protocol === ROUTE_PROTOCOL && type === RTN_UNREACHABLE,
  );
  const wanted = new Set(ranges.map(formatCidr));
  const stale = present.filter(({ destination }) => !wanted.has(formatCidr(destination)));
  hostSocket().execute([
    ...stale.map(({ destination }) => request.deleteRoute(rangeRoute(destination))),
    ...ranges.map((destination) => request.addRoute(rangeRoute(destination))),
  ]);
}

/**
 * Deletes the routes of `ensureForwarding` for all ranges; pods' routes are deleted with their
 * links.
 */
export function removeRangeRoutes(): void {
  const ours = readRoutes(hostSocket()).filter(
    ({ protocol, type }) => protocol === ROUTE_PROTOCOL && type === RTN_UNREACHABLE,
  );
  hostSocket().execute(ours.map(({ destination }) => request.deleteRoute(rangeRoute(destination))));
}

function rangeRoute(destination: Cidr): request.RouteRequest {
  return { destination, priority: RANGE_PRIORITY, protocol: ROUTE_PROTOCOL };
}

/**
 * A forwarding host ignores router advertisements unless accept_ra is 2 (ip-sysctl), and would lose
 * its default route.
 */
function keepRouterAdvertisements(): void {
  for (const link of readdirSync('/proc/sys/net/ipv6/conf')) {
    if (readFileSync(`/proc/sys/net/ipv6/conf/${link}/accept_ra`, 'utf8').trim() === '1') {
      writeSysctl(`ipv6/conf/${link}/accept_ra`, '2');
    }
  }
}

/**
 * For a link that is down: disables IPv6, or router advertisements and duplicate address detection.
 */
function quietIpv6(link: string, ipv6: boolean): void {
  if (!existsSync('/proc/sys/net/ipv6')) return;
  writeSysctl(`ipv6/conf/${link}/disable_ipv6`, ipv6 ? '0' : '1');
  if (!ipv6) return;
  writeSysctl(`ipv6/conf/${link}/accept_ra`, '0');
  writeSysctl(`ipv6/conf/${link}/accept_dad`, '0');
}

function ensureSysctl(name: string, value: string): void {
  // A read-only /proc/sys is fine if the value is correct.
  if (readFileSync(`/proc/sys/net/${name}`, 'utf8').trim() !== value) writeSysctl(name, value);
}

/** /proc/sys/net belongs to the network namespace of the calling thread. */
function writeSysctl(name: string, value: string): void {
  try {
    writeFileSync(`/proc/sys/net/${name}`, value);
  } catch (error) {
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    throw new Fault('precondition', `/proc/sys/net/${name} cannot be set to ${value}: ${code}`, {
      fields: { errno: code },
    });
  }
}

function findLink(socket: RouteSocket, name: string): LinkState | undefined {
  return unlessNotFound(() => socket.execute([request.getLink(name)]))?.map(decodeLink)[0];
}

function unlessNotFound<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (isFault(error, 'not-found')) return undefined;
    throw error;
  }
}

function readRoutes(socket: RouteSocket): readonly RouteState[] {
  return socket.dump(request.dumpRequest('routes')).flatMap((message) => decodeRoute(message) ?? []);
}

function baseOf({ family, base }: Cidr): string {
  return formatAddress({ family, value: base });
}

function requireAddress(text: string): IpAddress {
  const address = parseAddress(text);
  if (address === undefined) throw new Fault('bug', `${text} is not an IP address`);
  return address;
}
