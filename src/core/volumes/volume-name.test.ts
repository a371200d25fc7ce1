import { expect, it } from 'vitest';
import { checkName, formatId, isId } from './volume-name.ts';

it.each([
  ['128 bytes', 'x'.repeat(128)],
  ['Unicode', 'größe-数据-💾'],
  ['a path, which is only a name here', '../../etc/passwd'],
  ['tab and line feed', 'a\tb\nc'],
])('allows %s', (_, name) => {
  expect(() => checkName(name, 'name')).not.toThrow();
});

it.each([
  ['nothing', ''],
  ['129 bytes', 'x'.repeat(129)],
  ['128 characters of more bytes', 'ü'.repeat(128)],
  ...['\u0000', '\u0008', '\u000b', '\u000c', '\u000e', '\u001f', '\u007f', '\u009f'].map((character) => [
    `U+${character.charCodeAt(0).toString(16)}`,
    `a${character}b`,
  ]),
])('refuses %s', (_, name) => {
  expect(() => checkName(name ?? '', 'name')).toThrow(expect.objectContaining({ kind: 'invalid' }));
});

it('recognises only ids of its own form', () => {
  expect(isId(formatId('vol', '0123456789abcdef01234567'))).toBe(true);
  for (const id of [
    '',
    'vol-',
    '../vol-0123456789abcdef01234567',
    'vol-0123456789abcdef01234567\n',
    'vol-0123456789ABCDEF01234567',
  ]) {
    expect(isId(id)).toBe(false);
  }
});
