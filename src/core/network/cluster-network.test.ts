import { describe, expect, it } from 'vitest';
import {
  type ClusterNetwork,
  type ClusterNetworkFacts,
  formatClusterNetwork,
  parseClusterNetwork,
  planClusterNetwork,
} from './cluster-network.ts';

const node = (name: string, podCidrs: string[] = []) => ({
  name,
  podCidrs,
  addresses: [`ip of ${name}`],
  labels: { name },
});
const plan = (facts: Partial<ClusterNetworkFacts>, previous?: ClusterNetwork): ClusterNetwork =>
  planClusterNetwork(
    { nodeName: 'a', configuredRanges: undefined, nodes: [], pools: [], ...facts },
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
    expect(plan({ nodes })).toEqual({
      ranges: ['10.0.1.0/24', 'fd00:1::/64'],
      peers: [
        { name: '0', ranges: ['10.0.0.0/24'], addresses: ['ip of 0'] },
        { name: 'c', ranges: ['10.0.3.0/24'], addresses: ['ip of c'] },
      ],
      exclusions: [],
    });
  });

  it.each([
    ['the configuration says others', { configuredRanges: ['10.7.0.0/24'] }, ['10.7.0.0/24']],
    ['its Node has others now', { nodes: [node('a', ['10.0.2.0/24'])] }, ['10.0.2.0/24']],
    ['its Node was deleted', { nodes: [node('b', ['10.0.2.0/24'])] }, ['10.0.1.0/24']],
    ['its Node has none yet', { nodes: [node('a')] }, ['10.0.1.0/24']],
  ])('when %s: %#', (_, facts, ranges) => {
    const previous = { ranges: ['10.0.1.0/24'], peers: [], exclusions: [] };
    expect(plan(facts, previous).ranges).toEqual(ranges);
  });

  it('has the exceptions of the pools that are for it; those of before while none has been read', () => {
    const pools = [
      { masqueradeExclusions: ['10.9.0.0/16', '10.8.0.0/16'] },
      { nodeSelector: { matchLabels: { name: 'a' } }, masqueradeExclusions: ['10.9.0.0/16', '10.7.0.0/16'] },
      {
        nodeSelector: { matchExpressions: [{ key: 'name', operator: 'NotIn', values: ['a'] } as const] },
        masqueradeExclusions: ['10.6.0.0/16'],
      },
    ];
    const nodes = [node('a', ['10.0.1.0/24'])];
    const network = plan({ nodes, pools });
    expect(network.exclusions).toEqual(['10.7.0.0/16', '10.8.0.0/16', '10.9.0.0/16']);
    expect(plan({ nodes, pools: undefined }, network).exclusions).toEqual(network.exclusions);
    expect(plan({ nodes: [], pools: [] }, network).exclusions).toEqual(network.exclusions);
    expect(plan({ nodes, pools: [] }, network).exclusions).toEqual([]);
  });

  it('is read as it was written down, and nothing else is', () => {
    const network = plan({ nodes: [node('a', ['10.0.1.0/24']), node('b', ['10.0.2.0/24'])] });
    expect(parseClusterNetwork(formatClusterNetwork(network))).toEqual(network);
    for (const text of ['', '{}', '{"version":2}', '{"version":1,"ranges":[1]}']) {
      expect(() => parseClusterNetwork(text)).toThrow();
    }
  });
});
