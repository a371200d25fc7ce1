import { expect, test } from 'vitest';
import {
  editEntries,
  editMessage,
  encodeLen,
  encodeTag,
  encodeVarint,
  readFields,
  readMessage,
  readText,
  readTextMap,
  setBytes,
  setVarint,
  WireType,
} from './wire.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'hex');

/** Reproducible: a failure names its seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

type Random = (below: number) => number;

function randomBytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random(256));
}

/**
 * A field of a number that no test edits, of any wire type; varints may be longer than they need
 * be.
 */
function unknownField(random: Random, depth = 0): Uint8Array {
  const number = 100 + random(2 ** 20);
  switch (random(depth > 2 ? 4 : 5)) {
    case 0:
      return Buffer.concat([
        encodeTag(number, WireType.varint),
        random(2) === 0 ? encodeVarint(BigInt(random(2 ** 31)) << BigInt(random(33))) : bytesOf('8180808000'),
      ]);
    case 1:
      return Buffer.concat([encodeTag(number, WireType.i64), randomBytes(random, 8)]);
    case 2:
      return Buffer.concat([encodeTag(number, WireType.i32), randomBytes(random, 4)]);
    case 3:
      return encodeLen(number, randomBytes(random, random(300)));
    default:
      return Buffer.concat([
        encodeTag(number, WireType.startGroup),
        ...Array.from({ length: random(4) }, () => unknownField(random, depth + 1)),
        encodeTag(number, WireType.endGroup),
      ]);
  }
}

const entryOf = (key: Uint8Array, value: Uint8Array, extra: Uint8Array = new Uint8Array()): Uint8Array =>
  Buffer.concat([encodeLen(1, key), extra, encodeLen(2, value)]);

test('reading tells number, type and place of every field', () => {
  const message = bytesOf('089601' + '1203616263' + '1d00000000' + '210000000000000000' + '2b08012c');
  expect(
    readFields(message).map(({ number, wireType, start, end }) => [number, wireType, start, end]),
  ).toEqual([
    [1, 0, 0, 3],
    [2, 2, 3, 8],
    [3, 5, 8, 13],
    [4, 1, 13, 22],
    [5, 3, 22, 26],
  ]);
});

test.each([
  ['a varint without its end', '0896'],
  ['a varint of eleven bytes', '08ffffffffffffffffffff01'],
  ['a length beyond the end', '120561'],
  ['a length beyond any memory', '12ffffffffffffffff7f'],
  ['a fixed field that is cut off', '0d0000'],
  ['field number 0', '0001'],
  ['wire type 7', '0f'],
  ['a group without its end', '0b0801'],
  ['a group that ends with another number', '0b0801' + '14'],
  ['a group end alone', '0c'],
  ['groups nested without end', '0b'.repeat(5_000)],
])('%s is refused', (_name, message) => {
  expect(() => readFields(bytesOf(message))).toThrow('the message is not valid protobuf');
});

test('messages of random bytes are read or refused, never anything else', () => {
  const random = randomOf(7);
  for (let round = 0; round < 3_000; round += 1) {
    const message = randomBytes(random, random(40));
    try {
      expect(readFields(message).at(-1)?.end ?? 0).toBe(message.length);
    } catch (error) {
      expect(error).toMatchObject({ name: 'Fault', kind: 'invalid' });
    }
  }
});

test('whatever surrounds and fills an edited field stays byte for byte, in random messages with unknown fields', () => {
  for (let seed = 1; seed <= 500; seed += 1) {
    const random = randomOf(seed);
    const some = (): Uint8Array =>
      Buffer.concat(Array.from({ length: random(5) }, () => unknownField(random)));
    const [a, b, c, d, e, f] = [some(), some(), some(), some(), some(), some()] as const;
    // Values that are not UTF-8, and an entry with an unknown field.
    const kept = encodeLen(6, entryOf(Buffer.from('KEEP'), randomBytes(random, random(50))));
    const build = (entry: Uint8Array, added: Uint8Array): Uint8Array =>
      Buffer.concat([a, encodeLen(2, Buffer.concat([c, kept, d, encodeLen(6, entry), kept, e, added])), b]);
    const before = build(entryOf(Buffer.from('PATH'), randomBytes(random, 20), f), new Uint8Array());
    const after = editMessage(before, 2, (inner) =>
      editEntries(inner, 6, {
        set: new Map([
          ['PATH', '/bin'],
          ['NEW', 'ü'],
        ]),
        remove: new Set(['ABSENT']),
      }),
    );
    const expected = build(
      entryOf(Buffer.from('PATH'), Buffer.from('/bin'), f),
      encodeLen(6, entryOf(Buffer.from('NEW'), Buffer.from('ü'))),
    );
    expect(hex(after), `seed ${seed}`).toBe(hex(expected));
  }
});

test('an edit that changes nothing returns the very same bytes', () => {
  const message = encodeLen(2, encodeLen(6, entryOf(Buffer.from('A'), Buffer.from('1'))));
  const same = editMessage(message, 2, (inner) =>
    editEntries(inner, 6, { set: new Map(), remove: new Set(['B']) }),
  );
  expect(same).toBe(message);
});

test('removing takes every entry of a key and no other', () => {
  const entry = (key: string, value: string): Uint8Array =>
    encodeLen(6, entryOf(Buffer.from(key), Buffer.from(value)));
  const message = Buffer.concat([entry('A', '1'), entry('B', '2'), entry('A', '3'), entry('AA', '4')]);
  const after = editEntries(message, 6, { set: new Map(), remove: new Set(['A']) });
  expect(hex(after)).toBe(hex(Buffer.concat([entry('B', '2'), entry('AA', '4')])));
});

test('a key that occurs twice is set once, where it first was', () => {
  const entry = (key: string, value: string): Uint8Array =>
    encodeLen(6, entryOf(Buffer.from(key), Buffer.from(value)));
  const message = Buffer.concat([entry('A', '1'), entry('B', '2'), entry('A', '3')]);
  const after = editEntries(message, 6, { set: new Map([['A', '9']]), remove: new Set() });
  expect(hex(after)).toBe(hex(Buffer.concat([entry('A', '9'), entry('B', '2')])));
});

test('an embedded message in two parts is read and edited as their sum', () => {
  const message = Buffer.concat([
    encodeLen(1, bytesOf('0801')),
    bytesOf('1005'),
    encodeLen(1, bytesOf('1002')),
  ]);
  expect(hex(readMessage(message, 1) ?? bytesOf('ff'))).toBe('08011002');
  const after = editMessage(message, 1, (inner) => setVarint(inner, 1, 7n));
  expect(hex(after)).toBe('0a0408071002' + '1005');
});

test('integers are set in place, negative ones as ten bytes', () => {
  expect(hex(setVarint(bytesOf('0801' + '1002' + '0803'), 1, 300n))).toBe('08ac02' + '1002');
  expect(hex(setVarint(bytesOf('1002'), 1, -1n))).toBe('1002' + '08ffffffffffffffffff01');
  expect(hex(setBytes(new Uint8Array(), 3, Buffer.from('0-3')))).toBe('1a03302d33');
});

test('the last value of a text and of a key is what is read', () => {
  expect(readText(bytesOf('0a0161' + '0a0162'), 1)).toBe('b');
  const map = Buffer.concat([
    encodeLen(6, entryOf(Buffer.from('a'), Buffer.from('1'))),
    encodeLen(6, entryOf(Buffer.from('a'), Buffer.from('2'))),
  ]);
  expect(readTextMap(map, 6)).toEqual(new Map([['a', '2']]));
});
