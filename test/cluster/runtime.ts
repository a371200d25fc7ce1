import { access, mkdir, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { PAUSE_IMAGE, writeBusyboxArchive } from '../../src/demo/busybox-image.ts';
import { containerdConfigToml, containerdMajorVersion } from '../../src/demo/containerd-config.ts';
import { connectRpc } from '../../src/rpc/client.ts';
import { runCommand } from '../../src/runtime/child-process.ts';
import { isServed } from '../../src/runtime/unix-socket.ts';
import { Fault } from '../../src/core/fault.ts';
import { ensureTool } from '../tools/build-tool.ts';
import type { Daemon, Machine } from './machine.ts';

/** `debian`: what is installed; `latest`: the pinned Go module. */
export type ContainerdChoice = 'debian' | 'latest';

export const CONTAINERD_SOCKET = '/run/containerd/containerd.sock';
const CONFIG = '/etc/containerd/config.toml';
const SYSTEM_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Makes a directory with containerd, ctr and shim of the choice; undefined for those of the system.
 * runc is the system's: kubelet asks for seccomp profiles, which a runc built without libseccomp
 * refuses.
 */
export async function ensureContainerdBinaries(
  directory: string,
  choice: ContainerdChoice,
): Promise<string | undefined> {
  if (choice === 'debian') return undefined;
  const binDir = join(directory, 'containerd-bin');
  await mkdir(binDir, { recursive: true });
  // In turn: each build takes all processors.
  for (const name of ['containerd', 'ctr', 'containerd-shim-runc-v2'] as const) {
    const target = await ensureTool(name);
    await rm(join(binDir, name), { force: true });
    await symlink(target, join(binDir, name));
  }
  return binDir;
}

/** Makes the archive of the project's own images, which the clusters of one directory share. */
export async function ensureImageArchive(directory: string): Promise<string> {
  const archive = join(directory, 'images.tar');
  if (!(await exists(archive))) {
    await mkdir(directory, { recursive: true });
    await writeBusyboxArchive(`${archive}.new`);
    await rename(`${archive}.new`, archive);
  }
  return archive;
}

/** containerd on a machine, with the files where every tool looks for them. */
export class Runtime {
  readonly #machine: Machine;
  readonly #binDir: string | undefined;

  constructor(machine: Machine, binDir: string | undefined) {
    this.#machine = machine;
    this.#binDir = binDir;
  }

  /**
   * Starts it unless it runs, waits until CRI answers, and imports `archive` if its pause image is
   * absent.
   */
  async ensure(archive: string, signal?: AbortSignal): Promise<void> {
    await this.#configure();
    await this.#machine.ensureDaemon(this.#daemon());
    const socket = await this.#machine.outside(CONTAINERD_SOCKET);
    await this.#machine.untilServing(this.#daemon(), async () => await this.#answers(socket), { signal });
    if (!(await this.#hasImage(socket, PAUSE_IMAGE))) await this.load(archive, signal);
  }

  /** Imports an image archive into the namespace that Kubernetes uses. */
  async load(archive: string, signal?: AbortSignal): Promise<void> {
    const args = ['--address', CONTAINERD_SOCKET, '--namespace', 'k8s.io', 'images', 'import'];
    await this.#machine.run(this.#program('ctr'), [...args, archive], { signal, timeoutMs: 300_000 });
  }

  /** SIGTERM for the daemon alone: containers go on. */
  async stop(): Promise<void> {
    await this.#machine.stopDaemon(this.#daemon());
  }

  async running(): Promise<boolean> {
    return (await this.#machine.findDaemon(this.#daemon())) !== undefined;
  }

  #daemon(): Daemon {
    const path = this.#binDir === undefined ? SYSTEM_PATH : `${this.#binDir}:${SYSTEM_PATH}`;
    return {
      name: 'containerd',
      file: this.#program('containerd'),
      args: ['--config', CONFIG],
      env: { PATH: path },
    };
  }

  #program(name: string): string {
    return this.#binDir === undefined ? name : join(this.#binDir, name);
  }

  async #configure(): Promise<void> {
    const line = (await runCommand(this.#program('containerd'), ['--version'])).stdout.trim();
    const major = containerdMajorVersion(line);
    if (major === undefined) {
      throw new Fault(
        'unsupported',
        `containerd --version printed ${JSON.stringify(line)}, which names no release`,
      );
    }
    const toml = containerdConfigToml(
      {
        rootDir: '/var/lib/containerd',
        stateDir: '/run/containerd',
        socketPath: CONTAINERD_SOCKET,
        runc: 'runc',
        cniBinDir: '/opt/cni/bin',
        cniConfDir: '/etc/cni/net.d',
        sandboxImage: PAUSE_IMAGE,
        logLevel: 'info',
      },
      major,
    );
    // Where the agent's pods and other tools expect the names of pods' namespaces.
    await this.#machine.write(CONFIG, toml.replace(/^netns_mounts_under_state_dir = true\n/m, ''));
  }

  async #answers(socket: string): Promise<true | undefined> {
    if (!(await isServed(socket))) return undefined;
    using client = connectRpc(socket);
    await client.call('runtime.v1.RuntimeService', 'Version', { version: 'v1' }, { timeoutMs: 30_000 });
    return true;
  }

  async #hasImage(socket: string, reference: string): Promise<boolean> {
    using client = connectRpc(socket);
    const request = { image: { image: reference } };
    const { image } = await client.call('runtime.v1.ImageService', 'ImageStatus', request, {
      timeoutMs: 60_000,
    });
    return image !== null;
  }
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
