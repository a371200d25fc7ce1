import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { parseAgentConfig } from '../src/core/agent-config.ts';
import { parsePolicies } from '../src/core/policy-parse.ts';

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
  const [text, ...others] = yamlBlocks('docs/configuration.md');
  expect(others).toEqual([]);
  const config = parseAgentConfig({ text, document: 'docs', overrides: {}, hostname: 'host-1' });
  expect(config.pools.map(({ name }) => name)).toEqual(['default', 'fast']);
});

test('the policies that the documentation shows are accepted', () => {
  const policies = yamlBlocks('docs/runtime-policies.md').flatMap((text) => parsePolicies(text, 'docs'));
  expect(policies.map(({ name }) => name)).toEqual(['team-a-defaults', 'no-unsigned-tools']);
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
