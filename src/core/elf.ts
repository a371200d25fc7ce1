import { Fault } from './fault.ts';

/** What a 64-bit ELF file asks of the machine that runs it (elf(5)). */
export interface ElfNeeds {
  /** Path of its dynamic loader; undefined for a static program or a library. */
  readonly interpreter: string | undefined;
  /** Names of the shared libraries that the loader has to find. */
  readonly libraries: readonly string[];
}

const MAGIC = Buffer.from('\x7fELF', 'latin1');
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NULL = 0n;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly size: number;
}

/** Whether the bytes begin as an ELF file does. */
export function isElf(file: Uint8Array): boolean {
  return MAGIC.equals(file.subarray(0, MAGIC.length));
}

/**
 * Reads the needs of a program or library. Throws `invalid` for anything but a little-endian 64-bit
 * ELF file.
 */
export function parseElf(file: Buffer): ElfNeeds {
  if (!isElf(file) || file[4] !== CLASS_64 || file[5] !== LITTLE_ENDIAN) {
    throw new Fault('invalid', 'found no little-endian 64-bit ELF file');
  }
  try {
    const segments = readSegments(file);
    const interpreter = segments.find(({ type }) => type === PT_INTERP);
    return {
      interpreter: interpreter === undefined ? undefined : readString(file, interpreter.offset),
      libraries: readLibraries(file, segments),
    };
  } catch (error) {
    throw new Fault('invalid', 'the ELF file is cut short', { cause: error });
  }
}

function readSegments(file: Buffer): Segment[] {
  const table = Number(file.readBigUInt64LE(0x20));
  const entrySize = file.readUInt16LE(0x36);
  const entries = file.readUInt16LE(0x38);
  return Array.from({ length: entries }, (_, index) => {
    const at = table + index * entrySize;
    return {
      type: file.readUInt32LE(at),
      offset: Number(file.readBigUInt64LE(at + 8)),
      address: Number(file.readBigUInt64LE(at + 16)),
      size: Number(file.readBigUInt64LE(at + 32)),
    };
  });
}

function readLibraries(file: Buffer, segments: readonly Segment[]): string[] {
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  if (dynamic === undefined) return [];
  const needed: number[] = [];
  let strings: number | undefined;
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += 16) {
    const tag = file.readBigInt64LE(at);
    const value = Number(file.readBigUInt64LE(at + 8));
    if (tag === DT_NULL) break;
    if (tag === DT_NEEDED) needed.push(value);
    if (tag === DT_STRTAB) strings = offsetOf(value, segments);
  }
  return strings === undefined ? [] : needed.map((name) => readString(file, (strings ?? 0) + name));
}

/** Where in the file the byte is that is loaded at `address`. */
function offsetOf(address: number, segments: readonly Segment[]): number | undefined {
  const segment = segments.find(
    ({ type, address: start, size }) => type === PT_LOAD && address >= start && address < start + size,
  );
  return segment === undefined ? undefined : address - segment.address + segment.offset;
}

function readString(file: Buffer, offset: number): string {
  return file.toString('latin1', offset, file.indexOf(0, offset));
}
