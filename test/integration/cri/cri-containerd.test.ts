import { writeFile, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { headerOf } from '../../../src/core/policies/cri-call.ts';
import { isFault } from '../../../src/core/fault.ts';
import { PodRuntime, type PodSpec } from '../../../src/demo/pods.ts';
import { connectRpc, type RpcClient } from '../../../src/rpc/client.ts';
import { type RunningProxy, startCriProxy } from '../../fakes/running-proxy.ts';
import { callHeaders, openSession } from '../../fakes/grpc-over-http2.ts';
import { type RealContainerd, startRealContainerd } from '../../real/containerd.ts';
import { ensureTool } from '../../tools/build-tool.ts';

const SERVICE = 'runtime.v1.RuntimeService';
const POLICIES = `apiVersion: keelson.dev/v1alpha1
kind: RuntimePolicy
metadata: {name: env}
spec:
  match: {namespaces: [team-a], operations: [CreateContainer]}
  mutate: {env: {set: {KEELSON: it works}}, resources: {memoryLimit: 64Mi}}
---
apiVersion: keelson.dev/v1alpha1
kind: RuntimePolicy
metadata: {name: no-miners}
spec:
  match: {podSelector: {matchExpressions: [{key: miner, operator: Exists}]}}
  deny: {message: mining is not for this cluster}
`;

/** Debian's release always; 2.4 where it can be built. */
const releases = [
  { name: "Debian's containerd", binDir: async (): Promise<string | undefined> => undefined, major: 1 },
  { name: 'containerd 2', binDir: binDirOfContainerd2, major: 2 },
];

async function binDirOfContainerd2(): Promise<string> {
  await ensureTool('containerd-shim-runc-v2');
  await ensureTool('ctr');
  return dirname(await ensureTool('containerd'));
}

describe.each(releases)('$name behind the proxy', ({ binDir, major }) => {
  let runtime: RealContainerd;
  let running: RunningProxy;
  let client: RpcClient;
  let pods: PodRuntime;
  let missing: string | undefined;
  const stack = new AsyncDisposableStack();

  beforeAll(async () => {
    try {
      runtime = stack.use(await startRealContainerd({ binDir: await binDir() }));
    } catch (error) {
      if (!isFault(error, 'precondition') || process.env['CI'] === 'true') throw error;
      missing = error.message;
      return;
    }
    const policiesDir = join(runtime.directory, 'policies');
    await mkdir(policiesDir);
    await writeFile(join(policiesDir, 'p.yaml'), POLICIES);
    const listen = join(runtime.directory, 'proxy.sock');
    running = stack.use(
      await startCriProxy({ listen, runtime: runtime.socketPath, policiesDirs: [policiesDir] }),
    );
    client = stack.use(connectRpc(listen));
    pods = new PodRuntime(client);
  });
  afterAll(() => stack.disposeAsync());

  const spec = (name: string, more: Partial<PodSpec> = {}): PodSpec => ({
    name,
    namespace: 'team-a',
    uid: `uid-${name}`,
    cgroupParent: runtime.cgroupParent,
    logDirectory: join(runtime.directory, 'logs', name),
    ...more,
  });

  test('a pod runs with the effects of its policy, and exec, status, stats and lists work', async (context) => {
    if (missing !== undefined) context.skip(missing);
    const pod = await pods.runPod(spec('web'), {});
    const id = await pods.startContainer(
      pod,
      { name: 'main', image: runtime.image, command: ['sleep', '3600'] },
      {},
    );
    expect(await pods.exec(id, ['sh', '-c', 'echo $KEELSON; echo error >&2; exit 3'])).toEqual({
      exitCode: 3,
      stdout: 'it works\n',
      stderr: 'error\n',
    });
    const { containers } = await client.call(SERVICE, 'ListContainers', {});
    expect(containers.map((container) => container.id)).toEqual([id]);
    const { stats } = await client.call(SERVICE, 'ContainerStats', { container_id: id });
    expect(stats?.attributes?.id).toBe(id);
    if (major >= 2) {
      const { status } = await client.call(SERVICE, 'ContainerStatus', { container_id: id });
      expect(status?.resources?.linux?.memory_limit_in_bytes).toBe(String(64 * 1024 * 1024));
    }
    const { images } = await client.call('runtime.v1.ImageService', 'ListImages', {});
    expect(images.flatMap((image) => image.repo_tags)).toContain(runtime.image);
    await pods.removePod(pod.sandboxId, {});
  });

  test('a pod with a denied label does not start, and leaves nothing', async (context) => {
    if (missing !== undefined) context.skip(missing);
    const refused = pods.runPod(spec('miner', { labels: { miner: '1' } }), {});
    await expect(refused).rejects.toMatchObject({
      kind: 'denied',
      message: expect.stringContaining(
        'RuntimePolicy no-miners denies RunPodSandbox for pod team-a/miner',
      ) as string,
    });
    const { items } = await client.call(SERVICE, 'ListPodSandbox', {});
    expect(items).toEqual([]);
  });

  test('errors of the runtime are passed unchanged', async (context) => {
    if (missing !== undefined) context.skip(missing);
    await using direct = new AsyncDisposableStack();
    const other = direct.use(connectRpc(runtime.socketPath));
    const ask = (of: RpcClient): Promise<unknown> =>
      of.call(SERVICE, 'ContainerStatus', { container_id: 'absent' }).then(
        () => 'no error',
        (error: unknown) => (isFault(error) ? [error.kind, error.message] : error),
      );
    const through = await ask(client);
    expect(through).toEqual(await ask(other));
    expect(through).toMatchObject(['not-found', expect.stringContaining('absent')]);
  });

  test('container events are streamed as they happen, or the runtime reports that it has none', async (context) => {
    if (missing !== undefined) context.skip(missing);
    const session = await openSession(join(runtime.directory, 'proxy.sock'));
    const stream = session.request(callHeaders(`/${SERVICE}/GetContainerEvents`));
    stream.on('error', () => undefined);
    const chunks: Buffer[] = [];
    let status: unknown;
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    const takeStatus = (_headers: unknown, _flags: number, raw: string[]): void => {
      status = headerOf(raw, 'grpc-status') ?? status;
    };
    stream.on('response', takeStatus).on('trailers', takeStatus);
    stream.end(Buffer.alloc(5));
    const pod = await pods.runPod(spec('events'), {});
    await pods.removePod(pod.sandboxId, {});
    if (major >= 2) await expect.poll(() => Buffer.concat(chunks).includes(pod.sandboxId)).toBe(true);
    else await expect.poll(() => status).toBe('12');
    stream.close();
    session.destroy();
  });

  test('pods survive a restart of the runtime, reads wait for it, and other calls get UNAVAILABLE', async (context) => {
    if (missing !== undefined) context.skip(missing);
    const pod = await pods.runPod(spec('stays'), {});
    const id = await pods.startContainer(
      pod,
      { name: 'main', image: runtime.image, command: ['sleep', '3600'] },
      {},
    );
    await runtime.containerd.stopDaemon();
    await expect(running.proxy.runtimeHealth()).rejects.toMatchObject({ kind: 'unavailable' });
    await expect(client.call(SERVICE, 'StopContainer', { container_id: id })).rejects.toMatchObject({
      kind: 'unavailable',
      message: expect.stringContaining('the container runtime does not respond') as string,
    });
    // A containerd that has just opened its socket reports that it is not ready (UNKNOWN, or
    // UNAVAILABLE since 2.4), which is passed on.
    const held = client.call(SERVICE, 'Version', { version: 'v1' }).then(
      () => 'answered',
      (error: unknown) => (isFault(error) ? error.message : String(error)),
    );
    await runtime.containerd.startDaemon();
    expect(await held).toMatch(/^answered$|server is not initialized yet/);
    expect((await pods.exec(id, ['echo', 'alive'])).stdout).toBe('alive\n');
    expect(await running.proxy.runtimeHealth()).toMatchObject({ name: 'containerd' });
    await pods.removePod(pod.sandboxId, {});
  });
});
