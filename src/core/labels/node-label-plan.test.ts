import { describe, expect, it } from 'vitest';
import { type NodeState, planNode } from './node-label-plan.ts';
import { type DesiredNodeState, taintId } from './label-resolve.ts';
import type { RuleTaint } from './label-rule.ts';

const EMPTY: NodeState = {
  labels: {},
  ownedLabels: new Set(),
  taints: [],
  ownedTaints: new Set(),
  capacity: {},
  ownedResources: new Set(),
};

function desired(part: {
  readonly labels?: Readonly<Record<string, string>>;
  readonly taints?: readonly RuleTaint[];
  readonly resources?: Readonly<Record<string, number>>;
}): { readonly desired: DesiredNodeState; readonly askedBy: ReadonlyMap<string, string> } {
  const { labels = {}, taints = [], resources = {} } = part;
  const ids = [
    ...Object.keys(labels).map((key) => `label ${key}`),
    ...taints.map((taint) => `taint ${taintId(taint)}`),
    ...Object.keys(resources).map((name) => `resource ${name}`),
  ];
  return {
    desired: {
      labels: new Map(Object.entries(labels)),
      taints: new Map(taints.map((taint) => [taintId(taint), taint])),
      resources: new Map(Object.entries(resources)),
    },
    askedBy: new Map(ids.map((id) => [id, 'rule'])),
  };
}

const ours: RuleTaint = { key: 'a.b/t', value: 'v', effect: 'NoSchedule' };
const theirs = {
  key: 'node.kubernetes.io/unreachable',
  effect: 'NoExecute',
  timeAdded: '2026-01-01T00:00:00Z',
};

describe('a node in its desired state', () => {
  it('needs no write', () => {
    const state: NodeState = {
      labels: { 'a.b/c': '1', other: 'x' },
      ownedLabels: new Set(['a.b/c']),
      taints: [theirs, ours],
      ownedTaints: new Set([taintId(ours)]),
      capacity: { 'a.b/r': '4' },
      ownedResources: new Set(['a.b/r']),
    };
    const desiredState = desired({ labels: { 'a.b/c': '1' }, taints: [ours], resources: { 'a.b/r': 4 } });
    expect(planNode(state, desiredState)).toEqual({
      labels: undefined,
      taints: undefined,
      resources: undefined,
      foreign: [],
    });
    expect(planNode(EMPTY, desired({}))).toMatchObject({
      labels: undefined,
      taints: undefined,
      resources: undefined,
    });
  });
});

describe('labels', () => {
  it('are written as the whole of what is ours', () => {
    const state = {
      ...EMPTY,
      labels: { 'a.b/c': '1', 'a.b/old': 'x' },
      ownedLabels: new Set(['a.b/c', 'a.b/old']),
    };
    expect(planNode(state, desired({ labels: { 'a.b/c': '1', 'a.b/d': '2' } })).labels).toEqual({
      'a.b/c': '1',
      'a.b/d': '2',
    });
    expect(planNode(state, desired({})).labels).toEqual({});
  });

  it('of other writers stay, and are reported when they differ', () => {
    const state = { ...EMPTY, labels: { 'a.b/c': 'theirs', 'a.b/same': 'x' } };
    const plan = planNode(state, desired({ labels: { 'a.b/c': 'ours', 'a.b/same': 'x' } }));
    expect(plan.labels).toBeUndefined();
    expect(plan.foreign).toEqual([
      { rule: 'rule', message: 'label a.b/c: another writer has set it to "theirs"' },
    ]);
  });
});

describe('taints', () => {
  it('of others are kept as they are, in their order', () => {
    expect(planNode({ ...EMPTY, taints: [theirs] }, desired({ taints: [ours] })).taints).toEqual({
      all: [theirs, ours],
      owned: ['a.b/t:NoSchedule'],
    });
    const owned = { ...EMPTY, taints: [ours, theirs], ownedTaints: new Set([taintId(ours)]) };
    expect(planNode(owned, desired({})).taints).toEqual({ all: [theirs], owned: [] });
  });

  it('that another writer has set are never removed', () => {
    const state = { ...EMPTY, taints: [ours] };
    expect(planNode(state, desired({ taints: [ours] }))).toMatchObject({ taints: undefined, foreign: [] });
    expect(planNode(state, desired({})).taints).toBeUndefined();
    expect(planNode(state, desired({ taints: [{ ...ours, value: 'w' }] })).foreign).toEqual([
      { rule: 'rule', message: 'taint a.b/t:NoSchedule: another writer has set it to "v"' },
    ]);
  });

  it('of ours get a new value, and are set again when they were taken off', () => {
    const owned = { ...EMPTY, taints: [theirs, ours], ownedTaints: new Set([taintId(ours)]) };
    const changed = { ...ours, value: 'w' };
    expect(planNode(owned, desired({ taints: [changed] })).taints?.all).toEqual([theirs, changed]);
    expect(planNode({ ...owned, taints: [theirs] }, desired({ taints: [ours] })).taints?.all).toEqual([
      theirs,
      ours,
    ]);
  });

  it('that were removed are no longer claimed', () => {
    const state = { ...EMPTY, ownedTaints: new Set([taintId(ours)]) };
    expect(planNode(state, desired({})).taints).toEqual({ all: [], owned: [] });
  });
});

describe('extended resources', () => {
  it('of a device plugin stay; the zero of a kubelet that has lost its state does not', () => {
    const plan = (quantity: string): ReturnType<typeof planNode> =>
      planNode({ ...EMPTY, capacity: { 'a.b/r': quantity } }, desired({ resources: { 'a.b/r': 4 } }));
    expect(plan('2')).toMatchObject({
      resources: undefined,
      foreign: [{ rule: 'rule', message: 'resource a.b/r: another writer has set it to "2"' }],
    });
    expect(plan('0').resources).toEqual({ 'a.b/r': '4' });
  });
});
