/** Settings that separate a containerd from the machine's. */
interface ContainerdConfig {
  /** Persistent data: content, snapshots, metadata. */
  readonly rootDir: string;
  /** Sockets, bundles, pod namespaces; a short path, for socket paths. */
  readonly stateDir: string;
  readonly socketPath: string;
  /** Path or name of runc. */
  readonly runc: string;
  readonly cniBinDir: string;
  readonly cniConfDir: string;
  readonly sandboxImage: string;
  readonly logLevel: 'debug' | 'info' | 'warn';
}

type TomlValue = string | number | boolean | readonly string[];
interface TomlTable {
  readonly [key: string]: TomlValue | TomlTable;
}

/** Unused snapshotters that probe devices or print warnings. */
const UNUSED = ['aufs', 'blockfile', 'btrfs', 'devmapper', 'erofs', 'zfs'].map(
  (snapshotter) => `io.containerd.snapshotter.v1.${snapshotter}`,
);

/**
 * Returns a configuration file: format version 2 before containerd 2.0, version 3 since. OOM score
 * and hugetlb are relaxed, so that it runs in containers; pod namespaces are in its state
 * directory.
 */
export function containerdConfigToml(config: ContainerdConfig, majorVersion: number): string {
  const runtime = {
    default_runtime_name: 'runc',
    runtimes: {
      runc: {
        runtime_type: 'io.containerd.runc.v2',
        options: { BinaryName: config.runc, Root: `${config.stateDir}/runc`, SystemdCgroup: false },
      },
    },
  };
  const common = {
    restrict_oom_score_adj: true,
    tolerate_missing_hugetlb_controller: true,
    netns_mounts_under_state_dir: true,
  };
  const streaming = {
    disable_tcp_service: true,
    stream_server_address: '127.0.0.1',
    stream_server_port: '0',
  };
  const cni = { conf_dir: config.cniConfDir, max_conf_num: 1 };
  const plugins: TomlTable =
    majorVersion < 2
      ? {
          'io.containerd.grpc.v1.cri': {
            ...common,
            ...streaming,
            sandbox_image: config.sandboxImage,
            containerd: { snapshotter: 'overlayfs', ...runtime },
            cni: { bin_dir: config.cniBinDir, ...cni },
          },
        }
      : {
          'io.containerd.cri.v1.images': {
            snapshotter: 'overlayfs',
            pinned_images: { sandbox: config.sandboxImage },
          },
          'io.containerd.cri.v1.runtime': {
            ...common,
            containerd: runtime,
            cni: { bin_dirs: [config.cniBinDir], ...cni },
          },
          'io.containerd.grpc.v1.cri': streaming,
          // Its default socket is the machine's /run/nri/nri.sock.
          'io.containerd.nri.v1.nri': { disable: true },
        };
  return encodeToml({
    version: majorVersion < 2 ? 2 : 3,
    root: config.rootDir,
    state: config.stateDir,
    disabled_plugins: UNUSED,
    grpc: { address: config.socketPath },
    debug: { level: config.logLevel },
    plugins: { 'io.containerd.internal.v1.opt': { path: `${config.rootDir}/opt` }, ...plugins },
  });
}

/**
 * Parses the major version of `containerd --version`: `containerd github.com/... v2.4.2 …` is 2.
 */
export function containerdMajorVersion(versionLine: string): number | undefined {
  const major = / v?(\d+)\.\d+/.exec(versionLine)?.[1];
  return major === undefined ? undefined : Number(major);
}

function encodeToml(table: TomlTable, path: readonly string[] = []): string {
  const values: string[] = [];
  const tables: string[] = [];
  for (const [key, value] of Object.entries(table)) {
    if (isTable(value)) tables.push(encodeToml(value, [...path, key]));
    // JSON strings, numbers, booleans and string lists are valid TOML.
    else values.push(`${key} = ${JSON.stringify(value)}\n`);
  }
  const heading = path.length > 0 && values.length > 0 ? `\n[${path.map(quoteKey).join('.')}]\n` : '';
  return heading + values.join('') + tables.join('');
}

function quoteKey(key: string): string {
  return /^[\w-]+$/.test(key) ? key : JSON.stringify(key);
}

function isTable(value: TomlValue | TomlTable): value is TomlTable {
  return typeof value === 'object' && !Array.isArray(value);
}
