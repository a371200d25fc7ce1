/**
 * Specs of RuntimePolicies that file and API must judge alike: what is wrong with each, or nothing.
 */
export interface PolicySample {
  readonly name: string;
  readonly spec: object;
  /** In the message of the API server; absent for a good one. */
  readonly refused?: RegExp;
}

export const POLICY_SAMPLES: readonly PolicySample[] = [
  { name: 'audit of everything', spec: { audit: true } },
  {
    name: 'every field',
    spec: {
      match: {
        operations: ['CreateContainer'],
        namespaces: ['team-*'],
        podSelector: {
          matchLabels: { app: 'web' },
          matchExpressions: [{ key: 'tier', operator: 'In', values: ['a', 'b'] }],
        },
        images: ['docker.io/library/*'],
      },
      mutate: {
        env: { set: { HTTP_PROXY: 'http://proxy:3128' }, remove: ['DEBUG'] },
        labels: { set: { 'example.com/team': 'x' } },
        annotations: { remove: ['note'] },
        resources: {
          cpuPeriod: 100_000,
          cpuQuota: -1,
          cpuShares: 512,
          memoryLimit: '64Mi',
          memorySwapLimit: '128Mi',
          oomScoreAdj: 500,
          cpusetCpus: '0-3,7',
          cpusetMems: '0',
          unified: { 'memory.high': '60000000' },
        },
      },
      failurePolicy: 'Fail',
      dryRun: true,
    },
  },
  { name: 'a refusal', spec: { match: { images: ['*:latest'] }, deny: { message: 'pin the image' } } },
  { name: 'no effect', spec: { match: { namespaces: ['a'] } }, refused: /must have an effect/ },
  {
    name: 'an unknown operation',
    spec: { audit: true, match: { operations: ['StopContainer'] } },
    refused: /Unsupported value: "StopContainer"/,
  },
  { name: 'no operation', spec: { audit: true, match: { operations: [] } }, refused: /at least 1 items/ },
  {
    name: 'images of sandboxes',
    spec: { audit: true, match: { operations: ['RunPodSandbox'], images: ['*'] } },
    refused: /match.images requires the operation CreateContainer/,
  },
  {
    name: 'variables of sandboxes',
    spec: { match: { operations: ['RunPodSandbox'] }, mutate: { env: { set: { A: 'b' } } } },
    refused: /mutate.env requires the operation CreateContainer/,
  },
  {
    name: 'limits of sandboxes',
    spec: { match: { operations: ['RunPodSandbox'] }, mutate: { resources: { cpuShares: 2 } } },
    refused: /mutate.resources requires the operation CreateContainer/,
  },
  {
    name: 'a variable with =',
    spec: { mutate: { env: { set: { 'A=B': 'c' } } } },
    refused: /must be variable names without "="/,
  },
  {
    name: "kubelet's label",
    spec: { mutate: { labels: { set: { 'io.kubernetes.pod.uid': 'x' } } } },
    refused: /must not begin with io.kubernetes/,
  },
  {
    name: 'one key set and removed',
    spec: { mutate: { env: { set: { A: 'b' }, remove: ['A'] } } },
    refused: /must not set and remove the same key/,
  },
  {
    name: 'a limit of zero',
    spec: { mutate: { resources: { cpuQuota: 0 } } },
    refused: /must be at least 1, or -1 for no limit/,
  },
  {
    name: 'a size in words',
    spec: { mutate: { resources: { memoryLimit: 'much' } } },
    refused: /memoryLimit/,
  },
  { name: 'an OOM score too far', spec: { mutate: { resources: { oomScoreAdj: 1001 } } }, refused: /1000/ },
  { name: 'CPUs in words', spec: { mutate: { resources: { cpusetCpus: 'all' } } }, refused: /cpusetCpus/ },
  {
    name: 'a cgroup file with a slash',
    spec: { mutate: { resources: { unified: { '../memory.high': '1' } } } },
    refused: /must be files of cgroup v2/,
  },
  {
    name: 'In without values',
    spec: { audit: true, match: { podSelector: { matchExpressions: [{ key: 'a', operator: 'In' }] } } },
    refused: /values must be set for In and NotIn/,
  },
  {
    name: 'Exists with values',
    spec: {
      audit: true,
      match: { podSelector: { matchExpressions: [{ key: 'a', operator: 'Exists', values: ['b'] }] } },
    },
    refused: /must be set for In and NotIn, and absent for Exists and DoesNotExist/,
  },
  {
    name: 'a swap limit that is taken off',
    spec: { mutate: { resources: { memorySwapLimit: '-1' } } },
  },
  {
    name: 'a size as a number',
    spec: { mutate: { resources: { memoryLimit: 1024 } } },
    refused: /memoryLimit/,
  },
  {
    name: 'a selector for a label that cannot be',
    spec: { audit: true, match: { podSelector: { matchLabels: { 'a b': 'c' } } } },
    refused: /must be label keys like team or example.com.team/,
  },
  {
    name: 'a requirement for one',
    spec: {
      audit: true,
      match: { podSelector: { matchExpressions: [{ key: '/a', operator: 'Exists' }] } },
    },
    refused: /matchExpressions\[0\].key/,
  },
  {
    name: 'an operation twice',
    spec: { audit: true, match: { operations: ['RunPodSandbox', 'RunPodSandbox'] } },
    refused: /Duplicate value/,
  },
  {
    name: 'a value without end',
    spec: { mutate: { env: { set: { A: 'x'.repeat(4_097) } } } },
    refused: /4096/,
  },
  {
    name: 'more variables than anybody needs',
    spec: {
      mutate: { env: { set: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`A${i}`, ''])) } },
    },
    refused: /must have at most 64 items/,
  },
  { name: 'a refusal without a word', spec: { deny: { message: '' } }, refused: /deny.message/ },
  { name: 'an unknown failure policy', spec: { audit: true, failurePolicy: 'Panic' }, refused: /"Panic"/ },
  { name: 'a text as dryRun', spec: { audit: true, dryRun: 'yes' }, refused: /dryRun/ },
];
