import { expect, test } from 'vitest';
import type { PoolFacts } from './inventory.ts';
import { nodesInUse, planPoolStatus, type PoolOnNode } from './storage-pool-status.ts';

const at = (seconds: number): Date => new Date(seconds * 1_000);
const facts = (over: Partial<PoolFacts> = {}): PoolFacts => ({
  name: 'fast',
  backend: 'btrfs',
  origin: 'api',
  ready: true,
  capacity: '10Gi',
  allocated: '1Gi',
  largestVolume: '9Gi',
  volumes: 1,
  ...over,
});
const on = (nodeName: string, pool: PoolFacts | undefined, isSelected = true): PoolOnNode => ({
  nodeName,
  isSelected,
  pool,
});
const findings = (...nodes: PoolOnNode[]) => ({ generation: 1, isDeleting: false, nodes });

test('a pool is ready when every node that it selects has it; figures are summed', () => {
  const status = planPoolStatus(findings(on('a', facts()), on('b', facts({ volumes: 2 }))), undefined, at(1));
  expect(status).toMatchObject({
    nodes: { selected: 2, ready: 2 },
    capacity: '20Gi',
    allocated: '2Gi',
    volumes: 3,
    conditions: [
      { type: 'Ready', status: 'True' },
      { type: 'InUse', status: 'True' },
    ],
  });
});

test.each([
  ['an agent that has not opened it', undefined, 'a: its agent does not report the pool yet'],
  ['a reason', facts({ ready: false, reason: 'no such device' }), 'a: no such device'],
  [
    'a pool of the file',
    facts({ origin: 'config' }),
    "a: a pool of this name in the node's configuration file takes precedence",
  ],
] as const)('it says of each node what it lacks: %s', (_, pool, message) => {
  const status = planPoolStatus(findings(on('a', pool), on('b', facts())), undefined, at(1));
  expect(status?.nodes).toEqual({ selected: 2, ready: 1 });
  expect(status?.conditions?.[0]).toMatchObject({ status: 'False', reason: 'NotOnAllNodes', message });
});

test('a pool of the file of that name counts for nothing here', () => {
  const status = planPoolStatus(findings(on('a', facts({ origin: 'config' }))), undefined, at(1));
  expect(status).toMatchObject({ capacity: '0', volumes: 0 });
});

test('nothing is written when nothing has changed, and what did not turn keeps its time', () => {
  const first = planPoolStatus(findings(on('a', facts())), undefined, at(1));
  expect(planPoolStatus(findings(on('a', facts())), first, at(9))).toBeUndefined();
  const next = planPoolStatus(findings(on('a', facts({ volumes: 5 }))), first, at(9));
  expect(next?.conditions?.[0]?.lastTransitionTime).toBe('1970-01-01T00:00:01Z');
});

test('one that is deleted says which volumes it waits for, also on nodes that it no longer selects', () => {
  const nodes = [on('a', facts({ ready: false }), false), on('b', facts({ volumes: 0 }))];
  const status = planPoolStatus({ generation: 1, isDeleting: true, nodes }, undefined, at(1));
  expect(status?.conditions).toMatchObject([
    { type: 'Ready', status: 'False', reason: 'Deleting' },
    {
      type: 'InUse',
      status: 'True',
      message: 'the pool is being deleted; it takes no new volumes, and is deleted once these are: a has 1',
    },
  ]);
  expect(nodesInUse([on('b', facts({ volumes: 0 })), on('c', undefined)])).toEqual([]);
});

test('without any node that it selects it says so', () => {
  const status = planPoolStatus(findings(on('a', undefined, false)), undefined, at(1));
  expect(status?.conditions?.[0]).toMatchObject({ status: 'False', reason: 'NoNodeSelected' });
});
