import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { VERSION } from '../src/version.ts';
import { parseAgentConfig } from '../src/core/config/agent-config.ts';

interface Manifest {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly data?: Readonly<Record<string, string>>;
  readonly subjects?: readonly { readonly namespace: string }[];
}

const DEPLOY = join(import.meta.dirname, '../deploy');
const { resources } = parse(readFileSync(join(DEPLOY, 'kustomization.yaml'), 'utf8')) as {
  readonly resources: readonly string[];
};
const texts = resources.map((file) => readFileSync(join(DEPLOY, file), 'utf8'));
const manifests = texts.flatMap((text) =>
  [...parseAllDocuments(text)].map((document) => document.toJS() as Manifest),
);
/** Kinds that say who and what for in their name, and those that are generated. */
const own = manifests.filter(
  ({ kind }) => !/^(CustomResourceDefinition|ValidatingAdmissionPolicy)/.test(kind),
);

describe('deploy/', () => {
  test.each(['crds', 'admission'])('installs every file of %s', (folder) => {
    const files = readdirSync(join(DEPLOY, folder)).map((file) => `${folder}/${file}`);
    expect(resources.filter((file) => file.startsWith(`${folder}/`))).toEqual(files.sort());
  });

  test('runs the image of this release, and no other', () => {
    const images = texts.flatMap((text) =>
      [...text.matchAll(/^\s*image: (\S+)$/gm)].map((match) => match[1]),
    );
    expect(images.length).toBeGreaterThan(0);
    expect(new Set(images)).toEqual(new Set([`keelson.dev/keelson:${VERSION}`]));
  });

  test('has the labels that tools look for on every object', () => {
    for (const { kind, metadata } of own) {
      expect(metadata.labels, `${kind} ${metadata.name}`).toMatchObject({
        'app.kubernetes.io/name': 'keelson',
        'app.kubernetes.io/part-of': 'keelson',
      });
    }
  });

  test('keeps to one namespace', () => {
    const namespaces = manifests.flatMap(({ metadata, subjects = [] }) => [
      metadata.namespace ?? 'keelson-system',
      ...subjects.map(({ namespace }) => namespace),
    ]);
    expect(new Set(namespaces)).toEqual(new Set(['keelson-system']));
  });

  test('configures the agent with what the agent accepts', () => {
    const config = manifests.find(
      ({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === 'keelson-agent',
    );
    const text = config?.data?.['agent.yaml'];
    expect(text).toBeDefined();
    const parsed = parseAgentConfig({ text, document: 'agent.yaml', overrides: {}, hostname: 'node-1' });
    expect(parsed).toMatchObject({
      kubeletDir: '/var/lib/kubelet',
      kubernetes: {},
      metricsAddress: '0.0.0.0:9810',
    });
  });
});
