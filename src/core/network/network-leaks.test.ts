import { expect, it } from 'vitest';
import type { Attachment } from './attachment.ts';
import { confirmLeaks, findLeaks, NO_LEAKS, type NetworkSight } from './network-leaks.ts';

const attachment = (containerId: string): Attachment => ({
  containerId,
  ifname: 'eth0',
  network: 'net',
  netns: `/run/netns/${containerId}`,
  netnsId: '4:1',
  hostLink: `keel-${containerId}`,
  mac: '02:00:00:00:00:01',
  mtu: 1500,
  addresses: ['10.88.0.2'],
  portMappings: [],
});
const sight = (changes: Partial<NetworkSight>): NetworkSight => ({
  attachments: [attachment('a'), attachment('b')],
  links: new Set(['keel-a', 'keel-b']),
  withoutNetns: new Set(),
  containers: undefined,
  ...changes,
});

it.each<[string, Partial<NetworkSight>, string[], string[]]>([
  ['a whole node', {}, [], []],
  ['a pod whose namespace was deleted', { withoutNetns: new Set(['a/eth0']) }, ['a/eth0'], []],
  ['a pod whose link was removed', { links: new Set(['keel-b']) }, ['a/eth0'], []],
  ['a link without attachment', { links: new Set(['keel-a', 'keel-b', 'keel-x']) }, [], ['keel-x']],
  [
    'a container that the runtime still knows',
    { withoutNetns: new Set(['a/eth0']), containers: new Set(['a']) },
    [],
    [],
  ],
  [
    'a container that the runtime no longer knows',
    { withoutNetns: new Set(['a/eth0']), containers: new Set(['b']) },
    ['a/eth0'],
    [],
  ],
  ['a container that is unknown but has its namespace', { containers: new Set() }, [], []],
])('in %s, leaks are found rightly', (_, changes, attachments, links) => {
  expect(findLeaks(sight(changes))).toEqual({ attachments: new Set(attachments), links: new Set(links) });
});

it('only what two sights in a row agree on is a leak', () => {
  const first = findLeaks(sight({ withoutNetns: new Set(['a/eth0', 'b/eth0']) }));
  const second = findLeaks(sight({ withoutNetns: new Set(['b/eth0']) }));
  expect(confirmLeaks(NO_LEAKS, first).attachments.size).toBe(0);
  expect([...confirmLeaks(first, second).attachments]).toEqual(['b/eth0']);
});
