import { describe, expect, it } from 'vitest';
import type { Attachment } from './attachment.ts';
import { isFault } from '../fault.ts';
import { parseCidrs } from './ipam-ranges.ts';
import { canonicalListing } from './nft-listing.ts';
import { checkHostPorts, renderHostPorts, renderNetworkTable } from './nft-network.ts';

const pod = {
  addresses: ['10.88.0.2', 'fd00::2'],
  portMappings: [
    { protocol: 'tcp', hostPort: 8080, containerPort: 80 },
    { protocol: 'udp', hostPort: 53, containerPort: 5353, hostIp: '192.0.2.2' },
  ],
} as const;

describe('the table', () => {
  const table = renderNetworkTable({
    ranges: parseCidrs('ranges', ['10.88.0.0/24', 'fd00::/64']),
    exclusions: parseCidrs('exclusions', ['10.0.0.0/8']),
    attachments: [pod, { addresses: ['10.88.0.3'], portMappings: [] }],
  });
  const setOf = (name: string): string =>
    new RegExp(`(?:set|map) ${name} \\{\\s+([^\\n]*)`).exec(table)?.[1] ?? 'no such set';

  it('is replaced in one transaction, whether or not it is there', () => {
    expect(table.split('\n').slice(0, 3)).toEqual([
      'add table inet keelson_network',
      'delete table inet keelson_network',
      'table inet keelson_network {',
    ]);
  });

  it.each([
    ['pods4', 'type ipv4_addr; flags interval; auto-merge; elements = { 10.88.0.0/24 }'],
    ['direct4', 'type ipv4_addr; flags interval; auto-merge; elements = { 10.88.0.0/24, 10.0.0.0/8 }'],
    ['direct6', 'type ipv6_addr; flags interval; auto-merge; elements = { fd00::/64 }'],
    [
      'ports4',
      'type inet_proto . inet_service : ipv4_addr . inet_service; elements = { tcp . 8080 : 10.88.0.2 . 80 }',
    ],
    [
      'ports6',
      'type inet_proto . inet_service : ipv6_addr . inet_service; elements = { tcp . 8080 : fd00::2 . 80 }',
    ],
    [
      'ports_at4',
      'type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; elements = { 192.0.2.2 . udp . 53 : 10.88.0.2 . 5353 }',
    ],
    ['ports_at6', 'type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service;'],
    ['hairpin4', 'type ipv4_addr . ipv4_addr; elements = { 10.88.0.2 . 10.88.0.2 }'],
  ])('holds %s', (name, content) => {
    expect(setOf(name)).toBe(content);
  });

  it('counts pods that keep an address of former ranges among the pods', () => {
    const former = renderNetworkTable({
      ranges: parseCidrs('ranges', ['10.88.1.0/24']),
      exclusions: [],
      attachments: [pod],
    });
    expect(former).toContain('elements = { 10.88.1.0/24, 10.88.0.2/32 }');
    expect(former).toContain('elements = { fd00::2/128 }');
  });

  it('sends to host ports only what is addressed to the node', () => {
    const jumps = table.split('\n').filter((line) => line.includes('jump hostports'));
    expect(jumps).toHaveLength(2);
    for (const jump of jumps) expect(jump).toContain('fib daddr type local');
  });
});

describe('the elements of one pod', () => {
  it('are added and deleted one by one', () => {
    expect(renderHostPorts('add', pod).trim().split('\n')).toEqual([
      'add element inet keelson_network ports4 { tcp . 8080 : 10.88.0.2 . 80 }',
      'add element inet keelson_network ports_at4 { 192.0.2.2 . udp . 53 : 10.88.0.2 . 5353 }',
      'add element inet keelson_network hairpin4 { 10.88.0.2 . 10.88.0.2 }',
      'add element inet keelson_network ports6 { tcp . 8080 : fd00::2 . 80 }',
      'add element inet keelson_network hairpin6 { fd00::2 . fd00::2 }',
    ]);
    expect(renderHostPorts('delete', { ...pod, portMappings: [] })).toBe('');
  });
});

describe('a host port', () => {
  const held = {
    ...pod,
    containerId: 'c1',
    pod: { namespace: 'team-a', name: 'web-0' },
  } as unknown as Attachment;

  it.each([
    ['the same port', { protocol: 'tcp', hostPort: 8080, containerPort: 1 }, true],
    [
      'the same port of one address',
      { protocol: 'tcp', hostPort: 8080, containerPort: 1, hostIp: '192.0.2.9' },
      true,
    ],
    ['a port of another protocol', { protocol: 'udp', hostPort: 8080, containerPort: 1 }, false],
    [
      'a port of another address',
      { protocol: 'udp', hostPort: 53, containerPort: 1, hostIp: '192.0.2.9' },
      false,
    ],
    ['a port that is held at one address', { protocol: 'udp', hostPort: 53, containerPort: 1 }, true],
  ] as const)('%s clashes: %#', (_, wanted, clashes) => {
    let error: unknown;
    try {
      checkHostPorts([wanted], [held]);
    } catch (caught) {
      error = caught;
    }
    expect(isFault(error, 'conflict')).toBe(clashes);
    if (isFault(error)) expect(error.message).toContain('is in use by pod team-a/web-0');
  });
});

describe('a listing', () => {
  const listing = (handle: number, elem: unknown[], rules: unknown[]): unknown => ({
    nftables: [
      { metainfo: { version: `1.0.${handle}` } },
      { set: { name: 'pods4', handle, elem } },
      ...rules.map((expr) => ({ rule: { handle, expr } })),
    ],
  });

  it('is the same whatever its handles and the order of its elements', () => {
    expect(canonicalListing(listing(1, ['a', 'b'], ['x', 'y']))).toBe(
      canonicalListing(listing(7, ['b', 'a'], ['x', 'y'])),
    );
  });

  it.each([
    ['an element is missing', listing(1, ['a'], ['x', 'y'])],
    ['a rule is missing', listing(1, ['a', 'b'], ['x'])],
    ['rules are in another order', listing(1, ['a', 'b'], ['y', 'x'])],
  ])('is another when %s', (_, other) => {
    expect(canonicalListing(other)).not.toBe(canonicalListing(listing(1, ['a', 'b'], ['x', 'y'])));
  });
});
