import { addressBits, addressFromBytes, type Cidr, formatAddress } from '../../../src/core/network/cidr.ts';
import { decodeAttributes, formatMac, LITTLE_ENDIAN, readText, readU32, viewOf } from './attributes.ts';
import * as k from './constants.ts';
import type { Message } from './message.ts';

export interface LinkState {
  readonly index: number;
  readonly name: string;
  readonly up: boolean;
  readonly mtu: number;
  readonly mac: string;
  readonly alias: string | undefined;
}

interface AddressState {
  readonly index: number;
  /** Canonical text without prefix. */
  readonly address: string;
  readonly prefix: number;
}

export interface RouteState {
  readonly destination: Cidr;
  readonly index: number | undefined;
  readonly gateway: string | undefined;
  readonly protocol: number;
  readonly type: number;
  readonly priority: number | undefined;
}

interface NeighbourState {
  readonly index: number;
  readonly address: string;
  readonly mac: string;
  readonly permanent: boolean;
}

export function decodeLink({ payload }: Message): LinkState {
  const view = viewOf(payload);
  const attributes = decodeAttributes(payload.subarray(16));
  return {
    index: view.getInt32(4, LITTLE_ENDIAN),
    name: readText(attributes.get(k.IFLA_IFNAME)) ?? '',
    up: (view.getUint32(8, LITTLE_ENDIAN) & k.IFF_UP) !== 0,
    mtu: readU32(attributes.get(k.IFLA_MTU)) ?? 0,
    mac: formatMac(attributes.get(k.IFLA_ADDRESS) ?? new Uint8Array()),
    alias: readText(attributes.get(k.IFLA_IFALIAS)),
  };
}

/** Returns the address; undefined for a family other than IPv4 and IPv6. */
export function decodeAddress({ payload }: Message): AddressState | undefined {
  const attributes = decodeAttributes(payload.subarray(8));
  const bytes = attributes.get(k.IFA_LOCAL) ?? attributes.get(k.IFA_ADDRESS);
  if (bytes === undefined || !isIp(payload[0])) return undefined;
  return {
    index: viewOf(payload).getUint32(4, LITTLE_ENDIAN),
    address: formatAddress(addressFromBytes(bytes)),
    prefix: payload[1] ?? 0,
  };
}

/** Returns a route of the main table; undefined for other tables. */
export function decodeRoute({ payload }: Message): RouteState | undefined {
  const [af, prefix = 0, , , table, protocol = 0, , type = 0] = payload;
  const attributes = decodeAttributes(payload.subarray(12));
  const inTable = readU32(attributes.get(k.RTA_TABLE)) ?? table;
  if (!isIp(af) || inTable !== k.RT_TABLE_MAIN) return undefined;
  const family = af === k.AF_INET ? 4 : 6;
  const destination = attributes.get(k.RTA_DST) ?? new Uint8Array(addressBits(family) / 8);
  const gateway = attributes.get(k.RTA_GATEWAY);
  return {
    destination: { family, base: addressFromBytes(destination).value, prefix },
    index: readU32(attributes.get(k.RTA_OIF)),
    gateway: gateway && formatAddress(addressFromBytes(gateway)),
    protocol,
    type,
    priority: readU32(attributes.get(k.RTA_PRIORITY)),
  };
}

/**
 * Returns the neighbour; undefined for one without an IP address (the dump has bridge forwarding
 * entries).
 */
export function decodeNeighbour({ payload }: Message): NeighbourState | undefined {
  const attributes = decodeAttributes(payload.subarray(12));
  const destination = attributes.get(k.NDA_DST);
  if (destination === undefined || !isIp(payload[0])) return undefined;
  const view = viewOf(payload);
  return {
    index: view.getInt32(4, LITTLE_ENDIAN),
    address: formatAddress(addressFromBytes(destination)),
    mac: formatMac(attributes.get(k.NDA_LLADDR) ?? new Uint8Array()),
    permanent: (view.getUint16(8, LITTLE_ENDIAN) & k.NUD_PERMANENT) !== 0,
  };
}

function isIp(af: number | undefined): boolean {
  return af === k.AF_INET || af === k.AF_INET6;
}
