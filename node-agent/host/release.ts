import { mkdir, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CNI_BINARY } from '../../src/core/cni/cni-config.ts';
import { Fault } from '../../src/core/fault.ts';
import { runCommand } from '../../src/runtime/child-process.ts';
import { placeFile } from './placed-file.ts';

/** Location of releases on a host, below its root. */
const HOME = 'opt/keelson';
const UNITS = 'etc/systemd/system';
/** Loaded by name, because a part of it is native. */
const KOFFI = ['package.json', 'index.js', 'src/koffi/index.js', 'src/koffi/src/static.js', 'LICENSE.txt'];
/** Prints the paths of the shared libraries of a Node that has loaded koffi, as JSON. */
const LIST_LIBRARIES = `
  process.report.excludeNetwork = true;
  await import(process.argv[1]);
  console.log(JSON.stringify(process.report.getReport().sharedObjects));`;

export interface ReleaseOptions {
  /** The host's root, for example `/host`. */
  readonly root: string;
  readonly version: string;
  /** The program that runs the bundle. */
  readonly node: string;
  /** The folder of the bundle. */
  readonly dist: string;
  /** The folder of the npm packages that the bundle loads. */
  readonly modules: string;
  /** The folder of the systemd units. */
  readonly units: string;
}

/**
 * Files of the npm packages that a bundle loads, below `node_modules`; the last one is the native
 * library.
 */
export function nativeModuleFiles(architecture: string): readonly string[] {
  const native = `@koromix/koffi-linux-${architecture}`;
  return [
    ...KOFFI.map((name) => `koffi/${name}`),
    ...['package.json', 'index.js', `linux_${architecture}/koffi.node`].map((name) => `${native}/${name}`),
  ];
}

/**
 * Installs a release on a host that depends on nothing of the host: Node with its libraries and
 * their loader, the bundle, a launcher, the CNI binary, the units. The release becomes the current
 * one by one rename; a running one is unaffected. Idempotent.
 */
export async function installRelease({
  root,
  version,
  node,
  dist,
  modules,
  units,
}: ReleaseOptions): Promise<void> {
  const home = join(root, HOME, version);
  const native = nativeModuleFiles(process.arch);
  const libraries = await listLibraries(node, join(modules, 'koffi/index.js'));
  const loader = libraries.find((path) => basename(path).startsWith('ld-'));
  if (loader === undefined) throw new Fault('unsupported', `${node} has no dynamic loader`);
  await placeFile(join(home, 'bin/node'), await readFile(node), 0o755);
  for (const path of libraries) {
    await placeFile(join(home, 'lib', basename(path)), await readFile(path), 0o755);
  }
  for (const name of await readdir(dist)) {
    if (/\.mjs(\.map)?$/.test(name))
      await placeFile(join(home, 'dist', name), await readFile(join(dist, name)), 0o644);
  }
  for (const name of native) {
    await placeFile(join(home, 'node_modules', name), await readFile(join(modules, name)), 0o644);
  }
  await placeFile(join(home, 'dist/cni', CNI_BINARY), await readFile(join(dist, 'cni', CNI_BINARY)), 0o755);
  await placeFile(join(home, 'bin/keelson'), Buffer.from(launcher(version, basename(loader))), 0o755);
  for (const name of await readdir(units)) {
    await placeFile(join(root, UNITS, name), await readFile(join(units, name)), 0o644);
  }
  await makeCurrent(join(root, HOME), version);
}

/** Removes every release and the units. Idempotent. */
export async function removeReleases({ root, units }: Pick<ReleaseOptions, 'root' | 'units'>): Promise<void> {
  for (const name of await readdir(units)) await rm(join(root, UNITS, name), { force: true });
  await rm(join(root, HOME), { recursive: true, force: true });
}

/** Ignores the host's own libraries: they may be older, or of another C library. */
function launcher(version: string, loader: string): string {
  const home = `/${HOME}/${version}`;
  return [
    '#!/bin/sh',
    `exec ${home}/lib/${loader} --library-path ${home}/lib ${home}/bin/node \\`,
    '  --max-semi-space-size=4 --enable-source-maps --disable-warning=ExperimentalWarning \\',
    `  ${home}/dist/keelson.mjs "$@"`,
    '',
  ].join('\n');
}

async function makeCurrent(home: string, version: string): Promise<void> {
  const fresh = join(home, `.current-${process.pid}`);
  await mkdir(home, { recursive: true });
  await rm(fresh, { force: true });
  await symlink(version, fresh);
  await rename(fresh, join(home, 'current'));
}

/**
 * Returns the paths of the shared libraries that `node` and koffi load, the dynamic loader among
 * them, as the loader reports them.
 */
async function listLibraries(node: string, koffi: string): Promise<string[]> {
  const args = ['--input-type=module', '--eval', LIST_LIBRARIES, koffi];
  const { stdout } = await runCommand(node, args, { env: {} });
  const loaded = JSON.parse(stdout) as string[];
  // The kernel's vDSO has a name and no path; koffi's own file is installed with its package.
  return loaded.filter((path) => path.startsWith('/') && !path.endsWith('.node'));
}
