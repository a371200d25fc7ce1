import { createHash } from 'node:crypto';
import { parseAddress } from './cidr.ts';

/**
 * Every pod's next hop: link-local and the same in each pod, so that a pod's routes never have to
 * change.
 */
export const GATEWAYS = { 4: '169.254.1.1', 6: 'fe80::ecee:eeff:feee:eeee' } as const;
/**
 * The node's side of every pod link; the IPv6 gateway is its EUI-64 address (RFC 4291 appendix A).
 */
export const GATEWAY_MAC = 'ee:ee:ee:ee:ee:ee';
/** Prefix of the node's link ends; other interfaces must not use it. */
export const HOST_LINK_PREFIX = 'keel';
/**
 * `proto 75` marks Keelson's routes; rtnetlink leaves values above RTPROT_STATIC to routing
 * daemons.
 */
export const ROUTE_PROTOCOL = 75;

interface LinkEndPlan {
  readonly name: string;
  readonly index: number;
  readonly mac: string;
}

/** What is configured in the kernel to connect one pod to the node. */
export interface LinkPlan {
  /** Path of the pod's network namespace. */
  readonly netns: string;
  readonly host: LinkEndPlan;
  readonly pod: LinkEndPlan;
  readonly mtu: number;
  /** Shown by `ip link` on the node's end. */
  readonly alias: string;
  /** The pod's addresses in canonical form, one per family. */
  readonly addresses: readonly string[];
}

/** The observed state of one pod link. */
export interface LinkObservation {
  readonly host: { readonly up: boolean; readonly routes: readonly string[] } | undefined;
  readonly pod:
    | {
        readonly up: boolean;
        readonly mac: string;
        readonly addresses: readonly string[];
        readonly gateways: readonly string[];
        readonly neighbours: readonly string[];
      }
    | undefined;
}

/**
 * Returns the name of the node's end: deterministic for the attachment, 15 characters, 55 bits of a
 * hash. `taken` are the names of other attachments; on a collision the next candidate is used.
 */
export function hostLinkName(containerId: string, ifname: string, taken: (name: string) => boolean): string {
  for (let salt = 0; ; salt += 1) {
    const name = `${HOST_LINK_PREFIX}${base32(digest(containerId, ifname, String(salt))).slice(0, 11)}`;
    if (!taken(name)) return name;
  }
}

/** Returns a locally administered unicast address that a pod keeps when it is attached again. */
export function podMac(containerId: string, ifname: string): string {
  const bytes = digest('mac', containerId, ifname).subarray(0, 6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** Returns how the observed link differs from its plan; empty when it does not. */
export function findLinkDrift(
  { pod, addresses }: Pick<LinkPlan, 'pod' | 'addresses'>,
  observed: LinkObservation,
): readonly string[] {
  const drift: string[] = [];
  const expect = (holds: boolean, words: string): void => {
    if (!holds) drift.push(words);
  };
  if (observed.host === undefined) return ['the node end of the link does not exist'];
  if (observed.pod === undefined) return [`the pod has no interface ${pod.name}`];
  expect(observed.host.up, 'the node end of the link is down');
  expect(observed.pod.up, `${pod.name} is down`);
  expect(observed.pod.mac === pod.mac, `${pod.name} has MAC ${observed.pod.mac} instead of ${pod.mac}`);
  for (const address of addresses) {
    const gateway = GATEWAYS[parseAddress(address)?.family ?? 4];
    expect(observed.pod.addresses.includes(address), `${pod.name} lacks address ${address}`);
    expect(observed.host.routes.includes(address), `the node lacks the route to ${address}`);
    expect(observed.pod.gateways.includes(gateway), `the pod lacks the default route via ${gateway}`);
    expect(observed.pod.neighbours.includes(gateway), `the pod lacks the permanent neighbour ${gateway}`);
  }
  return drift;
}

function digest(...parts: readonly string[]): Buffer {
  return createHash('sha256').update(parts.join('\0')).digest();
}

function base32(bytes: Uint8Array): string {
  return BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
    .toString(32)
    .padStart(52, '0');
}
