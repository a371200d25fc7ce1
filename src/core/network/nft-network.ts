import { type Attachment, describeAttachment, type PortMapping } from './attachment.ts';
import { addressBits, type Cidr, cidrContains, formatCidr, type IpFamily, parseAddress } from './cidr.ts';
import { Fault } from '../fault.ts';
import { HOST_LINK_PREFIX } from './link-plan.ts';

/** The nftables table of the pod network. */
export const NETWORK_TABLE = { family: 'inet', name: 'keelson_network' } as const;

const TABLE = `${NETWORK_TABLE.family} ${NETWORK_TABLE.name}`;
const FAMILIES = [4, 6] as const;

/** Content of the network's nftables table. */
export interface NetworkTable {
  readonly ranges: readonly Cidr[];
  /** Destinations, besides pods, that see a pod's own address. */
  readonly exclusions: readonly Cidr[];
  readonly attachments: Iterable<Pick<Attachment, 'addresses' | 'portMappings'>>;
}

/** An element of a set or map of the table. */
interface Element {
  readonly set: string;
  readonly key: string;
  readonly value?: string;
}

/** Returns the transaction that replaces the whole table, whether or not it exists. */
export function renderNetworkTable({ ranges, exclusions, attachments }: NetworkTable): string {
  const pods = [...attachments];
  const elements = pods.flatMap(hostPortElements);
  // A pod keeps its address when the node gets other ranges.
  const strays = pods.flatMap(({ addresses }) => addresses.flatMap((address) => strayCidr(address, ranges)));
  const sets = FAMILIES.flatMap((family) => [
    addressSet(`pods${family}`, family, [...ranges, ...strays]),
    addressSet(`direct${family}`, family, [...ranges, ...exclusions, ...strays]),
    collection('map', `ports${family}`, `inet_proto . inet_service : ${target(family)}`, elements),
    collection(
      'map',
      `ports_at${family}`,
      `${type(family)} . inet_proto . inet_service : ${target(family)}`,
      elements,
    ),
    collection('set', `hairpin${family}`, `${type(family)} . ${type(family)}`, elements),
  ]);
  return `add table ${TABLE}
delete table ${TABLE}
table ${TABLE} {
${sets.join('\n')}
  # A pod speaks from the addresses that the node routes to it, and from no other.
  chain spoofing {
    type filter hook prerouting priority raw; policy accept;
    iifname "${HOST_LINK_PREFIX}*" ip6 saddr fe80::/10 accept
    iifname "${HOST_LINK_PREFIX}*" fib saddr . iif oif missing drop
  }
  # After the service proxy (at dstnat), which may want the same port for a service; and only for what is addressed to the node.
  chain arriving {
    type nat hook prerouting priority dstnat + 5; policy accept;
    fib daddr type local jump hostports
  }
  # Loopback addresses are left out: reaching a pod from them needs route_localnet, which opens the node to its neighbours.
  chain leaving {
    type nat hook output priority -95; policy accept;
    ip daddr 127.0.0.0/8 return
    ip6 daddr ::1 return
    fib daddr type local jump hostports
  }
  chain hostports {
    dnat ip to ip daddr . meta l4proto . th dport map @ports_at4
    dnat ip to meta l4proto . th dport map @ports4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports_at6
    dnat ip6 to meta l4proto . th dport map @ports6
  }
  chain masquerading {
    type nat hook postrouting priority srcnat; policy accept;
    ct status dnat ip saddr . ip daddr @hairpin4 masquerade
    ct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade
    ip saddr @pods4 ip daddr != @direct4 masquerade fully-random
    ip6 saddr @pods6 ip6 daddr != @direct6 masquerade fully-random
  }
}
`;
}

/** Returns the transaction that removes the table, whether or not it exists. */
export function renderTableRemoval(): string {
  return `add table ${TABLE}\ndelete table ${TABLE}\n`;
}

/**
 * Returns the transaction that adds or deletes one attachment's elements; empty when it has none.
 */
export function renderHostPorts(
  verb: 'add' | 'delete',
  attachment: Pick<Attachment, 'addresses' | 'portMappings'>,
): string {
  return hostPortElements(attachment)
    .map(({ set, ...element }) => `${verb} element ${TABLE} ${set} { ${renderElement(element)} }\n`)
    .join('');
}

/** Throws `conflict` when one of `wanted` is the host port of another attachment. */
export function checkHostPorts(wanted: readonly PortMapping[], others: Iterable<Attachment>): void {
  if (wanted.length === 0) return;
  for (const other of others) {
    for (const held of other.portMappings) {
      const clash = wanted.find((mapping) => portsClash(mapping, held));
      if (clash === undefined) continue;
      throw new Fault(
        'conflict',
        `host port ${clash.hostPort}/${clash.protocol} is in use by ${describeAttachment(other)}`,
        { fields: { hostPort: clash.hostPort, protocol: clash.protocol, holder: other.containerId } },
      );
    }
  }
}

function portsClash(a: PortMapping, b: PortMapping): boolean {
  const samePort = a.hostPort === b.hostPort && a.protocol === b.protocol;
  return samePort && (a.hostIp === undefined || b.hostIp === undefined || a.hostIp === b.hostIp);
}

function hostPortElements({
  addresses,
  portMappings,
}: Pick<Attachment, 'addresses' | 'portMappings'>): readonly Element[] {
  if (portMappings.length === 0) return [];
  return addresses.flatMap((address) => {
    const family = parseAddress(address)?.family ?? 4;
    const own = portMappings.filter(
      ({ hostIp }) => hostIp === undefined || parseAddress(hostIp)?.family === family,
    );
    if (own.length === 0) return [];
    return [
      ...own.map(({ protocol, hostPort, containerPort, hostIp }) => ({
        set: hostIp === undefined ? `ports${family}` : `ports_at${family}`,
        key: `${hostIp === undefined ? '' : `${hostIp} . `}${protocol} . ${hostPort}`,
        value: `${address} . ${containerPort}`,
      })),
      { set: `hairpin${family}`, key: `${address} . ${address}` },
    ];
  });
}

function strayCidr(text: string, ranges: readonly Cidr[]): readonly Cidr[] {
  const address = parseAddress(text);
  if (address === undefined || ranges.some((range) => cidrContains(range, address))) return [];
  return [{ family: address.family, base: address.value, prefix: addressBits(address.family) }];
}

function addressSet(name: string, family: IpFamily, cidrs: readonly Cidr[]): string {
  const own = cidrs.filter((cidr) => cidr.family === family).map(formatCidr);
  return `  set ${name} {
    type ${type(family)}; flags interval; auto-merge;${own.length === 0 ? '' : ` elements = { ${own.join(', ')} }`}
  }`;
}

function collection(kind: 'set' | 'map', name: string, types: string, all: readonly Element[]): string {
  const own = all.filter(({ set }) => set === name).map(renderElement);
  return `  ${kind} ${name} {
    type ${types};${own.length === 0 ? '' : ` elements = { ${own.join(', ')} }`}
  }`;
}

function renderElement({ key, value }: Pick<Element, 'key' | 'value'>): string {
  return value === undefined ? key : `${key} : ${value}`;
}

function type(family: IpFamily): string {
  return `ipv${family}_addr`;
}

function target(family: IpFamily): string {
  return `${type(family)} . inet_service`;
}
