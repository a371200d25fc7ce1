import { describe, expect, test } from 'vitest';
import { isElf, parseElf } from './elf.ts';

const HEADER = 64;
const PROGRAM_HEADER = 56;
/** Where the file's only loaded segment is in memory. */
const BASE = 0x400000;

interface Wish {
  readonly interpreter?: string;
  readonly libraries?: readonly string[];
}

/** A file that has no more than what is read of it: one loaded segment, and what is asked for. */
function elf({ interpreter, libraries }: Wish): Buffer {
  const kinds = [1, ...(interpreter === undefined ? [] : [3]), ...(libraries === undefined ? [] : [2])];
  const texts = Buffer.from(['', interpreter ?? '', ...(libraries ?? []), ''].join('\0'));
  const textsAt = HEADER + kinds.length * PROGRAM_HEADER;
  const dynamicAt = textsAt + texts.length;
  const nameOffset = (name: string): number => texts.indexOf(`\0${name}\0`) + 1;
  const tags = [
    ...(libraries ?? []).map((name) => [1, nameOffset(name)] as const),
    [5, BASE + textsAt] as const,
    [0, 0] as const,
  ];
  const file = Buffer.alloc(dynamicAt + tags.length * 16);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeBigUInt64LE(BigInt(HEADER), 0x20);
  file.writeUInt16LE(PROGRAM_HEADER, 0x36);
  file.writeUInt16LE(kinds.length, 0x38);
  for (const [index, kind] of kinds.entries()) {
    const offset = { 1: 0, 2: dynamicAt, 3: textsAt + 1 }[kind] ?? 0;
    const size = { 1: file.length, 2: tags.length * 16, 3: (interpreter ?? '').length + 1 }[kind] ?? 0;
    const at = HEADER + index * PROGRAM_HEADER;
    file.writeUInt32LE(kind, at);
    file.writeBigUInt64LE(BigInt(offset), at + 8);
    file.writeBigUInt64LE(BigInt(BASE + offset), at + 16);
    file.writeBigUInt64LE(BigInt(size), at + 32);
  }
  file.set(texts, textsAt);
  for (const [index, [tag, value]] of tags.entries()) {
    file.writeBigInt64LE(BigInt(tag), dynamicAt + index * 16);
    file.writeBigUInt64LE(BigInt(value), dynamicAt + index * 16 + 8);
  }
  return file;
}

describe('parseElf', () => {
  test.each<readonly [string, Wish, object]>([
    ['a static program needs nothing', {}, { interpreter: undefined, libraries: [] }],
    [
      'a program names its loader and its libraries',
      { interpreter: '/lib64/ld.so', libraries: ['libc.so.6', 'libm.so.6'] },
      { interpreter: '/lib64/ld.so', libraries: ['libc.so.6', 'libm.so.6'] },
    ],
    [
      'a library has no loader',
      { libraries: ['libc.so.6'] },
      { interpreter: undefined, libraries: ['libc.so.6'] },
    ],
  ])('%s', (_, wish, expected) => {
    expect(isElf(elf(wish))).toBe(true);
    expect(parseElf(elf(wish))).toEqual(expected);
  });

  test.each([
    ['a script', Buffer.from('#!/bin/sh\n'), 'found no little-endian 64-bit ELF file'],
    ['an empty file', Buffer.alloc(0), 'found no little-endian 64-bit ELF file'],
    [
      'a program of 32 bits',
      Buffer.from('\x7fELF\x01\x01', 'latin1'),
      'found no little-endian 64-bit ELF file',
    ],
    [
      'a program that is cut short',
      elf({ libraries: ['libc.so.6'] }).subarray(0, 100),
      'the ELF file is cut short',
    ],
  ])('refuses %s', (_, file, message) => {
    expect(() => parseElf(file)).toThrow(message);
  });
});
