import { expect, test } from 'vitest';
import { isWithin, parseMountinfo } from './mounts.ts';

test('mountinfo lines are read with and without optional fields, and with escapes', () => {
  const text =
    '23 30 0:21 / /proc rw,nosuid shared:5 - proc proc rw\n' +
    '36 35 98:0 /sub /mnt/with\\040space rw,noatime - btrfs /dev/loop0 rw,subvol=/sub\n';
  expect(parseMountinfo(text)).toEqual([
    { target: '/proc', type: 'proc', source: 'proc' },
    { target: '/mnt/with space', type: 'btrfs', source: '/dev/loop0' },
  ]);
});

test.each([
  ['/a/b', '/a/b', true],
  ['/a/b/c', '/a/b', true],
  ['/a/bc', '/a/b', false],
  ['/a', '/a/b', false],
])('%s lies within %s: %s', (path, directory, expected) => {
  expect(isWithin(path, directory)).toBe(expected);
});
