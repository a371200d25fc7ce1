import { endianness } from 'node:os';
import { Fault } from '../../../src/core/fault.ts';
import { NLA_F_NESTED, NLA_TYPE_MASK } from './constants.ts';

/** Netlink uses the byte order of the host. */
export const LITTLE_ENDIAN = endianness() === 'LE';

/** An attribute to encode: bytes, or nested attributes. */
export type Attribute = readonly [type: number, value: Uint8Array | readonly Attribute[]];

const HEADER_BYTES = 4;

/** Rounds up to the 4-byte alignment of netlink. */
export function align(length: number): number {
  return (length + 3) & ~3;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, value, LITTLE_ENDIAN);
  return bytes;
}

/** Encodes a NUL-terminated string, as names are. */
export function text(value: string): Uint8Array {
  return new TextEncoder().encode(`${value}\0`);
}

/** Parses `aa:bb:cc:dd:ee:ff`. */
export function macBytes(mac: string): Uint8Array {
  return Uint8Array.from(mac.split(':'), (octet) => Number.parseInt(octet, 16));
}

export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

export function encodeAttributes(attributes: readonly Attribute[]): Uint8Array {
  return concatenate(attributes.map(encodeAttribute));
}

function encodeAttribute([type, value]: Attribute): Uint8Array {
  const nested = !(value instanceof Uint8Array);
  const payload = nested ? encodeAttributes(value) : value;
  const length = HEADER_BYTES + payload.length;
  const bytes = new Uint8Array(align(length));
  const view = viewOf(bytes);
  view.setUint16(0, length, LITTLE_ENDIAN);
  view.setUint16(2, nested ? type | NLA_F_NESTED : type, LITTLE_ENDIAN);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

export function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

/**
 * Parses attributes by type, without nested flags; the last of a repeated type counts. Throws `bug`
 * for a malformed length.
 */
export function decodeAttributes(bytes: Uint8Array): ReadonlyMap<number, Uint8Array> {
  const attributes = new Map<number, Uint8Array>();
  const view = viewOf(bytes);
  for (let offset = 0; offset + HEADER_BYTES <= bytes.length; ) {
    const length = view.getUint16(offset, LITTLE_ENDIAN);
    if (length < HEADER_BYTES || offset + length > bytes.length) {
      throw new Fault('bug', `netlink attribute at ${offset} claims ${length} of ${bytes.length} bytes`);
    }
    const type = view.getUint16(offset + 2, LITTLE_ENDIAN) & NLA_TYPE_MASK;
    attributes.set(type, bytes.subarray(offset + HEADER_BYTES, offset + length));
    offset += align(length);
  }
  return attributes;
}

export function readU32(bytes: Uint8Array | undefined): number | undefined {
  return bytes === undefined || bytes.length < 4 ? undefined : viewOf(bytes).getUint32(0, LITTLE_ENDIAN);
}

export function readText(bytes: Uint8Array | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}
