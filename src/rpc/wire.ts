import { Fault } from '../core/fault.ts';

/**
 * Protobuf at wire level (protobuf encoding spec): reads and patches single fields and copies every
 * other byte, so that unknown fields, their order, and strings that are not UTF-8 all survive.
 */
export interface WireField {
  readonly number: number;
  readonly wireType: WireType;
  /** Of the tag's first byte. */
  readonly start: number;
  /** Of the payload: after the tag, and for LEN after the length. */
  readonly valueStart: number;
  /** After the payload; for a group after its end tag. */
  readonly end: number;
}

export const WireType = { varint: 0, i64: 1, len: 2, startGroup: 3, endGroup: 4, i32: 5 } as const;
export type WireType = (typeof WireType)[keyof typeof WireType];

/** As the reference implementations: deeper groups are refused. */
const MAX_GROUP_DEPTH = 100;
const MAX_FIELD_NUMBER = 2 ** 29 - 1;

/** Returns the fields of one message in their order. Throws `invalid` for invalid bytes. */
export function readFields(message: Uint8Array): WireField[] {
  const fields: WireField[] = [];
  for (let offset = 0; offset < message.length; ) {
    const field = readField(message, offset, 0);
    if (field.wireType === WireType.endGroup) throw malformed(offset, 'a group ends without a start');
    fields.push(field);
    offset = field.end;
  }
  return fields;
}

/** Returns the payload of a field without copying it. */
export function valueOf(message: Uint8Array, field: WireField): Uint8Array {
  return message.subarray(field.valueStart, field.end);
}

/**
 * Returns the embedded message in field `number`; undefined when absent. Several occurrences merge,
 * which in protobuf is the concatenation of their payloads.
 */
export function readMessage(message: Uint8Array, number: number): Uint8Array | undefined {
  const parts = readFields(message).filter((field) => isLen(field, number));
  if (parts.length <= 1) return parts[0] && valueOf(message, parts[0]);
  return Buffer.concat(parts.map((field) => valueOf(message, field)));
}

/** Returns the last occurrence of a string or bytes field, as decoders do. */
function readBytes(message: Uint8Array, number: number): Uint8Array | undefined {
  const last = readFields(message).findLast((field) => isLen(field, number));
  return last && valueOf(message, last);
}

/**
 * For comparing and showing only: bytes that are not UTF-8 are replaced, so the text must never be
 * written back.
 */
export function readText(message: Uint8Array, number: number): string {
  return text(readBytes(message, number));
}

/**
 * Returns a `map<string, string>` field (or repeated {key = 1, value = 2}) as text; the last entry
 * of a key wins.
 */
export function readTextMap(message: Uint8Array, number: number): Map<string, string> {
  const entries = readFields(message).filter((field) => isLen(field, number));
  return new Map(
    entries.map((field) => {
      const entry = valueOf(message, field);
      return [readText(entry, 1), readText(entry, 2)];
    }),
  );
}

/**
 * Replaces the embedded message in field `number` by the result of `edit`; an absent one is edited
 * as an empty message and appended when the result is not empty. Occurrences that merge become one,
 * at the first position.
 */
export function editMessage(
  message: Uint8Array,
  number: number,
  edit: (inner: Uint8Array) => Uint8Array,
): Uint8Array {
  const before = readMessage(message, number);
  const after = edit(before ?? new Uint8Array());
  if (after === before || (before === undefined && after.length === 0)) return message;
  return replaceFields(message, (field) => isLen(field, number), encodeLen(number, after));
}

/** Sets an integer field to `value`: in place, or at the end when absent. */
export function setVarint(message: Uint8Array, number: number, value: bigint): Uint8Array {
  const encoded = Buffer.concat([
    encodeTag(number, WireType.varint),
    encodeVarint(BigInt.asUintN(64, value)),
  ]);
  return replaceFields(message, (field) => field.number === number, encoded);
}

/** Sets a string or bytes field. */
export function setBytes(message: Uint8Array, number: number, value: Uint8Array): Uint8Array {
  return replaceFields(message, (field) => isLen(field, number), encodeLen(number, value));
}

export interface EntryEdit {
  readonly set: ReadonlyMap<string, string>;
  readonly remove: ReadonlySet<string>;
}

/**
 * Sets and removes entries of a `map<string, string>` or of repeated {key = 1, value = 2}. An
 * existing key keeps its position and the other fields of its entry; new keys are appended;
 * untouched entries, duplicates included, stay byte for byte.
 */
export function editEntries(message: Uint8Array, number: number, { set, remove }: EntryEdit): Uint8Array {
  const parts: Uint8Array[] = [];
  const written = new Set<string>();
  const bytesSet = new Map([...set].map(([key, value]) => [latin1(Buffer.from(key)), Buffer.from(value)]));
  const bytesRemove = new Set([...remove].map((key) => latin1(Buffer.from(key))));
  let changed = false;
  for (const field of readFields(message)) {
    const entry = isLen(field, number) ? valueOf(message, field) : undefined;
    const key = entry && latin1(readBytes(entry, 1) ?? new Uint8Array());
    const value = key === undefined ? undefined : bytesSet.get(key);
    if (entry !== undefined && key !== undefined && value !== undefined) {
      changed = true;
      if (!written.has(key)) parts.push(encodeLen(number, setBytes(entry, 2, value)));
      written.add(key);
    } else if (key !== undefined && bytesRemove.has(key)) {
      changed = true;
    } else {
      parts.push(message.subarray(field.start, field.end));
    }
  }
  for (const [key, value] of bytesSet) {
    if (written.has(key)) continue;
    changed = true;
    const entry = Buffer.concat([encodeLen(1, Buffer.from(key, 'latin1')), encodeLen(2, value)]);
    parts.push(encodeLen(number, entry));
  }
  return changed ? Buffer.concat(parts) : message;
}

/** Encodes a length-delimited field with its tag. */
export function encodeLen(number: number, payload: Uint8Array): Uint8Array {
  return Buffer.concat([encodeTag(number, WireType.len), encodeVarint(BigInt(payload.length)), payload]);
}

/** Encodes a field's tag. */
export function encodeTag(number: number, wireType: WireType): Uint8Array {
  return encodeVarint((BigInt(number) << 3n) | BigInt(wireType));
}

/** Encodes an unsigned value as a base-128 varint. */
export function encodeVarint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest === 0n ? low : low | 0x80);
  } while (rest !== 0n);
  return Uint8Array.from(bytes);
}

/**
 * Puts `encoded` at the first matching field and drops the others; appends it when none matches.
 */
function replaceFields(
  message: Uint8Array,
  matches: (field: WireField) => boolean,
  encoded: Uint8Array,
): Uint8Array {
  const parts: Uint8Array[] = [];
  let placed = false;
  for (const field of readFields(message)) {
    if (!matches(field)) parts.push(message.subarray(field.start, field.end));
    else if (!placed) {
      parts.push(encoded);
      placed = true;
    }
  }
  if (!placed) parts.push(encoded);
  return Buffer.concat(parts);
}

function readField(message: Uint8Array, start: number, depth: number): WireField {
  const tag = readVarint(message, start);
  const number = Number(tag.value >> 3n);
  const wireType = Number(tag.value & 7n);
  if (number < 1 || number > MAX_FIELD_NUMBER) throw malformed(start, `field number ${number}`);
  const field = (type: WireType, valueStart: number, end: number): WireField => {
    if (end > message.length) throw malformed(start, 'a field is truncated');
    return { number, wireType: type, start, valueStart, end };
  };
  switch (wireType) {
    case WireType.varint:
      return field(WireType.varint, tag.end, readVarint(message, tag.end).end);
    case WireType.i64:
      return field(WireType.i64, tag.end, tag.end + 8);
    case WireType.i32:
      return field(WireType.i32, tag.end, tag.end + 4);
    case WireType.len: {
      const length = readVarint(message, tag.end);
      if (length.value > BigInt(message.length)) throw malformed(start, 'a field is truncated');
      return field(WireType.len, length.end, length.end + Number(length.value));
    }
    case WireType.startGroup:
      return field(WireType.startGroup, tag.end, endOfGroup(message, tag.end, number, depth + 1));
    case WireType.endGroup:
      return field(WireType.endGroup, tag.end, tag.end);
    default:
      throw malformed(start, `wire type ${wireType}`);
  }
}

function endOfGroup(message: Uint8Array, start: number, number: number, depth: number): number {
  if (depth > MAX_GROUP_DEPTH) throw malformed(start, 'groups are nested too deeply');
  for (let offset = start; offset < message.length; ) {
    const field = readField(message, offset, depth);
    offset = field.end;
    if (field.wireType !== WireType.endGroup) continue;
    if (field.number === number) return offset;
    throw malformed(field.start, 'a group ends without a start');
  }
  throw malformed(start, 'a group has no end');
}

function readVarint(message: Uint8Array, start: number): { readonly value: bigint; readonly end: number } {
  let value = 0n;
  for (let index = 0; index < 10; index += 1) {
    const byte = message[start + index];
    if (byte === undefined) throw malformed(start, 'a varint is truncated');
    value |= BigInt(byte & 0x7f) << BigInt(7 * index);
    if (byte < 0x80) return { value: BigInt.asUintN(64, value), end: start + index + 1 };
  }
  throw malformed(start, 'a varint is longer than 10 bytes');
}

function isLen(field: WireField, number: number): boolean {
  return field.number === number && field.wireType === WireType.len;
}

function text(bytes: Uint8Array | undefined): string {
  return bytes === undefined
    ? ''
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
}

/** One character per byte, so that keys compare as bytes. */
function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

function malformed(offset: number, what: string): Fault {
  return new Fault('invalid', `the message is not valid protobuf: ${what} at byte ${offset}`, {
    fields: { offset },
  });
}
