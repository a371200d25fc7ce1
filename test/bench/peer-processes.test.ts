import { expect, test } from 'vitest';
import { parsePeerProcesses } from './peer-processes.ts';

test('processes of a peer are read with their names', () => {
  expect([...parsePeerProcesses('driver=12, provisioner=4711')]).toEqual([
    ['driver', 12],
    ['provisioner', 4711],
  ]);
});

test.each([
  ['', '""'],
  ['driver', '"driver"'],
  ['driver=0', '"driver=0"'],
  ['driver=12,=3', '"=3"'],
  ['driver=12x', '"driver=12x"'],
])('%j is refused, and the message says what was found', (text, found) => {
  expect(() => parsePeerProcesses(text)).toThrow(`PEER_PROCESSES: found ${found}, expected NAME=PID`);
});

test('a name that stands twice is refused', () => {
  expect(() => parsePeerProcesses('driver=1,driver=2')).toThrow('PEER_PROCESSES names driver twice');
});
