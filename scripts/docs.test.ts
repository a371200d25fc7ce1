import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { parseAgentConfig } from '../src/core/config/agent-config.ts';
import { compileRule, type LabelRuleSpec } from '../src/core/labels/label-rule.ts';
import { parsePolicies } from '../src/core/policies/policy-parse.ts';

const root = join(import.meta.dirname, '..');

function yamlBlocks(file: string): string[] {
  return [...readFileSync(join(root, file), 'utf8').matchAll(/```yaml\n([\s\S]*?)```/g)].map(
    ([, text]) => text ?? '',
  );
}

function pages(directory: string): string[] {
  return readdirSync(join(root, directory)).flatMap((name) => {
    const path = join(directory, name);
    if (statSync(join(root, path)).isDirectory()) return pages(path);
    return name.endsWith('.md') ? [path] : [];
  });
}

test('the configuration that the documentation shows is accepted', () => {
  const [text, ...others] = yamlBlocks('docs/operate/configuration.md');
  expect(others).toEqual([]);
  const config = parseAgentConfig({ text, document: 'docs', overrides: {}, hostname: 'host-1' });
  expect(config.pools.map(({ name }) => name)).toEqual(['default', 'fast', 'images', 'shared']);
});

test('the policies that the documentation shows are accepted', () => {
  const policies = yamlBlocks('docs/operate/runtime-policies.md').flatMap((text) =>
    parsePolicies(text, 'docs'),
  );
  expect(policies.map(({ name }) => name)).toEqual(['team-a-defaults', 'no-unsigned-tools']);
});

test('the rules that the documentation shows are valid, and match the node that they are about', () => {
  const rules = yamlBlocks('docs/operate/labels.md').flatMap((text) =>
    parseAllDocuments(text).map(
      (document) => document.toJS() as { metadata: { name: string }; spec: LabelRuleSpec },
    ),
  );
  const inventory = {
    cpu: { features: ['avx2'], model: 'Some CPU @ 3 GHz' },
    memory: { total: '64Gi', hugePages: { '2Mi': 512 } },
    disks: [{ name: 'nvme0n1', type: 'nvme', rotational: false, size: '2Ti' }],
    pciDevices: [{ class: '030000', vendor: '10de', device: '2204', count: 2 }],
    storage: { capacity: '1Ti', pools: [{ name: 'fast', backend: 'btrfs', ready: false, capacity: '1Ti' }] },
  };
  const node = { name: 'node-1', labels: { 'gpu.keelson.dev/nvidia': 'true' } };
  const outcomes = rules.map(({ metadata: { name }, spec }) => {
    const outcome = compileRule(spec)({ inventory, node });
    const { labels, taints, resources } = outcome.state === 'matched' ? outcome.grant : {};
    return [name, labels, taints?.map(({ key }) => key), resources];
  });
  expect(outcomes).toEqual([
    ['fast-storage', { 'example.com/storage': 'fast', 'example.com/disks': '1' }, [], {}],
    ['gpus', {}, ['example.com/gpu'], { 'example.com/rtx-3090': 2 }],
    ['big-and-modern', { 'example.com/class': 'big', 'example.com/cpu': 'Some-CPU-3-GHz' }, [], {}],
    ['broken-pool', {}, ['example.com/pool-broken'], {}],
  ]);
});

test.each(['README.md', 'CONTRIBUTING.md', ...pages('docs')])(
  'every link of %s to a file of ours leads somewhere',
  (page) => {
    const links = [...readFileSync(join(root, page), 'utf8').matchAll(/\]\((?!https?:)([^)#]+)/g)].map(
      ([, link]) => link ?? '',
    );
    for (const link of links) {
      expect(() => statSync(join(root, dirname(page), link)), link).not.toThrow();
    }
  },
);
