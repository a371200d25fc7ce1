import { describe, expect, it } from 'vitest';
import { PROBE_BYTES, probeFilesystem, probeSignature } from './filesystem-probe.ts';

const empty = (): Buffer => Buffer.alloc(PROBE_BYTES);
const tail = Buffer.alloc(4096);

function xfs(): Buffer {
  const head = empty();
  head.write('XFSB', 0, 'latin1');
  head.writeUInt32BE(4096, 4);
  head.writeBigUInt64BE(76_800n, 8);
  return head;
}

function btrfs(): Buffer {
  const head = empty();
  head.write('_BHRfS_M', 65_536 + 0x40, 'latin1');
  head.writeBigUInt64LE(1n << 30n, 65_536 + 0x70);
  return head;
}

function ext4({ wide = false } = {}): Buffer {
  const head = empty();
  head.writeUInt16LE(0xef53, 1024 + 0x38);
  head.writeUInt32LE(16_384, 1024 + 4);
  head.writeUInt32LE(2, 1024 + 0x18);
  head.writeUInt32LE(wide ? 0x80 : 0, 1024 + 0x60);
  head.writeUInt32LE(1, 1024 + 0x150);
  return head;
}

describe('probeFilesystem', () => {
  it.each([
    ['xfs', xfs(), 'xfs', 76_800n * 4096n],
    ['btrfs', btrfs(), 'btrfs', 1n << 30n],
    ['ext4', ext4(), 'ext4', 64n << 20n],
    ['ext4 with 64 bit', ext4({ wide: true }), 'ext4', (64n << 20n) + (1n << 44n)],
  ] as const)('reads type and size of %s', (_, head, type, sizeBytes) => {
    expect(probeFilesystem(head)).toEqual({ type, sizeBytes });
  });

  it('finds nothing in zeros, and nothing in a file that is too short', () => {
    expect(probeFilesystem(empty())).toBeUndefined();
    expect(probeFilesystem(Buffer.alloc(10))).toBeUndefined();
  });
});

describe('probeSignature', () => {
  it('takes a device as empty only if its head and tail are', () => {
    expect(probeSignature(empty(), tail)).toBeUndefined();
    expect(probeSignature(empty(), Buffer.from([...tail.subarray(1), 1]))).toBe('data');
    const head = empty();
    head[50_000] = 7;
    expect(probeSignature(head, tail)).toBe('data');
  });

  it.each([
    ['LUKS', 0, 'LUKS\xba\xbe'],
    ['GPT', 512, 'EFI PART'],
    ['LVM physical volume', 512, 'LABELONE'],
    ['Linux RAID (1.2)', 4096, '\xfc\x4e\x2b\xa9'],
    ['swap', 4086, 'SWAPSPACE2'],
  ])('recognises %s', (name, offset, bytes) => {
    const head = empty();
    head.write(bytes, offset, 'latin1');
    expect(probeSignature(head, tail)).toBe(name);
  });

  it.each([
    ['xfs', xfs()],
    ['btrfs', btrfs()],
    ['ext4', ext4()],
  ])('recognises %s', (name, head) => {
    expect(probeSignature(head, tail)).toBe(name);
  });
});
