import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import type { CliContext } from '../src/cli/context.ts';
import { parseAgentConfig } from '../src/core/config/agent-config.ts';
import { compileRule, type LabelRuleSpec } from '../src/core/labels/label-rule.ts';
import { parsePolicies } from '../src/core/policies/policy-parse.ts';
import { anchorsOf, blocksOf, cellsOf, proseOf, readPages } from './pages/markdown.ts';
import { checkCommand, splitCommands } from './pages/shell-commands.ts';
import { CLUSTER_STEPS, hasPlan, RUN_ELSEWHERE } from './pages/shell-plan.ts';

const root = join(import.meta.dirname, '..');

function yamlBlocks(file: string): string[] {
  return [...readFileSync(join(root, file), 'utf8').matchAll(/```yaml\n([\s\S]*?)```/g)].map(
    ([, text]) => text ?? '',
  );
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

/** A context whose output is dropped. */
function silentContext(): CliContext {
  const nowhere = new PassThrough();
  return {
    env: {},
    signal: new AbortController().signal,
    stdin: nowhere,
    stdout: nowhere,
    stderr: nowhere,
    exitCode: 0,
  };
}

const pages = readPages();
const named = pages.map((page) => [page.path, page] as const);
const handWritten = named.filter(([, { isGenerated }]) => !isGenerated);

test.each(named)('every relative link of %s leads to a file and a heading', (path, page) => {
  const links = [...proseOf(page).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map(([, link]) => link ?? '');
  for (const link of links) {
    const [file = '', anchor] = link.split('#');
    const target = file === '' ? path : join(dirname(path), file);
    expect(() => statSync(join(root, target)), link).not.toThrow();
    if (anchor === undefined || !target.endsWith('.md')) continue;
    const text = readFileSync(join(root, target), 'utf8');
    expect(anchorsOf({ text }), link).toContain(anchor);
  }
});

test.each(named)(
  'every fenced block of %s is YAML, a checked shell block or sample output',
  (_path, page) => {
    for (const { language, text } of blocksOf(page)) {
      expect(['', 'console', 'sh', 'yaml']).toContain(language);
      if (language === '') expect(text).not.toMatch(/^(\$|make|kubectl|keelson|node|npx|systemctl) /m);
      if (language === 'yaml') expect(parseAllDocuments(text).flatMap(({ errors }) => errors)).toEqual([]);
    }
  },
);

test.each(named)(
  'every command in a shell block of %s exists, with its flags and files',
  async (_path, page) => {
    const context = silentContext();
    for (const { language, text } of blocksOf(page)) {
      if (language !== 'sh') continue;
      const { status, stderr } = spawnSync('bash', ['-n'], { input: text, encoding: 'utf8' });
      expect(status, `${text}${stderr}`).toBe(0);
      for (const words of splitCommands(text)) {
        await expect(checkCommand(words, context), words.join(' ')).resolves.toBeUndefined();
      }
    }
  },
);

test.each(named)('a test runs every shell block of %s, or the plan says why not', (path, page) => {
  for (const { language, text } of blocksOf(page)) {
    if (language === 'sh') expect(hasPlan(path, text), text).toBe(true);
  }
});

test('the plan of shell blocks names blocks and tests that exist', () => {
  const starts = [
    ...CLUSTER_STEPS.map(({ page, block }) => [page, block] as const),
    ...Object.entries(RUN_ELSEWHERE).flatMap(([page, blocks]) =>
      Object.keys(blocks).map((block) => [page, block] as const),
    ),
  ];
  for (const [path, start] of starts) {
    const blocks = blocksOf({ text: readFileSync(join(root, path), 'utf8') });
    expect(
      blocks.map(({ text }) => text.startsWith(start)),
      `${path}: ${start}`,
    ).toContain(true);
  }
  for (const file of Object.values(RUN_ELSEWHERE).flatMap((blocks) => Object.values(blocks))) {
    expect(() => statSync(join(root, file)), file).not.toThrow();
  }
});

test('a documented command with an unknown target, verb, flag or unit is found', async () => {
  const context = silentContext();
  const wrong = [
    'make tests',
    'keelson volume move x',
    'keelson volume export x --fast',
    'kubectl keelson explain pvc/x',
    'kubectl keelson why pvc/x --deep',
    'kubectl frobnicate',
    'kubectl apply -k deploy/none',
    'systemctl restart keelson',
    'npx vitest run --project none',
    'curl example.com',
  ];
  for (const line of wrong) {
    const [words = []] = splitCommands(line);
    await expect(checkCommand(words, context), line).rejects.toThrow(
      /no (target|command|flag|unit|project)|does not exist|not in the list/,
    );
  }
});

test.each(handWritten)('no table cell of %s has more than 25 words', (_path, page) => {
  const long = cellsOf(page).filter((cell) => cell.trim().split(/\s+/).length > 25);
  expect(long).toEqual([]);
});

test('README is at most 120 lines, and its sample output at most 25', () => {
  const readme = pages.find(({ path }) => path === 'README.md');
  expect(readme?.text.trimEnd().split('\n').length).toBeLessThanOrEqual(120);
  const samples = blocksOf(readme ?? { text: '' }).filter(({ language }) => language === 'console');
  for (const { text } of samples) expect(text.trimEnd().split('\n').length).toBeLessThanOrEqual(25);
});

test('each journey of the architecture enters at most nine files, which exist', () => {
  const text = readFileSync(join(root, 'docs/understand/architecture.md'), 'utf8');
  const [, ...journeys] = text.slice(text.indexOf('## Four journeys')).split('\n### ');
  expect(journeys.map((journey) => journey.split('\n')[0])).toEqual([
    'CNI ADD',
    'CreateVolume',
    'Claim to PersistentVolume',
    'CRI CreateContainer',
  ]);
  for (const journey of journeys) {
    const files = new Set(
      [...journey.matchAll(/`((?:src|node-agent)\/[^`]+)`/g)].map(([, file]) => file ?? ''),
    );
    expect(files.size).toBeLessThanOrEqual(9);
    for (const file of files) expect(() => statSync(join(root, file)), file).not.toThrow();
  }
});
