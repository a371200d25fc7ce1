import { describe, expect, it, test } from 'vitest';
import { Fault } from '../fault.ts';
import { compileRule, type LabelRuleSpec } from './label-rule.ts';
import type { NodeFacts } from './label-facts.ts';

const facts: NodeFacts = {
  inventory: {
    agentVersion: '1.0.0',
    cpu: { architecture: 'amd64', threads: 16, features: ['avx2', 'sha_ni'], model: 'Some CPU @ 2 GHz' },
    memory: { total: '64Gi', hugePages: { '2Mi': 512 } },
    disks: [
      { name: 'nvme0n1', type: 'nvme', rotational: false, size: '2Ti', model: 'Fast' },
      { name: 'sda', type: 'hdd', rotational: true, size: '500Gi' },
    ],
    pciDevices: [{ class: '030200', vendor: '10de', device: '2204', count: 4 }],
    storage: {
      capacity: '1Ti',
      allocated: '1Gi',
      volumes: 3,
      pools: [{ name: 'fast', backend: 'btrfs', ready: true, capacity: '1Ti', allocated: '1Gi', volumes: 3 }],
    },
    conditions: [],
  },
  node: { name: 'node-1', labels: { 'kubernetes.io/arch': 'amd64', rack: 'r1' } },
};

const GIVE = { labels: [{ key: 'example.com/it', value: 'is' }] };

describe('match', () => {
  test.each([
    ['true', 'matched'],
    ['inventory.disks.exists(d, d.type == "nvme" && quantity(d.size) >= quantity("1Ti"))', 'matched'],
    ['inventory.disks.exists(d, d.type == "ssd")', 'unmatched'],
    ['"avx2" in inventory.cpu.features && inventory.cpu.threads > 8', 'matched'],
    ['quantity(inventory.memory.total) < quantity("32Gi")', 'unmatched'],
    ['inventory.memory.hugePages.?"1Gi".orValue(0) > 0', 'unparsable'],
    ['inventory.memory.hugePages[?"1Gi"].orValue(0) > 0', 'unmatched'],
    ['inventory.memory.hugePages["2Mi"] >= 512', 'matched'],
    ['node.labels["rack"] == "r1" && node.name.startsWith("node-")', 'matched'],
    ['inventory.storage.pools.all(p, p.ready && p.backend == "btrfs")', 'matched'],
    ['inventory.disks[1].rotational', 'matched'],
    ['has(inventory.runtime) && inventory.runtime.proxied', 'unmatched'],
    ['inventory.?runtime.?proxied.orValue(true)', 'matched'],
  ])('%s: %s', (match, state) => {
    if (state === 'unparsable') expect(() => compileRule({ match, ...GIVE })).toThrow(Fault);
    else expect(compileRule({ match, ...GIVE })(facts)).toMatchObject({ state });
  });

  test.each([
    ['inventory.runtime.proxied', 'spec.match: line 1, column 11: No such key: runtime'],
    ['inventory.disks.all(d,\n  d.model != "")', 'spec.match: line 2, column 5: No such key: model'],
    ['node.labels["none"] == ""', 'spec.match: line 1, column 1: No such key: none'],
    ['quantity("a lot") > 1', 'invalid size "a lot"'],
    ['inventory.disks[7].rotational', 'index out of bounds'],
  ])('what is not known on a node is a failure there, not an answer: %s', (match, message) => {
    const outcome = compileRule({ match, ...GIVE })(facts);
    expect(outcome).toMatchObject({ state: 'failed', message: expect.stringContaining(message) as string });
  });

  it('looks only at nodes of its selector', () => {
    const rule = (selector: LabelRuleSpec['nodeSelector']): string =>
      compileRule({ nodeSelector: selector, match: 'true', ...GIVE })(facts).state;
    expect(rule({ matchLabels: { rack: 'r1' } })).toBe('matched');
    expect(rule({ matchLabels: { rack: 'r2' } })).toBe('unmatched');
    expect(rule({ matchExpressions: [{ key: 'absent', operator: 'DoesNotExist' }] })).toBe('matched');
    // Where a rule does not look, it cannot fail.
    const elsewhere = { nodeSelector: { matchLabels: { rack: 'r2' } }, match: 'inventory.runtime.proxied' };
    expect(compileRule({ ...elsewhere, ...GIVE })(facts)).toEqual({ state: 'unmatched' });
  });
});

describe('a rule is refused before it is evaluated', () => {
  test.each<[string, LabelRuleSpec, string]>([
    [
      'a field that is not there',
      { match: 'inventory.dsks.size() > 0' },
      'line 1, column 11: No such key: dsks',
    ],
    ['a misspelt field of a list', { match: 'inventory.disks.exists(d, d.typ == "x")' }, 'column 29'],
    ['a number that moves', { match: 'inventory.storage.allocated != ""' }, 'No such key: allocated'],
    ['half an expression', { match: 'true &&\n' }, 'line 2, column 1: Unexpected token: EOF'],
    ['no yes or no', { match: 'inventory.cpu.model' }, 'the expression has type string; expected bool'],
    ['types that do not fit', { match: 'inventory.cpu.threads > "8"' }, 'no such overload: int > string'],
    ['a function that is not there', { match: 'env("HOME") == ""' }, 'found no matching overload'],
    [
      'a label that is not a string',
      { match: 'true', labels: [{ key: 'example.com/n', expression: 'inventory.cpu.threads' }] },
      'spec.labels[0].expression: line 1, column 1: the expression has type int; expected string',
    ],
    [
      "Kubernetes' names",
      { match: 'true', labels: [{ key: 'node-role.kubernetes.io/worker', value: '' }] },
      'spec.labels[0].key: node-role.kubernetes.io/worker is under kubernetes.io, which is reserved for Kubernetes',
    ],
    [
      'a key without a prefix',
      { match: 'true', taints: [{ key: 'gpu', effect: 'NoSchedule' }] },
      'gpu has no prefix',
    ],
    [
      'the startup taint',
      { match: 'true', taints: [{ key: 'keelson.dev/agent-not-ready', effect: 'NoSchedule' }] },
      'is written by Keelson',
    ],
    [
      'evicting pods by accident',
      { match: 'true', taints: [{ key: 'example.com/absent', effect: 'NoExecute' }] },
      'spec.taints[0].effect: NoExecute evicts pods',
    ],
    [
      "a resource of Kubernetes'",
      { match: 'true', extendedResources: [{ name: 'feature.node.kubernetes.io/x', quantity: 1 }] },
      'is under kubernetes.io',
    ],
  ])('%s', (_what, spec, message) => {
    expect(() => compileRule(spec)).toThrow(message);
  });

  it('with all that is wrong with it', () => {
    const spec = { match: 'x', labels: [{ key: 'k8s.io/a', expression: '1' }] };
    expect(() => compileRule(spec)).toThrow(
      /spec\.match.*\n.*labels\[0\]\.key.*\n.*labels\[0\]\.expression/s,
    );
  });
});

describe('what a rule gives', () => {
  it('is labels, taints and resources, of constants and of expressions', () => {
    const rule = compileRule({
      match: 'true',
      evictPods: true,
      labels: [
        { key: 'example.com/disks', expression: 'string(inventory.disks.size())' },
        { key: 'example.com/model', expression: 'labelValue(inventory.cpu.model)' },
        { key: 'feature.node.kubernetes.io/fast', value: 'true' },
      ],
      taints: [{ key: 'example.com/absent', effect: 'NoExecute' }],
      extendedResources: [
        { name: 'example.com/gpu', expression: 'inventory.pciDevices[0].count' },
        { name: 'example.com/port', quantity: 2 },
      ],
    });
    expect(rule(facts)).toEqual({
      state: 'matched',
      grant: {
        labels: {
          'example.com/disks': '2',
          'example.com/model': 'Some-CPU-2-GHz',
          'feature.node.kubernetes.io/fast': 'true',
        },
        taints: [{ key: 'example.com/absent', effect: 'NoExecute' }],
        resources: { 'example.com/gpu': 4, 'example.com/port': 2 },
      },
    });
  });

  test.each([
    [
      'a text that is not a label value',
      { labels: [{ key: 'a.b/c', expression: 'inventory.cpu.model' }] },
      'is not a label value',
    ],
    ['fewer than nothing', { extendedResources: [{ name: 'a.b/c', expression: '-1' }] }, 'is not a count'],
  ])('is refused on a node where it is %s', (_what, spec, message) => {
    expect(compileRule({ match: 'true', ...spec })(facts)).toMatchObject({
      state: 'failed',
      message: expect.stringContaining(message) as string,
    });
  });
});
