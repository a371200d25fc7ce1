import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BUSYBOX_IMAGE, PAUSE_IMAGE, writeBusyboxArchive } from '../../src/demo/busybox-image.ts';
import { type Containerd, startContainerd } from '../../src/demo/containerd.ts';
import { unmountWithin } from '../../node-agent/linux/files/unmount-within.ts';

export interface RealContainerdOptions {
  /** Directory with containerd, ctr, the shim and runc; default: Debian's, from PATH. */
  readonly binDir?: string | undefined;
  /**
   * CNI: where the plugins are, and the network configuration; default: Debian's bridge on a range
   * of its own.
   */
  readonly cniBinDir?: string;
  readonly cniConfig?: object;
  /** More names for the busybox and the pause image. */
  readonly busyboxAliases?: readonly string[];
  readonly pauseAliases?: readonly string[];
}

export interface RealContainerd extends AsyncDisposable {
  readonly containerd: Containerd;
  readonly socketPath: string;
  /** Temporary directory, removed on disposal; room for the test's own sockets. */
  readonly directory: string;
  /** Give it as `cgroup_parent` to every pod. */
  readonly cgroupParent: string;
  /** The image with every busybox applet; its default command is `sh`. */
  readonly image: string;
}

/**
 * A real containerd with the project's images, in a temporary directory of its own. Disposing ends
 * it with its pods, shims, mounts and cgroups.
 */
export async function startRealContainerd({
  binDir,
  cniBinDir = '/usr/lib/cni',
  cniConfig,
  busyboxAliases = [],
  pauseAliases = [],
}: RealContainerdOptions = {}): Promise<RealContainerd> {
  await using made = new AsyncDisposableStack();
  const directory = await mkdtemp('/tmp/keelson-test-');
  const name = directory.slice('/tmp/'.length);
  made.defer(async () => {
    await unmountWithin(directory);
    await rm(directory, { recursive: true, force: true });
    // host-local keeps its allocations there, whatever the runtime's directories are.
    await rm(join('/var/lib/cni/networks', name), { recursive: true, force: true });
  });
  const cniConfDir = join(directory, 'cni');
  await mkdir(cniConfDir);
  await writeFile(join(cniConfDir, '10-test.conflist'), JSON.stringify(cniConfig ?? bridgeConfig(name)));
  const archive = join(directory, 'images.tar');
  await Promise.all([
    writeBusyboxArchive(archive, { aliases: busyboxAliases, pauseAliases }),
    readdir(cniBinDir),
  ]);
  const containerd = made.use(
    await startContainerd({
      directory: join(directory, 'c'),
      binDir,
      cniBinDir,
      cniConfDir,
      sandboxImage: PAUSE_IMAGE,
      cgroup: name,
      path: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
    }),
  );
  await containerd.importImages(archive, [BUSYBOX_IMAGE, PAUSE_IMAGE, ...busyboxAliases, ...pauseAliases]);
  const running = made.move();
  return {
    containerd,
    socketPath: containerd.socketPath,
    directory,
    cgroupParent: `/${name}`,
    image: BUSYBOX_IMAGE,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Debian's loopback-free ptp plugin: no bridge device that would outlive the pods. */
function bridgeConfig(name: string): object {
  return {
    cniVersion: '0.4.0',
    name,
    plugins: [
      {
        type: 'ptp',
        ipMasq: false,
        ipam: { type: 'host-local', ranges: [[{ subnet: '10.213.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
      },
    ],
  };
}
