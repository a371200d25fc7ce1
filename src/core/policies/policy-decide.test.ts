import { expect, test } from 'vitest';
import type { CallFacts, RuntimePolicy } from './policy.ts';
import { decide, globMatches, isSystemPod } from './policy-decide.ts';
import { parsePolicies } from './policy-parse.ts';

const pod = {
  name: 'web-0',
  namespace: 'team-a',
  uid: 'u',
  labels: new Map([['app', 'web']]),
  annotations: new Map<string, string>(),
};
const run: CallFacts = { operation: 'RunPodSandbox', pod, container: undefined };
const create: CallFacts = {
  operation: 'CreateContainer',
  pod,
  container: { name: 'main', images: ['docker.io/library/busybox:1.36', 'sha256:1234'] },
};
const inNamespace = (facts: CallFacts, namespace: string): CallFacts => ({
  ...facts,
  pod: { ...facts.pod, namespace },
});

function policy(name: string, spec: object): RuntimePolicy {
  const yaml = JSON.stringify({
    apiVersion: 'keelson.dev/v1alpha1',
    kind: 'RuntimePolicy',
    metadata: { name },
    spec,
  });
  const [parsed] = parsePolicies(yaml, 'test');
  if (parsed === undefined) throw new Error('no policy');
  return parsed;
}

const deny = (match: object = {}, more: object = {}): RuntimePolicy =>
  policy('no', { match, deny: { message: 'not here' }, ...more });

test.each([
  ['*', 'anything/at:all', true],
  ['docker.io/*', 'docker.io/library/busybox:1', true],
  ['docker.io/*', 'quay.io/docker.io/x', false],
  ['*:latest', 'a/b:latest', true],
  ['*:latest', 'a/b:latest2', false],
  ['v?', 'v1', true],
  ['v?', 'v', false],
  ['a*b*c', 'axxbyyc', true],
  ['a*b*c', 'axxbyy', false],
  ['', '', true],
  ['a.c', 'abc', false],
  [`${'*a'.repeat(30)}b`, 'a'.repeat(300), false],
])('glob %s on %s is %s', (glob, text, expected) => {
  expect(globMatches(glob, text)).toBe(expected);
});

test.each([
  ['all is matched without conditions', {}, create, true],
  ['a namespace', { namespaces: ['team-a'] }, create, true],
  ['a namespace by pattern', { namespaces: ['x', 'team-*'] }, create, true],
  ['another namespace', { namespaces: ['team'] }, create, false],
  ['a label', { podSelector: { matchLabels: { app: 'web' } } }, run, true],
  ['another label', { podSelector: { matchLabels: { app: 'db' } } }, run, false],
  ['an image', { images: ['docker.io/*'] }, create, true],
  ['an image by its digest', { images: ['sha256:1234'] }, create, true],
  ['another image', { images: ['quay.io/*'] }, create, false],
  ['an image, for a sandbox', { images: ['*'] }, run, false],
  ['another operation', { operations: ['RunPodSandbox'] }, create, false],
])('%s', (_name, match, facts, expected) => {
  expect(decide([deny(match)], facts).denial !== undefined).toBe(expected);
});

test('a denial names policy, call, pod and reason', () => {
  expect(decide([deny()], run).denial?.message).toBe(
    'RuntimePolicy no denies RunPodSandbox for pod team-a/web-0: not here (change the pod, or what the policy matches)',
  );
  expect(decide([deny()], create).denial?.message).toContain('for container main of pod team-a/web-0');
});

test('kube-system and static pods are exempt from denials, unless a policy names them', () => {
  const annotated = (source: string): CallFacts => ({
    ...run,
    pod: { ...pod, annotations: new Map([['kubernetes.io/config.source', source]]) },
  });
  expect(isSystemPod(annotated('file').pod)).toBe(true);
  expect(isSystemPod(annotated('http').pod)).toBe(true);
  expect(isSystemPod(annotated('api').pod)).toBe(false);
  const decision = decide([deny()], inNamespace(run, 'kube-system'));
  expect(decision.denial).toBeUndefined();
  expect(decision.effects).toEqual([{ policy: 'no', effect: 'exempt', dryRun: false }]);
  const strict = policy('strict', { deny: { message: 'x', includeSystemPods: true } });
  expect(decide([strict], inNamespace(run, 'kube-system')).denial).toBeDefined();
});

test('a dry run reports and does nothing', () => {
  const policies = [
    deny({}, { dryRun: true }),
    policy('env', { mutate: { env: { set: { A: '1' } } }, dryRun: true, failurePolicy: 'Fail' }),
  ];
  expect(decide(policies, create)).toEqual({
    effects: [
      { policy: 'no', effect: 'deny', dryRun: true },
      { policy: 'env', effect: 'mutate', dryRun: true },
    ],
    denial: undefined,
    mutation: undefined,
    mustApply: [],
  });
});

test('of two policies that change the same key the later one wins, whether it sets or removes', () => {
  const set = (value: string): RuntimePolicy =>
    policy('s', { mutate: { env: { set: { A: value, K: 'k' } } } });
  const remove = policy('r', { mutate: { env: { remove: ['A'] } } });
  const envOf = (...policies: RuntimePolicy[]) => decide(policies, create).mutation?.env;
  expect(envOf(set('1'), set('2'))?.set).toEqual(
    new Map([
      ['A', '2'],
      ['K', 'k'],
    ]),
  );
  expect(envOf(set('1'), remove)).toEqual({ set: new Map([['K', 'k']]), remove: new Set(['A']) });
  expect(envOf(remove, set('1'))).toEqual({
    set: new Map([
      ['A', '1'],
      ['K', 'k'],
    ]),
    remove: new Set(),
  });
});

test('resources and variables apply to containers only', () => {
  const limits = policy('l', {
    mutate: { resources: { memoryLimit: '64Mi' }, env: { set: { A: '1' } } },
  });
  expect(decide([limits], run)).toMatchObject({ effects: [], mutation: undefined });
  expect(decide([limits], create).mutation?.resources).toEqual({ memoryLimitBytes: 67_108_864n });
});

test('a policy that must not be skipped says so, but never for a system pod', () => {
  const must = policy('must', { mutate: { env: { set: { A: '1' } } }, failurePolicy: 'Fail' });
  expect(decide([must], create).mustApply).toEqual(['must']);
  const system = decide([must], inNamespace(create, 'kube-system'));
  expect(system.mustApply).toEqual([]);
  expect(system.mutation).toBeDefined();
});

test('an audit is reported besides other effects', () => {
  expect(decide([policy('a', { audit: true })], run).effects).toEqual([
    { policy: 'a', effect: 'audit', dryRun: false },
  ]);
});
