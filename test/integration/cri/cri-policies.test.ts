import { mkdtemp, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { frameMessage, unframeMessage } from '../../../src/core/policies/cri-call.ts';
import { serviceDefinition } from '../../../src/rpc/definitions.ts';
import { encodeLen, readFields, readMessage } from '../../../src/rpc/wire.ts';
import { type FakeRuntime, startFakeRuntime } from '../../fakes/cri-runtime.ts';
import { type Answer, openSession, send } from '../../fakes/grpc-over-http2.ts';
import { recordingLogger, type RunningProxy, startCriProxy } from '../../fakes/running-proxy.ts';

const CREATE = '/runtime.v1.RuntimeService/CreateContainer';
const RUN = '/runtime.v1.RuntimeService/RunPodSandbox';
const head = 'apiVersion: keelson.dev/v1alpha1\nkind: RuntimePolicy\n';
const ENV = `${head}metadata: {name: env}
spec: {match: {namespaces: [team-a]}, mutate: {env: {set: {TOKEN: s3cret-value}}}}
`;
const DENY = `${head}metadata: {name: deny}
spec: {match: {operations: [RunPodSandbox], podSelector: {matchLabels: {bad: "yes"}}}, deny: {message: bad pods stay out}}
`;
const unknown = encodeLen(777, Buffer.from([0xc3, 0x28, 0x00]));
const codec = serviceDefinition('runtime.v1.RuntimeService');

let directory: string;
let policiesDir: string;
let runtime: FakeRuntime;
let running: RunningProxy;
let stack: AsyncDisposableStack;
const logger = recordingLogger();

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  directory = await mkdtemp(join(tmpdir(), 'keelson-cri-'));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  policiesDir = join(directory, 'policies');
  await mkdir(policiesDir);
  logger.lines.length = 0;
  runtime = stack.use(await startFakeRuntime(join(directory, 'r.sock')));
});
afterEach(() => stack.disposeAsync());

async function startProxy(): Promise<void> {
  running = stack.use(
    await startCriProxy(
      { listen: join(directory, 'p.sock'), runtime: join(directory, 'r.sock'), policiesDirs: [policiesDir] },
      logger,
    ),
  );
}

async function call(path: string, message: Uint8Array, headers: string[] = []): Promise<Answer> {
  const session = await openSession(join(directory, 'p.sock'));
  try {
    return await send(session, path, message, headers);
  } finally {
    session.close();
  }
}

const sandbox = (namespace: string, labels = {}) => ({
  metadata: { name: 'p', namespace, uid: 'u' },
  labels,
});

function createRequest(namespace: string): Buffer {
  const request = codec['CreateContainer']?.requestSerialize({
    config: { metadata: { name: 'c' }, envs: [{ key: 'RAW', value: Buffer.from([0xff]) }] },
    sandbox_config: sandbox(namespace),
  });
  return Buffer.concat([unknown, request ?? Buffer.alloc(0), unknown]);
}

function runRequest(namespace: string, labels = {}): Uint8Array {
  return codec['RunPodSandbox']?.requestSerialize({ config: sandbox(namespace, labels) }) ?? Buffer.alloc(0);
}

/** What the runtime got: the fake answers with the request. */
function received(answer: Answer): Uint8Array {
  return unframeMessage(answer.body)?.payload ?? Buffer.alloc(0);
}

function envsOf(message: Uint8Array): unknown {
  const request = codec['CreateContainer']?.requestDeserialize(Buffer.from(message)) as {
    config: { envs: { key: string; value: Buffer }[] };
  };
  return request.config.envs.map(({ key, value }) => `${key}=${value.toString('latin1')}`);
}

test('a matching container gets its variable, and unknown fields are preserved', async () => {
  await writeFile(join(policiesDir, 'env.yaml'), ENV);
  await startProxy();
  const answer = await call(CREATE, frameMessage(createRequest('team-a')));
  expect(answer.status).toBe('0');
  const message = received(answer);
  expect(envsOf(message)).toEqual(['RAW=\xff', 'TOKEN=s3cret-value']);
  expect(Buffer.from(message.subarray(0, unknown.length))).toEqual(Buffer.from(unknown));
  expect(Buffer.from(message.subarray(-unknown.length))).toEqual(Buffer.from(unknown));
  expect(readFields(message).map(({ number }) => number)).toEqual([777, 2, 3, 777]);
});

test('a container that no policy matches arrives byte for byte', async () => {
  await writeFile(join(policiesDir, 'env.yaml'), ENV);
  await startProxy();
  const request = frameMessage(createRequest('team-b'));
  expect((await call(CREATE, request)).body).toEqual(Buffer.from(request));
});

test('a compressed request is read too, and forwarded unchanged if no policy changes it', async () => {
  await writeFile(join(policiesDir, 'env.yaml'), ENV);
  await startProxy();
  const compress = (namespace: string): Buffer => {
    const framed = Buffer.from(frameMessage(gzipSync(createRequest(namespace))));
    framed[0] = 1;
    return framed;
  };
  const answer = await call(CREATE, compress('team-a'), ['grpc-encoding', 'gzip']);
  expect(envsOf(received(answer))).toContain('TOKEN=s3cret-value');
  expect(runtime.calls.at(-1)?.headers['grpc-encoding']).toBeUndefined();
  const other = compress('team-b');
  expect((await call(CREATE, other, ['grpc-encoding', 'gzip'])).body).toEqual(other);
  expect(runtime.calls.at(-1)?.headers['grpc-encoding']).toBe('gzip');
});

test('a denied pod never reaches the runtime; the status names policy, pod and reason', async () => {
  await writeFile(join(policiesDir, 'deny.yaml'), DENY);
  await startProxy();
  const answer = await call(RUN, frameMessage(runRequest('team-a', { bad: 'yes' })));
  expect(answer).toMatchObject({ status: '7', trailers: undefined });
  expect(answer.message).toBe(
    'RuntimePolicy deny denies RunPodSandbox for pod team-a/p: bad pods stay out (change the pod, or what the policy matches)',
  );
  expect(runtime.calls).toEqual([]);
  expect((await call(RUN, frameMessage(runRequest('kube-system', { bad: 'yes' })))).status).toBe('0');
  expect((await call(RUN, frameMessage(runRequest('team-a', { bad: 'no' })))).status).toBe('0');
});

test('every effect has a line in the log and a count, and no value is in either', async () => {
  await writeFile(join(policiesDir, 'all.yaml'), `${ENV}---\n${DENY}`);
  await startProxy();
  await call(CREATE, frameMessage(createRequest('team-a')));
  await call(RUN, frameMessage(runRequest('team-a', { bad: 'yes' })));
  const effects = logger.lines.filter(({ message }) => message === 'policy effect');
  expect(effects.map(({ fields }) => fields)).toMatchObject([
    { policy: 'env', effect: 'mutate', operation: 'CreateContainer', pod: 'team-a/p', container: 'c' },
    { policy: 'deny', effect: 'deny', operation: 'RunPodSandbox', pod: 'team-a/p' },
  ]);
  const metrics = await running.registry.metrics();
  expect(metrics).toContain(
    'keelson_cri_policy_decisions_total{policy="env",effect="mutate",operation="CreateContainer",dry_run="false"} 1',
  );
  expect(metrics).toContain('keelson_cri_calls_total{method="RunPodSandbox",code="7"} 1');
  expect(JSON.stringify(logger.lines) + metrics).not.toContain('s3cret-value');
});

test('a request that is not protobuf is forwarded, and the runtime refuses it', async () => {
  await writeFile(join(policiesDir, 'all.yaml'), `${ENV}---\n${DENY}`);
  await startProxy();
  const garbage = frameMessage(Buffer.from('ffffffff', 'hex'));
  expect((await call(CREATE, garbage)).body).toEqual(Buffer.from(garbage));
  expect(await running.registry.metrics()).toContain(
    'keelson_cri_policy_failures_total{operation="CreateContainer"} 1',
  );
});

test('a request larger than a runtime accepts is refused with the same code', async () => {
  await writeFile(join(policiesDir, 'env.yaml'), ENV);
  await startProxy();
  const answer = await call(CREATE, frameMessage(Buffer.alloc(16 * 1024 * 1024 + 1)));
  expect(answer.status).toBe('8');
});

test('policies follow their files: added, changed with an error, corrected and removed', async () => {
  await startProxy();
  const envs = async (): Promise<unknown> =>
    envsOf(received(await call(CREATE, frameMessage(createRequest('team-a')))));
  const file = join(policiesDir, 'env.yaml');
  expect(await envs()).toEqual(['RAW=\xff']);

  await writeFile(file, ENV);
  await expect.poll(envs).toEqual(['RAW=\xff', 'TOKEN=s3cret-value']);

  await writeFile(file, ENV.replace('mutate', 'mutilate'));
  await expect.poll(() => running.proxy.policies().faults).toHaveLength(1);
  expect(running.proxy.policies().faults[0]?.message).toContain('spec.mutilate: unknown field');
  expect(await envs()).toEqual(['RAW=\xff', 'TOKEN=s3cret-value']);
  expect(await running.registry.metrics()).toContain('keelson_cri_policy_files_bad 1');

  await writeFile(`${file}.new`, ENV.replace('s3cret-value', 'other'));
  await rename(`${file}.new`, file);
  await expect.poll(envs).toEqual(['RAW=\xff', 'TOKEN=other']);
  expect(running.proxy.policies().faults).toEqual([]);

  await rm(file);
  await expect.poll(envs).toEqual(['RAW=\xff']);
});

test('two policies of one name in two files are an error of the second file', async () => {
  await writeFile(join(policiesDir, 'a.yaml'), ENV);
  await writeFile(join(policiesDir, 'b.yaml'), ENV.replace('s3cret-value', 'other'));
  await startProxy();
  expect(running.proxy.policies().faults[0]?.message).toContain('has RuntimePolicy env, which');
  const answer = await call(CREATE, frameMessage(createRequest('team-a')));
  expect(envsOf(received(answer))).toContain('TOKEN=s3cret-value');
});

test('policies are read once their directory exists', async () => {
  await rm(policiesDir, { recursive: true });
  await startProxy();
  expect((await call(RUN, frameMessage(runRequest('team-a', { bad: 'yes' })))).status).toBe('0');
  await mkdir(policiesDir);
  await writeFile(join(policiesDir, 'deny.yaml'), DENY);
  const status = async (): Promise<string | undefined> =>
    (await call(RUN, frameMessage(runRequest('team-a', { bad: 'yes' })))).status;
  await expect.poll(status).toBe('7');
});

test('StopPodSandbox passes under every policy', async () => {
  await writeFile(
    join(policiesDir, 'deny.yaml'),
    `${head}metadata: {name: all}\nspec: {deny: {message: no}}\n`,
  );
  await startProxy();
  for (const method of ['StopPodSandbox', 'RemovePodSandbox', 'StopContainer', 'RemoveContainer']) {
    const request = frameMessage(
      readMessage(encodeLen(1, Buffer.from('0a0178', 'hex')), 1) ?? Buffer.alloc(0),
    );
    expect((await call(`/runtime.v1.RuntimeService/${method}`, request)).status).toBe('0');
  }
});
