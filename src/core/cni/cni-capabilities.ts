import type { PortMapping } from '../network/attachment.ts';
import { formatAddress, parseAddress } from '../network/cidr.ts';
import { anyCase, items } from './cni-json.ts';
import { CNI_CODES, cniFault } from './cni-version.ts';

/** The three places in which runtimes pass capabilities, in order of precedence. */
export interface RequestSources {
  /** `runtimeConfig` of the configuration. */
  readonly runtime: unknown;
  /** `args.cni` of the configuration. */
  readonly labels: unknown;
  /** CNI_ARGS. */
  readonly args: ReadonlyMap<string, string>;
}

/** Returns the requested addresses, canonical and without prefix, from one source only. */
export function parseRequestedAddresses({ runtime, labels, args }: RequestSources): readonly string[] {
  const fromArgs = args.get('IP')?.split(',') ?? [];
  const lists = [anyCase(runtime, 'ips'), anyCase(labels, 'ips'), fromArgs].map((list) => {
    const entries = items(list);
    if (entries !== undefined) return entries;
    throw cniFault(CNI_CODES.invalidConfig, `ips is ${JSON.stringify(list)}; expected a list of addresses`);
  });
  return (lists.find((list) => list.length > 0) ?? []).map((entry) => {
    const [text = ''] = typeof entry === 'string' ? entry.trim().split('/') : [];
    const address = parseAddress(text);
    if (address !== undefined) return formatAddress(address);
    throw cniFault(
      CNI_CODES.invalidConfig,
      `requested address ${JSON.stringify(entry)} is not an IP address`,
    );
  });
}

/** Returns the requested MAC address in lower case. */
export function parseMac({ runtime, labels, args }: RequestSources): string | undefined {
  const mac = anyCase(runtime, 'mac') ?? anyCase(labels, 'mac') ?? args.get('MAC');
  if (mac === undefined || mac === '') return undefined;
  const text = typeof mac === 'string' ? mac.toLowerCase() : '';
  const isMac = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(text);
  const isUnicast = (Number.parseInt(text.slice(0, 2), 16) & 1) === 0 && text !== '00:00:00:00:00:00';
  if (isMac && isUnicast) return text;
  throw cniFault(
    CNI_CODES.invalidConfig,
    `requested MAC ${JSON.stringify(mac)} is not a unicast MAC address`,
  );
}

const PROTOCOLS = ['tcp', 'udp', 'sctp'] as const;

/** Returns the port mappings with a host port, each once. */
export function parseHostPorts(value: unknown): readonly PortMapping[] {
  const entries = items(value);
  if (entries === undefined) {
    throw cniFault(CNI_CODES.invalidConfig, `portMappings is ${JSON.stringify(value)}; expected a list`);
  }
  const mappings = new Map<string, PortMapping>();
  for (const entry of entries) {
    const hostPort = anyCase(entry, 'hostPort') ?? 0;
    if (hostPort === 0) continue;
    const mapping = {
      protocol: parseProtocol(anyCase(entry, 'protocol')),
      hostPort: parsePort('hostPort', hostPort),
      containerPort: parsePort('containerPort', anyCase(entry, 'containerPort')),
      ...parseHostIp(anyCase(entry, 'hostIP')),
    };
    mappings.set(JSON.stringify(mapping), mapping);
  }
  return [...mappings.values()];
}

function parsePort(field: string, port: unknown): number {
  if (typeof port === 'number' && Number.isInteger(port) && port >= 1 && port <= 65_535) return port;
  throw cniFault(
    CNI_CODES.invalidConfig,
    `${field} ${JSON.stringify(port ?? null)} is not a port from 1 to 65535`,
  );
}

function parseProtocol(value: unknown): PortMapping['protocol'] {
  if (value === undefined || value === '') return 'tcp';
  const protocol = PROTOCOLS.find((known) => typeof value === 'string' && value.toLowerCase() === known);
  if (protocol !== undefined) return protocol;
  throw cniFault(
    CNI_CODES.unsupportedField,
    `portMappings protocol ${JSON.stringify(value)} is not supported; expected one of ${PROTOCOLS.join(', ')}`,
  );
}

function parseHostIp(value: unknown): { readonly hostIp?: string } {
  if (value === undefined || value === '') return {};
  const address = typeof value === 'string' ? parseAddress(value) : undefined;
  if (address === undefined) {
    throw cniFault(CNI_CODES.invalidConfig, `hostIP ${JSON.stringify(value)} is not an IP address`);
  }
  const loopback = address.family === 4 ? address.value >> 24n === 127n : address.value === 1n;
  if (loopback) {
    throw cniFault(
      CNI_CODES.unsupportedField,
      `hostIP ${formatAddress(address)} is not supported: it requires route_localnet, which exposes the node's loopback ` +
        'services to its neighbours; omit hostIP or use an address of the node',
    );
  }
  return address.value === 0n ? {} : { hostIp: formatAddress(address) };
}
