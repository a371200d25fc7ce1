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
  /** Holds its root, state, socket, configuration and log; made if absent, emptied by nobody but its owner. */
  readonly directory: string;
  /** Directory with containerd, ctr, its shim and, if it has one, runc; default: those in PATH. */
  readonly binDir?: string | undefined;
  readonly cniBinDir: string;
  readonly cniConfDir: string;
  /** Must be imported before the first pod. */
  readonly sandboxImage: string;
  /** Top-level cgroup of its pods: the one they name as `cgroup_parent`; removed at stop. */
  readonly cgroup: string;
  /** A network namespace to run in; default: this process's own. */
  readonly netns?: string | undefined;
  readonly logLevel?: 'debug' | 'info' | 'warn';
  /** PATH of the machine. */
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
}

/** A private containerd that answers CRI calls. Disposing stops it and all that it runs. */
export interface Containerd extends AsyncDisposable {
  readonly socketPath: string;
  /** As it calls itself, e.g. `1.6.20~ds1`. */
  readonly version: string;
  readonly process: ManagedProcess;
  /** Imports an image archive and waits until CRI lists every one of `references`. */
  importImages(archive: string, references: readonly string[], signal?: AbortSignal): Promise<void>;
  /** Stops pods, daemon and shims in this order; leaves no process, mount or cgroup of its own. Idempotent. */
  stop(): Promise<void>;
  /** SIGTERM for the daemon alone; pods go on, as at a machine's containerd restart. */
  stopDaemon(): Promise<void>;
  /** Starts the daemon again on the same state. */
  startDaemon(signal?: AbortSignal): Promise<void>;
}

/** CRI's containerd namespace. */
const NAMESPACE = 'k8s.io';
/** Where every containerd puts its shims' sockets, whatever its own state directory is. */
const SHIM_SOCKETS = '/run/containerd/s';

/** Starts a containerd of its own and waits until its CRI service answers. Rejects with the end of its log if it does not. */
export async function startContainerd(options: ContainerdOptions): Promise<Containerd> {
  const { directory, signal } = options;
  const socketPath = join(directory, 'c.sock');
  const path = options.binDir === undefined ? options.path : `${options.binDir}:${options.path}`;
  const env = { PATH: path };
  const program = (name: string): string =>
    options.binDir === undefined ? name : join(options.binDir, name);

  const versionLine = (await runCommand(program('containerd'), ['--version'], { env, signal })).stdout.trim();
  const major = containerdMajorVersion(versionLine);
  if (major === undefined) {
    throw new Fault(
      'unsupported',
      `containerd --version printed ${JSON.stringify(versionLine)}, which names no release`,
    );
  }
  await mkdir(join(directory, 'state'), { recursive: true, mode: 0o711 });
  const configFile = join(directory, 'config.toml');
  await writeFile(
    configFile,
    containerdConfigToml(
      {
        rootDir: join(directory, 'root'),
        stateDir: join(directory, 'state'),
        socketPath,
        runc: 'runc',
        cniBinDir: options.cniBinDir,
        cniConfDir: options.cniConfDir,
        sandboxImage: options.sandboxImage,
        logLevel: options.logLevel ?? 'info',
      },
      major,
    ),
  );
  const launch = async (
    launchSignal: AbortSignal | undefined,
  ): Promise<{ daemon: ManagedProcess; version: string }> => {
    const daemon = await startProcess({
      name: 'containerd',
      ...inNetns(options.netns, program('containerd'), ['--config', configFile]),
      logFile: join(directory, 'containerd.log'),
      env,
    });
    try {
      return { daemon, version: await waitForCri(daemon, socketPath, launchSignal) };
    } catch (error) {
      await daemon.stop();
      throw error;
    }
  };

  let { daemon, version } = await launch(signal);
  const stop = async (): Promise<void> => {
    if (daemon.running) await removePods(socketPath);
    await daemon.stop();
    await removeContainerdRemains(directory, options.cgroup);
  };
  return {
    socketPath,
    get version() {
      return version;
    },
    get process() {
      return daemon;
    },
    async importImages(archive, references, importSignal) {
      await runCommand(
        program('ctr'),
        ['--address', socketPath, '--namespace', NAMESPACE, 'images', 'import', archive],
        { env, signal: importSignal },
      );
      await waitImages(socketPath, references, importSignal);
    },
    stop,
    async stopDaemon() {
      await daemon.stop();
    },
    async startDaemon(startSignal) {
      ({ daemon, version } = await launch(startSignal));
    },
    [Symbol.asyncDispose]: stop,
  };
}

/**
 * Ends what a containerd in `directory` that is gone left running, and removes its mounts, its cgroup, its shims' sockets and the network
 * results of its pods, however it went.
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

/** The directories of the containers that a containerd in `stateDir` has not given up; each is named for its container. */
async function readBundles(stateDir: string): Promise<string[]> {
  const directory = join(stateDir, 'io.containerd.runtime.v2.task', NAMESPACE);
  return (await readdir(directory).catch(() => [])).map((id) => join(directory, id));
}

/** A shim that is killed leaves its socket, whose name only its bundle tells: `address` before containerd 2, `bootstrap.json` since. */
async function shimSockets(bundles: readonly string[]): Promise<string[]> {
  const files = bundles.flatMap((bundle) => [join(bundle, 'address'), join(bundle, 'bootstrap.json')]);
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  return texts.flatMap((text) => /unix:\/\/(\/run\/containerd\/s\/[0-9a-f]+)/.exec(text)?.[1] ?? []);
}

/** libcni keeps the answer to each ADD here until the DEL, as `NETWORK-CONTAINER-INTERFACE`; no configuration moves it. */
const NETWORK_RESULTS = '/var/lib/cni/results';

async function removeNetworkResults(containerIds: readonly string[]): Promise<void> {
  const names = await readdir(NETWORK_RESULTS).catch(() => []);
  const own = names.filter((name) => containerIds.some((id) => name.includes(`-${id}-`)));
  await Promise.all(own.map((name) => rm(join(NETWORK_RESULTS, name), { force: true })));
}

/** The directory belongs to every containerd of the machine: it goes only when no shim of anybody is left in it. */
async function removeEmptyShimDirectory(): Promise<void> {
  if ((await readdir(SHIM_SOCKETS).catch(() => ['absent'])).length > 0) return;
  await rmdir(SHIM_SOCKETS).catch(() => undefined);
  await rmdir('/run/containerd').catch(() => undefined);
}

/** Resolves with the runtime's version once its CRI service answers. */
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

/** CRI learns of an import by an event, a moment after `ctr` has returned. */
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
          throw new Fault('unavailable', `the runtime does not list ${reference} after its import`);
      },
      { signal, attempts: 100, baseMs: 10, maxMs: 50 },
    );
  }
}

async function removePods(socketPath: string): Promise<void> {
  using client = connectRpc(socketPath);
  const service = 'runtime.v1.RuntimeService';
  // A pod that will not go is no reason to leave the daemon: the remains are removed after it.
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
