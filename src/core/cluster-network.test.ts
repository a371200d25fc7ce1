import { describe, expect, it } from 'vitest';
import {
  type ClusterNetwork,
  type ClusterNetworkFacts,
  formatClusterNetwork,
  parseClusterNetwork,
  planClusterNetwork,
} from './cluster-network.ts';

const node = (name: string, podCidrs: string[] = []) => ({ name, podCidrs, addresses: [`ip of ${name}`] });
const plan = (facts: Partial<ClusterNetworkFacts>, previous?: ClusterNetwork): ClusterNetwork =>
  planClusterNetwork(
    { nodeName: 'a', configuredRanges: undefined, nodes: [], exclusions: [], ...facts },
    previous,
  );

describe('the network of a node', () => {
  it('has the ranges of its Node, and the other nodes by name as peers', () => {
    const nodes = [
      node('c', ['10.0.3.0/24']),
      node('a', ['10.0.1.0/24', 'fd00:1::/64']),
      node('b'),
      node('0', ['10.0.0.0/24']),
    ];
    expect(plan({ nodes, exclusions: ['10.9.0.0/16', '10.8.0.0/16', '10.9.0.0/16'] })).toEqual({
      ranges: ['10.0.1.0/24', 'fd00:1::/64'],
      peers: [
        { name: '0', ranges: ['10.0.0.0/24'], addresses: ['ip of 0'] },
        { name: 'c', ranges: ['10.0.3.0/24'], addresses: ['ip of c'] },
      ],
      exclusions: ['10.8.0.0/16', '10.9.0.0/16'],
    });
  });

  it.each([
    ['the configuration says others', { configuredRanges: ['10.7.0.0/24'] }, ['10.7.0.0/24']],
    ['its Node has others now', { nodes: [node('a', ['10.0.2.0/24'])] }, ['10.0.2.0/24']],
    ['its Node is gone', { nodes: [node('b', ['10.0.2.0/24'])] }, ['10.0.1.0/24']],
    ['its Node has none yet', { nodes: [node('a')] }, ['10.0.1.0/24']],
  ])('when %s: %#', (_, facts, ranges) => {
    const previous = { ranges: ['10.0.1.0/24'], peers: [], exclusions: [] };
    expect(plan(facts, previous).ranges).toEqual(ranges);
  });

  it('is read as it was written down, and nothing else is', () => {
    const network = plan({ nodes: [node('a', ['10.0.1.0/24']), node('b', ['10.0.2.0/24'])] });
    expect(parseClusterNetwork(formatClusterNetwork(network))).toEqual(network);
    for (const text of ['', '{}', '{"version":2}', '{"version":1,"ranges":[1]}']) {
      expect(() => parseClusterNetwork(text)).toThrow();
    }
  });
});
