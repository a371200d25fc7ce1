import type { Attachment } from '../network/attachment.ts';
import { addressBits, parseAddress } from '../network/cidr.ts';
import { anyCase, isJsonObject, items, type JsonObject } from './cni-json.ts';
import { type CniVersion, isAtLeast } from './cni-version.ts';
import { Fault } from '../fault.ts';
import { GATEWAY_MAC, GATEWAYS } from '../network/link-plan.ts';

/** How the result of ADD is formatted. */
export interface ResultOptions {
  readonly version: CniVersion;
  readonly dns: JsonObject | undefined;
  /** Result of the preceding plugins of the chain. */
  readonly prevResult: JsonObject | undefined;
}

const DEFAULT_ROUTES = { 4: '0.0.0.0/0', 6: '::/0' } as const;

interface OwnAddress {
  readonly family: 4 | 6;
  readonly cidr: string;
  readonly gateway: string;
}

/** Returns the result of ADD in the form of its version. */
export function formatAddResult(attachment: Attachment, options: ResultOptions): JsonObject {
  const { version, dns, prevResult } = options;
  const addresses = attachment.addresses.map((text): OwnAddress => {
    const family = parseAddress(text)?.family ?? 4;
    return { family, cidr: `${text}/${addressBits(family)}`, gateway: GATEWAYS[family] };
  });
  if (!isAtLeast(version, '0.3.0')) return formatFirstShape(version, addresses, dns);

  const before = listOf(prevResult, 'interfaces');
  const mtu = isAtLeast(version, '1.1.0') ? { mtu: attachment.mtu } : {};
  const { ifname, mac, netns, hostLink } = attachment;
  return {
    cniVersion: version,
    interfaces: [
      ...before,
      { name: hostLink, mac: GATEWAY_MAC, ...mtu },
      { name: ifname, mac, sandbox: netns, ...mtu },
    ],
    ips: [
      ...listOf(prevResult, 'ips').map((ip) => fitAddress(ip, version)),
      ...addresses.map(({ cidr, gateway }) =>
        fitAddress({ address: cidr, gateway, interface: before.length + 1 }, version),
      ),
    ],
    routes: [
      ...listOf(prevResult, 'routes'),
      ...addresses.map(({ family, gateway }) => ({ dst: DEFAULT_ROUTES[family], gw: gateway })),
    ],
    dns: dns ?? (isJsonObject(prevResult?.['dns']) ? prevResult['dns'] : {}),
  };
}

/** Versions 0.1.0 and 0.2.0 have one address per family and no interfaces. */
function formatFirstShape(
  version: CniVersion,
  addresses: readonly OwnAddress[],
  dns: JsonObject | undefined,
): JsonObject {
  const entries = addresses.map(({ family, cidr, gateway }): [string, JsonObject] => [
    `ip${family}`,
    { ip: cidr, gateway, routes: [{ dst: DEFAULT_ROUTES[family], gw: gateway }] },
  ]);
  return { cniVersion: version, ...Object.fromEntries(entries), dns: dns ?? {} };
}

/** Before 1.0.0 an address has a `version` field. */
function fitAddress(ip: unknown, version: CniVersion): unknown {
  if (!isJsonObject(ip)) return ip;
  const { version: _, ...rest } = ip;
  if (isAtLeast(version, '1.0.0')) return rest;
  return { version: String(ip['address']).includes(':') ? '6' : '4', ...rest };
}

/** Throws `precondition` if `prevResult` lacks what ADD answered for this attachment. */
export function checkPrevResult(attachment: Attachment, prevResult: JsonObject): void {
  const interfaces = listOf(prevResult, 'interfaces');
  const position = interfaces.findIndex(
    (entry) => anyCase(entry, 'name') === attachment.ifname && (anyCase(entry, 'sandbox') ?? '') !== '',
  );
  if (position < 0) {
    throw new Fault('precondition', `prevResult has no interface ${attachment.ifname} in a sandbox`);
  }
  const listed = listOf(prevResult, 'ips')
    .filter((ip) => anyCase(ip, 'interface') === position)
    .map((ip) => String(anyCase(ip, 'address')).split('/')[0] ?? '')
    .map((text) => parseAddress(text));
  for (const text of attachment.addresses) {
    const own = parseAddress(text);
    if (listed.some((other) => other?.family === own?.family && other?.value === own?.value)) continue;
    throw new Fault('precondition', `prevResult lacks address ${text} of ${attachment.ifname}`);
  }
}

function listOf(result: JsonObject | undefined, key: string): readonly unknown[] {
  return items(anyCase(result, key)) ?? [];
}
