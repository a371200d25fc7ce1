import { expect, test } from 'vitest';
import { parsePolicies } from './policy-parse.ts';

const head = 'apiVersion: keelson.dev/v1alpha1\nkind: RuntimePolicy\n';

test('several documents of one file become policies with their defaults', () => {
  const policies = parsePolicies(
    `${head}metadata: {name: a}
spec: {match: {namespaces: [demo]}, mutate: {env: {set: {A: "1"}}, resources: {memoryLimit: 64Mi, cpuQuota: -1}}}
---
---
${head}metadata: {name: b, labels: {x: y}}
spec: {deny: {message: no}}
`,
    'p.yaml',
  );
  expect(policies).toMatchObject([
    {
      name: 'a',
      match: { operations: ['CreateContainer', 'RunPodSandbox'], namespaces: ['demo'] },
      mutation: {
        env: { set: new Map([['A', '1']]), remove: new Set() },
        resources: { memoryLimitBytes: 67_108_864n, cpuQuota: -1n },
      },
      failurePolicy: 'Ignore',
      dryRun: false,
      audit: false,
    },
    { name: 'b', mutation: undefined, deny: { message: 'no', includeSystemPods: false } },
  ]);
  expect(Object.keys(policies[0]?.mutation?.resources ?? {})).toEqual(['cpuQuota', 'memoryLimitBytes']);
});

test('every fault of every document is reported at once, with its path', () => {
  const text = `${head}metadata: {name: Bad_Name}
spec:
  match: {operations: [StopContainer], podSelector: {matchExpressions: [{key: app, operator: In}]}}
  mutate: {env: {set: {A: 1}}, labels: {set: {io.kubernetes.pod.uid: x}}, resources: {memoryLimit: lots}}
  typo: true
---
${head}metadata: {name: b}
spec: {match: {operations: [RunPodSandbox], images: ['*']}, mutate: {env: {remove: [A]}}}
---
${head}metadata: {name: c}
spec: {}
`;
  expect(() => parsePolicies(text, 'p.yaml')).toThrow(/p\.yaml has \d+ errors/);
  const message = faultOf(text);
  for (const line of [
    'document 1.metadata.name: must be lower-case',
    'document 1.spec.match.operations[0]: must be CreateContainer or RunPodSandbox',
    'document 1.spec.match.podSelector.matchExpressions[0].values: must be set for In',
    'document 1.spec.mutate.env.set.A: must be a string; put numbers and booleans in quotes',
    'document 1.spec.mutate.labels.set: must be label keys like team or example.com/team, and must not begin with io.kubernetes.',
    'found "io.kubernetes.pod.uid"',
    'document 1.spec.mutate.resources.memoryLimit: found "lots"',
    'document 1.spec.typo: unknown field',
    'document 2.spec.match.images: requires the operation CreateContainer',
    'document 2.spec.mutate.env: requires the operation CreateContainer',
    'document 3.spec: must have an effect',
  ]) {
    expect(message).toContain(line);
  }
});

test.each([
  ['no YAML', 'a: [', 'is not valid YAML'],
  ['another kind', 'apiVersion: v1\nkind: Pod\n', 'kind: must be RuntimePolicy'],
  [
    'a key set and removed',
    `${head}metadata: {name: a}\nspec: {mutate: {env: {set: {A: x}, remove: [A]}}}`,
    'spec.mutate.env: must not set and remove the same key',
  ],
])('%s is refused', (_name, text, expected) => {
  expect(faultOf(text)).toContain(expected);
});

test('a limit that is taken off is written as in the API', () => {
  const text = `${head}metadata: {name: a}\nspec: {mutate: {resources: {memorySwapLimit: "-1"}}}`;
  expect(parsePolicies(text, 'p.yaml')[0]?.mutation?.resources).toEqual({ memorySwapLimitBytes: -1n });
  expect(faultOf(text.replace('"-1"', '-1'))).toContain(
    'memorySwapLimit: found -1, expected a size like 64Mi, in quotes',
  );
});

test('an empty file has no policies', () => {
  expect(parsePolicies('', 'p.yaml')).toEqual([]);
  expect(parsePolicies('# nothing yet\n', 'p.yaml')).toEqual([]);
});

function faultOf(text: string): string {
  try {
    parsePolicies(text, 'p.yaml');
  } catch (error) {
    return (error as Error).message;
  }
  return 'no fault';
}
