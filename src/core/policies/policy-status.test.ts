import { describe, expect, it } from 'vitest';
import type { PolicyFacts } from './policy-report.ts';
import { readPolicyReport } from './policy-report.ts';
import { type PolicyStatus, planPolicyStatus } from './policy-status.ts';

const facts = (rest: Partial<PolicyFacts> = {}): PolicyFacts[] => [
  { name: 'env', uid: 'u1', generation: 2, ...rest },
];
const status = (
  nodes: Record<string, PolicyFacts[] | undefined>,
  previous?: PolicyStatus,
): PolicyStatus | undefined =>
  planPolicyStatus(
    {
      ...{ name: 'env', uid: 'u1', generation: 2, previous },
      nodes: Object.entries(nodes).map(([name, policies]) => ({ name, policies })),
    },
    new Date(0),
  );

describe('the status of a policy', () => {
  it.each([
    ['every proxy has it', { a: facts(), b: facts() }, 2, 'True', 'Enforced', ''],
    ['a node has no proxy', { a: facts(), b: undefined }, 1, 'True', 'Enforced', 'no CRI proxy on b'],
    [
      'a proxy has an older one',
      { a: facts(), b: facts({ generation: 1 }) },
      1,
      'False',
      'Pending',
      'not yet enforced on b',
    ],
    [
      'a proxy has one of its name that was deleted',
      { a: facts({ uid: 'u0' }) },
      0,
      'False',
      'Pending',
      'not yet enforced on a',
    ],
    ['a node has not read it yet', { a: [] }, 0, 'False', 'Pending', 'not yet enforced on a'],
    [
      'a proxy refuses it',
      { a: facts(), b: facts({ generation: 1, problem: 'spec.x: unknown field' }) },
      1,
      'False',
      'Refused',
      'b: spec.x: unknown field',
    ],
    ['there is no proxy', { a: undefined }, 0, 'False', 'ProxyNotRunning', 'no node has a CRI proxy'],
  ])('when %s', (_, nodes, count, ready, reason, message) => {
    expect(status(nodes)).toEqual({
      observedGeneration: 2,
      nodes: count,
      conditions: [
        {
          type: 'Ready',
          status: ready,
          reason,
          message,
          observedGeneration: 2,
          lastTransitionTime: '1970-01-01T00:00:00Z',
        },
      ],
    });
  });

  it('is not written again when it is the same', () => {
    const first = status({ a: facts() });
    expect(status({ a: facts() }, first)).toBeUndefined();
    expect(status({ a: facts(), b: facts() }, first)?.nodes).toBe(2);
  });

  it('names some of many nodes', () => {
    const many = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`n${i}`, []]));
    expect(status(many)?.conditions?.[0]?.message).toBe(
      'not yet enforced on n0, n1, n2, n3, n4 and 3 more nodes',
    );
  });
});

describe('what a proxy says', () => {
  const proxy = {
    policies: {
      inForce: [
        { name: 'env', uid: 'u1', generation: 2 },
        { name: 'by-hand' },
        { name: 'deny', uid: 'u9', generation: 1 },
      ],
      faults: [
        { file: '/state/policies/current/deny.yaml', message: 'spec.x: unknown field' },
        { file: '/etc/keelson/policies/env.yaml', message: 'another file' },
      ],
    },
  };

  it('has each object of the API, and none from a file', () => {
    const expected = [
      { name: 'env', uid: 'u1' },
      { name: 'deny', uid: 'u2' },
    ];
    expect(readPolicyReport(proxy, { directory: '/state/policies/current', expected })).toEqual([
      { name: 'deny', uid: 'u2', problem: 'spec.x: unknown field' },
      { name: 'env', uid: 'u1', generation: 2 },
    ]);
  });

  it('is refused when it is nothing that a proxy says', () => {
    expect(() => readPolicyReport({}, { directory: '/', expected: [] })).toThrow();
  });
});
