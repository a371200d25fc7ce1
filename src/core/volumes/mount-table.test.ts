import { expect, it } from 'vitest';
import { isWithin, parseMountTable } from './mount-table.ts';

it('reads path, source and options, with and without optional fields', () => {
  const text = [
    '36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue',
    '40 35 0:50 / /a\\040b\\134c ro,relatime shared:5 master:1 - btrfs /dev/loop0 rw',
    '41 35 0:51 / /plain rw - tmpfs none rw',
    '',
  ].join('\n');
  expect(parseMountTable(text)).toEqual([
    {
      device: '98:0',
      mountPoint: '/mnt2',
      root: '/mnt1',
      type: 'ext3',
      source: '/dev/root',
      options: ['rw', 'noatime'],
      filesystemOptions: ['rw', 'errors=continue'],
    },
    {
      device: '0:50',
      mountPoint: '/a b\\c',
      root: '/',
      type: 'btrfs',
      source: '/dev/loop0',
      options: ['ro', 'relatime'],
      filesystemOptions: ['rw'],
    },
    {
      device: '0:51',
      mountPoint: '/plain',
      root: '/',
      type: 'tmpfs',
      source: 'none',
      options: ['rw'],
      filesystemOptions: ['rw'],
    },
  ]);
});

it('reads a path beyond ASCII', () => {
  expect(parseMountTable('1 0 0:1 / /größe\\011x rw - tmpfs none rw')[0]?.mountPoint).toBe('/größe\tx');
});

it.each([
  ['/a/b', '/a/b', true],
  ['/a/b/c', '/a/b', true],
  ['/a/bc', '/a/b', false],
  ['/a', '/a/b', false],
])('%s lies within %s: %s', (path, directory, expected) => {
  expect(isWithin(path, directory)).toBe(expected);
});
