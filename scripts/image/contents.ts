import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { nativeModuleFiles } from '../../node-agent/host/release.ts';
import type { TarEntry } from '../../src/core/oci-tar.ts';

/** Packages that the image takes files of; what these need is found by reading the files. */
export const PACKAGES = [
  'btrfs-progs',
  'coreutils',
  'e2fsprogs',
  'libstdc++6',
  'nftables',
  'util-linux',
  'xfsprogs',
] as const;

/** What the agent executes, by where Debian has it. */
export const PROGRAMS = [
  '/usr/bin/nice',
  '/usr/bin/rm',
  '/usr/bin/chattr',
  '/usr/sbin/nft',
  '/usr/bin/btrfs',
  '/usr/bin/btrfstune',
  '/usr/sbin/mkfs.btrfs',
  '/usr/sbin/blkid',
  '/usr/sbin/e2fsck',
  '/usr/sbin/mkfs.ext4',
  '/usr/sbin/resize2fs',
  '/usr/sbin/tune2fs',
  '/usr/sbin/mkfs.xfs',
  '/usr/sbin/xfs_db',
  '/usr/sbin/xfs_growfs',
  '/usr/sbin/xfs_repair',
] as const;

/** What these programs read. */
export const DATA = ['/etc/mke2fs.conf'] as const;

/** The user of processes that need no privilege; `nonroot` by its usual number. */
export const NON_ROOT = 65_532;

const NOTHING = '/usr/sbin/nologin';

/** The files that every system has, with the two users that there are. */
export function systemFiles(): TarEntry[] {
  const text = (path: string, content: string): TarEntry => ({
    type: 'file',
    path,
    mode: 0o644,
    data: Buffer.from(content),
  });
  const directory = (path: string, mode = 0o755): TarEntry => ({ type: 'directory', path, mode });
  return [
    ...['dev', 'etc', 'proc', 'run', 'sys', 'usr', 'var'].map((path) => directory(path)),
    directory('root', 0o700),
    // Runtimes name network namespaces by either path.
    { type: 'symlink', path: 'var/run', target: '../run' },
    directory('tmp', 0o1777),
    text(
      'etc/passwd',
      `root:x:0:0:root:/root:${NOTHING}\nnonroot:x:${NON_ROOT}:${NON_ROOT}:nonroot:/:${NOTHING}\n`,
    ),
    text('etc/group', `root:x:0:\nnonroot:x:${NON_ROOT}:\n`),
    // Names from files, then from name servers, as the C library does by default; said, so that no module is looked for.
    text('etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files dns\n'),
  ];
}

/** Where Keelson's own files are in the image. */
export const HOME = 'opt/keelson';

/** `keelson` on the path of the image, which has no shell: Node reads it as it is. */
export const LAUNCHER = `#!/usr/bin/node\nimport '/${HOME}/dist/keelson.mjs';\n`;

/** What Node is told whatever the way it is started: as `bin/keelson` does on a machine. */
export const NODE_OPTIONS =
  '--max-semi-space-size=4 --enable-source-maps --disable-warning=ExperimentalWarning';

/** Keelson's part of the image: the bundles, the native library, the exec binary of CNI, licenses. */
export async function keelsonFiles(root: string, architecture: string): Promise<TarEntry[]> {
  const copy = async (path: string, source: string, mode = 0o644): Promise<TarEntry> => ({
    type: 'file',
    path: `${HOME}/${path}`,
    mode,
    data: await readFile(source),
  });
  const units = await readdir(join(root, 'deploy/systemd'));
  const bundles = (await readdir(join(root, 'dist'))).filter((name) => /\.mjs(\.map)?$/.test(name)).sort();
  return [
    ...(await Promise.all(bundles.map((name) => copy(`dist/${name}`, join(root, 'dist', name))))),
    ...(await Promise.all(
      units.sort().map((name) => copy(`deploy/systemd/${name}`, join(root, 'deploy/systemd', name))),
    )),
    await copy('dist/cni/keelson-cni', join(root, 'dist/cni/keelson-cni'), 0o755),
    ...(await Promise.all(
      nativeModuleFiles(architecture).map((name) =>
        copy(`node_modules/${name}`, join(root, 'node_modules', name)),
      ),
    )),
    await copy('LICENSE', join(root, 'LICENSE')),
    await copy('LICENSE.node', join(root, `node_modules/node-linux-${architecture}/LICENSE`)),
    { type: 'file', path: 'usr/bin/keelson', mode: 0o755, data: Buffer.from(LAUNCHER) },
  ];
}
