import { readdir, readFile } from 'node:fs/promises';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { removeContainerdRemains } from '../../../src/demo/containerd.ts';
import { type Pod, PodRuntime } from '../../../src/demo/pods.ts';
import { listProcesses } from '../../../src/demo/processes.ts';
import { connectRpc } from '../../../src/rpc/client.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { type RealContainerd, startRealContainerd } from '../../real/containerd.ts';
import { containerdFromModules } from '../../real/module-containerd.ts';
import { requireTool } from '../../tools/require-tool.ts';

const IDLE = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done'];

async function runPod(
  real: RealContainerd,
): Promise<{ runtime: PodRuntime; pod: Pod; containerId: string } & Disposable> {
  const client = connectRpc(real.socketPath);
  const runtime = new PodRuntime(client);
  const pod = await runtime.runPod(
    {
      name: 'first',
      namespace: 'test',
      uid: crypto.randomUUID(),
      cgroupParent: real.cgroupParent,
      logDirectory: `${real.directory}/logs`,
    },
    {},
  );
  const containerId = await runtime.startContainer(
    pod,
    { name: 'main', image: real.image, command: IDLE },
    {},
  );
  return { runtime, pod, containerId, [Symbol.dispose]: () => client[Symbol.dispose]() };
}

const shimSockets = (): Promise<string[]> => readdir('/run/containerd/s').catch(() => []);

async function traces({ directory, cgroupParent }: RealContainerd): Promise<string[]> {
  const [mounts, processes, cgroups] = await Promise.all([
    readFile('/proc/self/mountinfo', 'utf8'),
    runCommand('ps', ['-eo', 'args', '--no-headers']),
    runCommand('find', ['/sys/fs/cgroup', '-maxdepth', '2', '-name', cgroupParent.slice(1)]),
  ]);
  const lines = `${mounts}${processes.stdout}`.split('\n').filter((line) => line.includes(directory));
  return [...lines, ...cgroups.stdout.split('\n').filter((path) => path !== '')];
}

describe.each(['Debian', 'modules'])('a private containerd from %s', (origin) => {
  const resources = new AsyncDisposableStack();
  let binDir: string | undefined;
  beforeEach(async (context) => {
    if (origin === 'Debian' || binDir !== undefined) return;
    await requireTool(context, 'containerd');
    binDir = resources.use(await containerdFromModules()).binDir;
  }, 600_000);
  afterAll(() => resources.disposeAsync());

  test('runs a pod of locally built images, and leaves nothing when it is stopped', async () => {
    const machine = await readdir('/run');
    const real = await startRealContainerd({ binDir });
    {
      using running = await runPod(real);
      const { stdout, exitCode } = await running.runtime.exec(running.containerId, [
        'sh',
        '-c',
        'echo $$; ls /bin/sh; id -u',
      ]);
      expect({ stdout, exitCode }).toEqual({
        stdout: expect.stringContaining('/bin/sh\n0\n') as string,
        exitCode: 0,
      });
    }
    expect(await traces(real)).not.toEqual([]);
    await real[Symbol.asyncDispose]();
    expect(await traces(real)).toEqual([]);
    // Only what it made itself: another containerd may run on this machine.
    const made = (await readdir('/run')).filter((name) => !machine.includes(name) && name !== 'containerd');
    expect(made).toEqual([]);
  });

  test('its pods survive a restart of the daemon', async () => {
    await using real = await startRealContainerd({ binDir });
    using running = await runPod(real);
    await real.containerd.stopDaemon();
    await real.containerd.startDaemon();
    expect((await running.runtime.exec(running.containerId, ['true'])).exitCode).toBe(0);
  });

  test('containers, mounts, sockets and network results of a killed daemon and its killed shims can be removed', async () => {
    await using real = await startRealContainerd({ binDir });
    const before = await shimSockets();
    const resultsBefore = await networkResults();
    using _running = await runPod(real);
    const made = (await shimSockets()).filter((name) => !before.includes(name));
    expect(made).not.toEqual([]);
    const results = (await networkResults()).filter((name) => !resultsBefore.includes(name));
    expect(results).not.toEqual([]);
    const shims = (await listProcesses()).filter(
      ({ program, args }) => program.startsWith('containerd-shim') && args.includes(real.socketPath),
    );
    expect(shims).toHaveLength(1);
    for (const pid of [real.containerd.process.pid, ...shims.map((shim) => shim.pid)])
      process.kill(pid, 'SIGKILL');
    await real.containerd.process.exited;
    // Containers go on without their shim.
    expect((await traces(real)).length).toBeGreaterThan(0);

    await removeContainerdRemains(`${real.directory}/c`, real.cgroupParent.slice(1));
    expect(await traces(real)).toEqual([]);
    expect((await shimSockets()).filter((name) => made.includes(name))).toEqual([]);
    expect((await networkResults()).filter((name) => results.includes(name))).toEqual([]);
  });
});

/** What libcni remembers of the pods of every runtime on this machine. */
async function networkResults(): Promise<string[]> {
  return (await readdir('/var/lib/cni/results').catch(() => [])).sort();
}
