import { describe, expect, test } from 'vitest';
import { isFault } from './fault.ts';
import { encodeTar } from './oci-tar.ts';

describe('encodeTar', () => {
  const archive = encodeTar([
    { type: 'directory', path: 'etc', mode: 0o755 },
    { type: 'file', path: 'etc/motd', mode: 0o644, data: Buffer.from('ahoy\n') },
    { type: 'symlink', path: 'bin/sh', target: 'busybox' },
  ]);
  const text = (offset: number, length: number): string =>
    archive.toString('latin1', offset, offset + length).replace(/\0.*$/s, '');

  test('writes headers and contents in blocks of 512 bytes and ends with two empty ones', () => {
    expect(archive.length).toBe(512 * (1 + 2 + 1 + 2));
    expect(archive.subarray(-1024).every((byte) => byte === 0)).toBe(true);
  });

  test('names, modes, sizes and types are where ustar has them', () => {
    expect([text(0, 100), text(100, 8), text(156, 1)]).toEqual(['etc/', '0000755', '5']);
    expect([text(512, 100), text(512 + 124, 12), text(512 + 156, 1)]).toEqual([
      'etc/motd',
      '00000000005',
      '0',
    ]);
    expect([text(1536, 100), text(1536 + 156, 1), text(1536 + 157, 100)]).toEqual(['bin/sh', '2', 'busybox']);
    expect(text(257, 6)).toBe('ustar');
    expect(text(1024, 512)).toBe('ahoy\n');
  });

  test('each checksum is the sum of its header with the checksum field blank', () => {
    for (const offset of [0, 512, 1536]) {
      const header = Buffer.from(archive.subarray(offset, offset + 512));
      const written = Number.parseInt(header.toString('latin1', 148, 154), 8);
      header.fill(' ', 148, 156);
      expect(header.reduce((sum, byte) => sum + byte, 0)).toBe(written);
    }
  });

  test('a name that a ustar header cannot hold is refused', () => {
    const encode = (): Buffer => encodeTar([{ type: 'directory', path: 'x'.repeat(100), mode: 0o755 }]);
    expect(encode).toThrow(expect.toSatisfy((error: unknown) => isFault(error, 'invalid')));
  });
});
