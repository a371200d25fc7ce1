import { expect, test } from 'vitest';
import { type CallFacts, type Mutation, NO_MUTATION } from '../core/policies/policy.ts';
import { serviceDefinition } from './definitions.ts';
import { editMessage, encodeLen } from './wire.ts';
import { encodeVersionRequest, patchRequest, readCallFacts } from './wire-cri.ts';

const methods = serviceDefinition('runtime.v1.RuntimeService');
const codec = (method: 'CreateContainer' | 'RunPodSandbox' | 'Version') => {
  const definition = methods[method];
  if (definition === undefined) throw new Error(`no method ${method}`);
  return {
    encode: (value: object): Uint8Array => definition.requestSerialize(value),
    decode: (bytes: Uint8Array): unknown => definition.requestDeserialize(Buffer.from(bytes)),
  };
};

const sandbox = {
  metadata: { name: 'web-0', namespace: 'team-a', uid: 'u1', attempt: 2 },
  labels: { app: 'web' },
  annotations: { 'kubernetes.io/config.source': 'api' },
};
const container = {
  metadata: { name: 'main', attempt: 1 },
  image: { image: 'sha256:0123', user_specified_image: 'registry.example/web:1' },
  envs: [
    { key: 'A', value: Buffer.from([0xff, 0xfe]) },
    { key: 'B', value: Buffer.from('b') },
  ],
  linux: { resources: { cpu_shares: '102', memory_limit_in_bytes: '1000' } },
};
const mutation: Mutation = {
  ...NO_MUTATION,
  env: { set: new Map([['C', 'c']]), remove: new Set(['B']) },
  labels: { set: new Map([['l', '1']]), remove: new Set() },
  resources: { cpuShares: 512n, cpuQuota: -1n, unified: { 'memory.high': '1' } },
};

test('what policies match on is read from both requests, as the generated codec writes them', () => {
  const pod = {
    name: 'web-0',
    namespace: 'team-a',
    uid: 'u1',
    labels: new Map([['app', 'web']]),
    annotations: new Map([['kubernetes.io/config.source', 'api']]),
  };
  const run = codec('RunPodSandbox').encode({ config: sandbox, runtime_handler: 'kata' });
  expect(readCallFacts('RunPodSandbox', run)).toEqual({
    operation: 'RunPodSandbox',
    pod,
    container: undefined,
  } satisfies CallFacts);
  const create = codec('CreateContainer').encode({
    pod_sandbox_id: 's',
    config: container,
    sandbox_config: sandbox,
  });
  expect(readCallFacts('CreateContainer', create)).toEqual({
    operation: 'CreateContainer',
    pod,
    container: { name: 'main', images: ['registry.example/web:1', 'sha256:0123'] },
  } satisfies CallFacts);
});

test('a patched container reads as meant by the generated codec, values that are not UTF-8 unharmed', () => {
  const { encode, decode } = codec('CreateContainer');
  const request = encode({ pod_sandbox_id: 's', config: container, sandbox_config: sandbox });
  expect(decode(patchRequest('CreateContainer', request, mutation))).toMatchObject({
    pod_sandbox_id: 's',
    config: {
      envs: [
        { key: 'A', value: Buffer.from([0xff, 0xfe]) },
        { key: 'C', value: Buffer.from('c') },
      ],
      labels: { l: '1' },
      linux: {
        resources: {
          cpu_shares: '512',
          cpu_quota: '-1',
          memory_limit_in_bytes: '1000',
          unified: { 'memory.high': '1' },
        },
      },
    },
    sandbox_config: sandbox,
  });
});

test('a sandbox gets labels and annotations, nothing else', () => {
  const { encode, decode } = codec('RunPodSandbox');
  const patched = decode(patchRequest('RunPodSandbox', encode({ config: sandbox }), mutation));
  expect(patched).toMatchObject({ config: { ...sandbox, labels: { app: 'web', l: '1' } } });
});

test('fields that no definition knows survive a patch at every level', () => {
  const unknown = encodeLen(999, Buffer.from([0xde, 0xad]));
  const withUnknown = (bytes: Uint8Array): Uint8Array => Buffer.concat([unknown, bytes, unknown]);
  const request = codec('CreateContainer').encode({ pod_sandbox_id: 's', config: container });
  const marked = withUnknown(
    editMessage(request, 2, (config) =>
      withUnknown(editMessage(config, 15, (linux) => withUnknown(editMessage(linux, 1, withUnknown)))),
    ),
  );
  const patched = patchRequest('CreateContainer', marked, mutation);
  const count =
    Buffer.from(patched).toString('latin1').split(Buffer.from(unknown).toString('latin1')).length - 1;
  expect(count).toBe(8);
  const back = patchRequest('CreateContainer', patched, {
    ...NO_MUTATION,
    resources: { cpuShares: 102n },
    labels: { set: new Map(), remove: new Set(['l']) },
  });
  expect(Buffer.from(back).subarray(0, unknown.length)).toEqual(unknown);
});

test('a container without resources gets them', () => {
  const { encode, decode } = codec('CreateContainer');
  const patched = patchRequest('CreateContainer', encode({ config: { metadata: { name: 'x' } } }), {
    ...NO_MUTATION,
    resources: { memoryLimitBytes: 2n ** 40n },
  });
  expect(decode(patched)).toMatchObject({
    config: { linux: { resources: { memory_limit_in_bytes: String(2n ** 40n) } } },
  });
});

test('the version request is what the generated codec writes', () => {
  expect(Buffer.from(encodeVersionRequest())).toEqual(
    Buffer.from(codec('Version').encode({ version: 'v1' })),
  );
});
