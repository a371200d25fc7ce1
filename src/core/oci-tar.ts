import { Fault } from './fault.ts';

/**
 * One member of a tar archive; owned by root, dated at the epoch so that the same content gives the
 * same bytes.
 */
export type TarEntry =
  | { readonly type: 'file'; readonly path: string; readonly mode: number; readonly data: Uint8Array }
  | { readonly type: 'directory'; readonly path: string; readonly mode: number }
  | { readonly type: 'symlink'; readonly path: string; readonly target: string };

const BLOCK = 512;
/** POSIX.1-2017 pax, "ustar Interchange Format": the widths of the name and linkname fields. */
const MAX_NAME = 100;
const TYPE_FLAG = { file: '0', symlink: '2', directory: '5' } as const;

/**
 * A ustar archive of `entries`, in their order. Throws `invalid` for a path or target that has more
 * than 100 bytes.
 */
export function encodeTar(entries: readonly TarEntry[]): Buffer {
  const blocks: Uint8Array[] = [];
  for (const entry of entries) {
    blocks.push(header(entry));
    if (entry.type !== 'file') continue;
    blocks.push(entry.data);
    const partial = entry.data.length % BLOCK;
    if (partial !== 0) blocks.push(Buffer.alloc(BLOCK - partial));
  }
  blocks.push(Buffer.alloc(2 * BLOCK));
  return Buffer.concat(blocks);
}

function header(entry: TarEntry): Buffer {
  const block = Buffer.alloc(BLOCK);
  const path = entry.type === 'directory' ? `${entry.path}/` : entry.path;
  const target = entry.type === 'symlink' ? entry.target : '';
  for (const name of [path, target]) {
    if (Buffer.byteLength(name) > MAX_NAME) {
      throw new Fault('invalid', `${name} has more than the ${MAX_NAME} bytes that a ustar header holds`);
    }
  }
  block.write(path, 0);
  block.write(octal(entry.type === 'symlink' ? 0o777 : entry.mode, 8), 100);
  block.write(octal(0, 8), 108);
  block.write(octal(0, 8), 116);
  block.write(octal(entry.type === 'file' ? entry.data.length : 0, 12), 124);
  block.write(octal(0, 12), 136);
  block.write(' '.repeat(8), 148);
  block.write(TYPE_FLAG[entry.type], 156);
  block.write(target, 157);
  block.write('ustar\0' + '00', 257);
  block.write('root', 265);
  block.write('root', 297);
  // The checksum is the sum of all bytes with its own field read as spaces.
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, '0')}\0`;
}
