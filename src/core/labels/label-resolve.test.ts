import { describe, expect, it } from 'vitest';
import { NO_DEFAULT_LABELS } from './default-labels.ts';
import { type DesiredNodeState, type RuleResult, resolveRules } from './label-resolve.ts';
import type { LabelRuleSpec, RuleOutcome } from './label-rule.ts';

const NOTHING: DesiredNodeState = { labels: new Map(), taints: new Map(), resources: new Map() };

function result(
  name: string,
  spec: Partial<LabelRuleSpec>,
  state: RuleOutcome['state'] = 'matched',
): RuleResult {
  const rule = { name, version: '1', spec: { match: 'true', ...spec } };
  if (state === 'failed') return { rule, outcome: { state, message: 'broken' } };
  if (state !== 'matched') return { rule, outcome: { state } };
  const labels = Object.fromEntries((spec.labels ?? []).map(({ key, value }) => [key, value ?? '']));
  const resources = Object.fromEntries((spec.extendedResources ?? []).map((r) => [r.name, r.quantity ?? 0]));
  return { rule, outcome: { state, grant: { labels, taints: spec.taints ?? [], resources } } };
}

const label = (value: string): Partial<LabelRuleSpec> => ({ labels: [{ key: 'a.b/c', value }] });

describe('two rules for one key', () => {
  it('are settled by priority, then by name, whatever their order', () => {
    const low = result('a', label('low'));
    const high = result('z', { ...label('high'), priority: 1 });
    const next = result('b', label('next'));
    for (const rules of [
      [low, high, next],
      [next, high, low],
    ]) {
      const { desired, overruled } = resolveRules(rules, NO_DEFAULT_LABELS, NOTHING);
      expect([...desired.labels]).toEqual([['a.b/c', 'high']]);
      expect(overruled).toEqual([
        { rule: 'a', message: 'label a.b/c: rule z sets another value' },
        { rule: 'b', message: 'label a.b/c: rule z sets another value' },
      ]);
    }
    expect(resolveRules([next, low], NO_DEFAULT_LABELS, NOTHING).desired.labels.get('a.b/c')).toBe('low');
  });

  it('do not quarrel where they agree', () => {
    const rules = [result('a', label('x')), result('b', label('x'))];
    expect(resolveRules(rules, NO_DEFAULT_LABELS, NOTHING).overruled).toEqual([]);
  });

  it('may give one key taints of two effects, and not one taint two values', () => {
    const taint = (value: string, effect: 'NoSchedule' | 'PreferNoSchedule'): Partial<LabelRuleSpec> => ({
      taints: [{ key: 'a.b/t', value, effect }],
    });
    const { desired, overruled } = resolveRules(
      [
        result('a', taint('1', 'NoSchedule')),
        result('b', taint('1', 'PreferNoSchedule')),
        result('c', taint('2', 'NoSchedule')),
      ],
      NO_DEFAULT_LABELS,
      NOTHING,
    );
    expect([...desired.taints.keys()]).toEqual(['a.b/t:NoSchedule', 'a.b/t:PreferNoSchedule']);
    expect(overruled).toEqual([{ rule: 'c', message: 'taint a.b/t:NoSchedule: rule a sets another value' }]);
  });
});

describe('a rule that cannot be evaluated', () => {
  const owned: DesiredNodeState = {
    labels: new Map([
      ['a.b/c', 'before'],
      ['a.b/other', 'x'],
    ]),
    taints: new Map([['a.b/t:NoSchedule', { key: 'a.b/t', effect: 'NoSchedule', value: 'v' }]]),
    resources: new Map([['a.b/r', 3]]),
  };
  const spec: Partial<LabelRuleSpec> = {
    ...label('now'),
    taints: [{ key: 'a.b/t', effect: 'NoSchedule' }],
    extendedResources: [{ name: 'a.b/r', quantity: 9 }],
  };

  it.each(['failed', 'unknown'] as const)('keeps what may be of it, and nothing else: %s', (state) => {
    const { desired } = resolveRules([result('a', spec, state)], NO_DEFAULT_LABELS, owned);
    expect([...desired.labels]).toEqual([['a.b/c', 'before']]);
    expect([...desired.taints.values()]).toEqual([{ key: 'a.b/t', effect: 'NoSchedule', value: 'v' }]);
    expect([...desired.resources]).toEqual([['a.b/r', 3]]);
  });

  it('gives nothing to a node that had nothing of it', () => {
    const { desired } = resolveRules([result('a', spec, 'failed')], NO_DEFAULT_LABELS, NOTHING);
    expect(desired).toEqual(NOTHING);
  });

  it('gives way to one that can be', () => {
    const failed = result('a', { ...spec, priority: 9 }, 'failed');
    const { desired, overruled } = resolveRules(
      [failed, result('b', label('now'))],
      NO_DEFAULT_LABELS,
      owned,
    );
    expect(desired.labels.get('a.b/c')).toBe('now');
    expect(overruled).toEqual([]);
  });

  it('keeps nothing where it only does not match', () => {
    expect(resolveRules([result('a', spec, 'unmatched')], NO_DEFAULT_LABELS, owned).desired).toEqual(NOTHING);
  });
});

describe('default labels', () => {
  const defaults = { labels: { 'a.b/c': 'ours' }, isUnknown: (key: string) => key.startsWith('pool.') };

  it('are there without any rule, and give way to every rule in silence', () => {
    expect(resolveRules([], defaults, NOTHING).desired.labels.get('a.b/c')).toBe('ours');
    const ruled = resolveRules([result('a', { ...label('x'), priority: -5 })], defaults, NOTHING);
    expect(ruled.desired.labels.get('a.b/c')).toBe('x');
    expect(ruled.overruled).toEqual([]);
  });

  it('stay while the part of the inventory that they come from is not known', () => {
    const owned = {
      ...NOTHING,
      labels: new Map([
        ['pool.x/y', '1'],
        ['disk.x/y', '1'],
      ]),
    };
    expect([...resolveRules([], defaults, owned).desired.labels.keys()]).toEqual(['a.b/c', 'pool.x/y']);
  });
});
