import { describe, expect, it } from 'vitest';
import { formatCidr, parseCidr } from './cidr.ts';
import { parseCidrs } from './ipam-ranges.ts';
import { type Peer, type PeerRouteFacts, planPeerRoutes } from './peer-routes.ts';

const addresses = [
  { index: 2, address: '192.0.2.1', prefix: 24 },
  { index: 2, address: '2001:db8::1', prefix: 64 },
  { index: 3, address: '192.0.2.130', prefix: 25 },
];
const peer = (name: string, ranges: string[], own: string[]): Peer => ({ name, ranges, addresses: own });
const facts = (peers: readonly Peer[], rest: Partial<PeerRouteFacts> = {}): PeerRouteFacts => ({
  peers,
  ranges: parseCidrs('ranges', ['10.88.0.0/24', 'fd00:88::/64']),
  addresses,
  present: [],
  ...rest,
});
const route = (range: string, gateway: string, index: number) => {
  const destination = parseCidr(range);
  if (destination === undefined) throw new Error(range);
  return { destination, gateway, index };
};

describe('routes to other nodes', () => {
  it('lead over the link whose network holds the node, the narrowest of several, in each family', () => {
    const { add, remove, problems } = planPeerRoutes(
      facts([
        peer('b', ['10.88.1.0/24', 'fd00:89::/64'], ['192.0.2.2', '2001:db8::2']),
        peer('c', ['10.88.2.0/24'], ['192.0.2.140']),
      ]),
    );
    expect(add.map(({ destination, gateway, index }) => [formatCidr(destination), gateway, index])).toEqual([
      ['10.88.1.0/24', '192.0.2.2', 2],
      ['fd00:89::/64', '2001:db8::2', 2],
      ['10.88.2.0/24', '192.0.2.140', 3],
    ]);
    expect([remove, problems]).toEqual([[], []]);
  });

  it('stay when they are right; those of deleted or moved nodes are removed', () => {
    const { add, remove } = planPeerRoutes(
      facts(
        [
          peer('b', ['10.88.1.0/24'], ['192.0.2.2']),
          peer('c', ['10.88.2.0/24'], ['192.0.2.9']),
          peer('d', ['10.88.3.0/24'], ['192.0.2.4']),
        ],
        {
          present: [
            route('10.88.1.0/24', '192.0.2.2', 2),
            route('10.88.2.0/24', '192.0.2.3', 2),
            route('10.88.9.0/24', '192.0.2.8', 2),
          ],
        },
      ),
    );
    expect(add.map(({ destination }) => formatCidr(destination))).toEqual(['10.88.2.0/24', '10.88.3.0/24']);
    expect(remove.map(({ destination }) => formatCidr(destination))).toEqual([
      '10.88.2.0/24',
      '10.88.9.0/24',
    ]);
  });

  it.each([
    [
      'on another network',
      ['10.88.1.0/24'],
      ['198.51.100.7'],
      /198.51.100.7 is not on any network of this node/,
    ],
    ['without an address of the family', ['fd00:89::/64'], ['192.0.2.2'], /no IPv6 InternalIP/],
    ['with our range', ['10.88.0.128/25'], ['192.0.2.2'], /overlaps 10.88.0.0\/24 of this node/],
    ['with a range that holds this node', ['192.0.0.0/16'], ['192.0.2.2'], /contains 192.0.2.1/],
    ['with all addresses there are', ['0.0.0.0/0'], ['192.0.2.2'], /overlaps 10.88.0.0\/24/],
    ['with nonsense', ['pods'], ['192.0.2.2'], /"pods" is not an address range/],
    ['with our own address', ['10.88.1.0/24'], ['192.0.2.1'], /not on any network/],
  ])('are not made to a node %s, which is said', (_, ranges, own, said) => {
    const { add, problems } = planPeerRoutes(
      facts([peer('b', ranges, own)], { addresses: addresses.slice(0, 2) }),
    );
    expect(add).toEqual([]);
    expect(problems).toEqual([expect.stringMatching(said)]);
    expect(problems[0]).toMatch(/^node b: /);
  });

  it('lead to the first of two nodes that claim one range', () => {
    const { add, problems } = planPeerRoutes(
      facts([
        peer('b', ['10.88.1.0/24'], ['192.0.2.2']),
        peer('c', ['10.88.0.0/16', '10.88.1.0/25'], ['192.0.2.3']),
      ]),
    );
    expect(add).toHaveLength(1);
    expect(problems).toEqual([
      expect.stringMatching(/node c: .*of this node/),
      expect.stringMatching(/node c: .*overlaps 10.88.1.0\/24 of node b/),
    ]);
  });
});
