import { mkdir, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Fault } from '../core/fault.ts';
import { connectRpc } from '../rpc/client.ts';
import { endProcess, type ManagedProcess, runCommand, startProcess } from '../runtime/child-process.ts';
import { retry } from '../runtime/retry.ts';
import { removeCgroup } from '../../node-agent/linux/process/cgroups.ts';
import { containerdConfigToml, containerdMajorVersion } from './containerd-config.ts';
import { unmountWithin } from '../../node-agent/linux/files/unmount-within.ts';
import { inNetns } from './netns.ts';
import { listProcesses } from './processes.ts';
import { untilReady } from './ready.ts';

interface ContainerdOptions {
  /**
   * Directory of root, state, socket, configuration and log; created if absent, owned by the
   * caller.
   */
  readonly directory: string;
  /** Directory of containerd, ctr, the shim and runc; default: PATH. */
  readonly binDir?: string | undefined;
  readonly cniBinDir: string;
  readonly cniConfDir: string;
  /** Must be imported before the first pod. */
  readonly sandboxImage: string;
  /** Top-level cgroup of its pods: the one they name as `cgroup_parent`; removed at stop. */
  readonly cgroup: string;
  /** Network namespace; default: this process's. */
  readonly netns?: string | undefined;
  readonly logLevel?: 'debug' | 'info' | 'warn';
  /** Value of PATH. */
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
}

/** A private containerd with CRI. Disposing stops it and its pods. */
export interface Containerd extends AsyncDisposable {
  readonly socketPath: string;
  /** E.g. `1.6.20~ds1`. */
  readonly version: string;
  readonly process: ManagedProcess;
  /** Imports an image archive and waits until CRI lists every one of `references`. */
  importImages(archive: string, references: readonly string[], signal?: AbortSignal): Promise<void>;
  /** Stops pods, daemon and shims; removes mounts and cgroups. Idempotent. */
  stop(): Promise<void>;
  /** Stops the daemon only; pods keep running. */
  stopDaemon(): Promise<void>;
  /** Starts the daemon again on the same state. */
  startDaemon(signal?: AbortSignal): Promise<void>;
}

/** CRI's containerd namespace. */
const NAMESPACE = 'k8s.io';
/** Directory of shims' sockets, independent of the state directory. */
const SHIM_SOCKETS = '/run/containerd/s';

/** Starts a private containerd and waits for its CRI service. Rejects with the end of its log. */
export async function startContainerd(options: ContainerdOptions): Promise<Containerd> {
  const { directory, signal } = options;
  const socketPath = join(directory, 'c.sock');
  const env = { PATH: options.binDir === undefined ? options.path : `${options.binDir}:${options.path}` };
  const program = (name: string): string =>
    options.binDir === undefined ? name : join(options.binDir, name);
  const versionLine = (await runCommand(program('containerd'), ['--version'], { env, signal })).stdout.trim();
  const configFile = await writeConfig(options, versionLine);
  const launch = async (launchSignal: AbortSignal | undefined): Promise<Daemon> => {
    const process = await startProcess({
      name: 'containerd',
      ...inNetns(options.netns, program('containerd'), ['--config', configFile]),
      logFile: join(directory, 'containerd.log'),
      env,
    });
    try {
      return { process, version: await waitForCri(process, socketPath, launchSignal) };
    } catch (error) {
      await process.stop();
      throw error;
    }
  };

  let daemon = await launch(signal);
  const stop = async (): Promise<void> => {
    if (daemon.process.running) await removePods(socketPath);
    await daemon.process.stop();
    await removeContainerdRemains(directory, options.cgroup);
  };
  return {
    socketPath,
    get version() {
      return daemon.version;
    },
    get process() {
      return daemon.process;
    },
    async importImages(archive, references, importSignal) {
      const args = ['--address', socketPath, '--namespace', NAMESPACE, 'images', 'import', archive];
      await runCommand(program('ctr'), args, { env, signal: importSignal });
      await waitImages(socketPath, references, importSignal);
    },
    stop,
    async stopDaemon() {
      await daemon.process.stop();
    },
    async startDaemon(startSignal) {
      daemon = await launch(startSignal);
    },
    [Symbol.asyncDispose]: stop,
  };
}

interface Daemon {
  readonly process: ManagedProcess;
  readonly version: string;
}

/** Creates the state directory and the configuration; returns the path of the configuration. */
async function writeConfig(options: ContainerdOptions, versionLine: string): Promise<string> {
  const { directory, cniBinDir, cniConfDir, sandboxImage, logLevel = 'info' } = options;
  const major = containerdMajorVersion(versionLine);
  if (major === undefined) {
    throw new Fault(
      'unsupported',
      `containerd --version printed ${JSON.stringify(versionLine)}; expected a release`,
    );
  }
  await mkdir(join(directory, 'state'), { recursive: true, mode: 0o711 });
  const config = {
    rootDir: join(directory, 'root'),
    stateDir: join(directory, 'state'),
    socketPath: join(directory, 'c.sock'),
    runc: 'runc',
    cniBinDir,
    cniConfDir,
    sandboxImage,
    logLevel,
  };
  const file = join(directory, 'config.toml');
  await writeFile(file, containerdConfigToml(config, major));
  return file;
}

/**
 * Kills the shims of a stopped or killed containerd in `directory`, and removes its mounts, its
 * cgroup, its shims' sockets and the network results of its pods.
 */
export async function removeContainerdRemains(directory: string, cgroup: string): Promise<void> {
  const socketPath = join(directory, 'c.sock');
  const shims = (await listProcesses()).filter(
    ({ program, args }) => program.startsWith('containerd-shim') && args.includes(socketPath),
  );
  const bundles = await readBundles(join(directory, 'state'));
  const sockets = await shimSockets(bundles);
  await Promise.all(shims.map(({ pid }) => endProcess(pid, { graceMs: 0 })));
  await removeCgroup(cgroup);
  await unmountWithin(directory);
  await Promise.all(sockets.map((socket) => rm(socket, { force: true })));
  await removeNetworkResults(bundles.map((bundle) => basename(bundle)));
  await removeEmptyShimDirectory();
}

/**
 * Returns the bundle directories of the containers in `stateDir`; their names are container ids.
 */
async function readBundles(stateDir: string): Promise<string[]> {
  const directory = join(stateDir, 'io.containerd.runtime.v2.task', NAMESPACE);
  return (await readdir(directory).catch(() => [])).map((id) => join(directory, id));
}

/**
 * Returns sockets of killed shims, from their bundles: `address` before containerd 2, then
 * `bootstrap.json`.
 */
async function shimSockets(bundles: readonly string[]): Promise<string[]> {
  const files = bundles.flatMap((bundle) => [join(bundle, 'address'), join(bundle, 'bootstrap.json')]);
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  return texts.flatMap((text) => /unix:\/\/(\/run\/containerd\/s\/[0-9a-f]+)/.exec(text)?.[1] ?? []);
}

/** libcni caches the result of each ADD here until DEL: `NETWORK-CONTAINER-INTERFACE`. */
const NETWORK_RESULTS = '/var/lib/cni/results';

async function removeNetworkResults(containerIds: readonly string[]): Promise<void> {
  const names = await readdir(NETWORK_RESULTS).catch(() => []);
  const own = names.filter((name) => containerIds.some((id) => name.includes(`-${id}-`)));
  await Promise.all(own.map((name) => rm(join(NETWORK_RESULTS, name), { force: true })));
}

/** All containerds of the machine share the directory: removes it only when it is empty. */
async function removeEmptyShimDirectory(): Promise<void> {
  if ((await readdir(SHIM_SOCKETS).catch(() => ['absent'])).length > 0) return;
  await rmdir(SHIM_SOCKETS).catch(() => undefined);
  await rmdir('/run/containerd').catch(() => undefined);
}

/** Resolves to the runtime's version once its CRI service responds. */
async function waitForCri(
  daemon: ManagedProcess,
  socketPath: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  using client = connectRpc(socketPath);
  const { runtime_version: version } = await untilReady(
    daemon,
    socketPath,
    (callSignal) =>
      client.call(
        'runtime.v1.RuntimeService',
        'Version',
        { version: 'v1' },
        { signal: callSignal, timeoutMs: 5_000 },
      ),
    { signal },
  );
  return version;
}

/** CRI lists imported images asynchronously. */
async function waitImages(
  socketPath: string,
  references: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  using client = connectRpc(socketPath);
  for (const reference of references) {
    await retry(
      async () => {
        const { image } = await client.call(
          'runtime.v1.ImageService',
          'ImageStatus',
          { image: { image: reference } },
          { signal },
        );
        if (image === null)
          throw new Fault('unavailable', `image ${reference} is not listed after its import`);
      },
      { signal, attempts: 100, baseMs: 10, maxMs: 50 },
    );
  }
}

async function removePods(socketPath: string): Promise<void> {
  using client = connectRpc(socketPath);
  const service = 'runtime.v1.RuntimeService';
  // Failures are ignored: removeContainerdRemains follows.
  const { items } = await client
    .call(service, 'ListPodSandbox', {}, { timeoutMs: 5_000 })
    .catch(() => ({ items: [] }));
  await Promise.all(
    items.map(async ({ id }) => {
      const request = { pod_sandbox_id: id };
      await client.call(service, 'StopPodSandbox', request, { timeoutMs: 15_000 }).catch(() => undefined);
      await client.call(service, 'RemovePodSandbox', request, { timeoutMs: 15_000 }).catch(() => undefined);
    }),
  );
}
