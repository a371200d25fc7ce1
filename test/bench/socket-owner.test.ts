import { expect, test } from 'vitest';
import { parseListener } from './socket-owner.ts';

const TABLE = `Num       RefCount Protocol Flags    Type St Inode Path
ffff9c0a: 00000003 00000000 00000000 0001 03 41001 /run/driver/csi.sock
ffff9c0b: 00000002 00000000 00010000 0001 01 41000 /run/driver/csi.sock
ffff9c0c: 00000002 00000000 00010000 0001 01 42000 /run/other.sock
`;

test('the listening socket is distinguished from connected ones', () => {
  expect(parseListener(TABLE, '/run/driver/csi.sock')).toBe('41000');
  expect(parseListener(TABLE, '/run/driver')).toBeUndefined();
});
