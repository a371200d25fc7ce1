import { mkdir, readdir, readFile, realpath, rename, rm, symlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CNI_BINARY } from '../../src/core/cni/cni-config.ts';
import { isElf, parseElf } from '../../src/core/elf.ts';
import { Fault } from '../../src/core/fault.ts';
import { placeFile } from './placed-file.ts';

/** Location of releases on a host, below its root. */
const HOME = 'opt/keelson';
const UNITS = 'etc/systemd/system';
/** Loaded by name, because a part of it is native. */
const KOFFI = ['package.json', 'index.js', 'src/koffi/index.js', 'src/koffi/src/static.js', 'LICENSE.txt'];
/** Library directories of Debian, and of distributions with a single one. */
const LIBRARIES: Readonly<Record<string, readonly string[]>> = {
  x64: ['/usr/lib/x86_64-linux-gnu', '/lib/x86_64-linux-gnu', '/usr/lib64', '/lib64', '/usr/lib', '/lib'],
  arm64: ['/usr/lib/aarch64-linux-gnu', '/lib/aarch64-linux-gnu', '/usr/lib64', '/lib64', '/usr/lib', '/lib'],
};

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
  const program = await readFile(node);
  const { interpreter } = parseElf(program);
  if (interpreter === undefined) throw new Fault('unsupported', `${node} has no dynamic loader`);
  await placeFile(join(home, 'bin/node'), program, 0o755);
  const native = nativeModuleFiles(process.arch);
  const addon = await readFile(join(modules, native.at(-1) ?? ''));
  for (const library of await findLibraries(program, addon)) {
    await placeFile(join(home, 'lib', basename(library)), await readFile(library), 0o755);
  }
  await placeFile(join(home, 'lib', basename(interpreter)), await readFile(interpreter), 0o755);
  for (const name of await readdir(dist)) {
    if (/\.mjs(\.map)?$/.test(name))
      await placeFile(join(home, 'dist', name), await readFile(join(dist, name)), 0o644);
  }
  for (const name of native) {
    await placeFile(join(home, 'node_modules', name), await readFile(join(modules, name)), 0o644);
  }
  await placeFile(join(home, 'dist/cni', CNI_BINARY), await readFile(join(dist, 'cni', CNI_BINARY)), 0o755);
  await placeFile(join(home, 'bin/keelson'), Buffer.from(launcher(version, basename(interpreter))), 0o755);
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

/** Returns the paths of all shared libraries that the programs need. */
async function findLibraries(...programs: readonly Buffer[]): Promise<string[]> {
  const found = new Map<string, string>();
  const queue = [...programs];
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    if (!isElf(file)) continue;
    for (const name of parseElf(file).libraries) {
      if (found.has(name)) continue;
      const { path, data } = await readLibrary(name);
      found.set(name, path);
      queue.push(data);
    }
  }
  return [...found.values()];
}

async function readLibrary(name: string): Promise<{ readonly path: string; readonly data: Buffer }> {
  for (const directory of LIBRARIES[process.arch] ?? []) {
    const path = join(directory, name);
    const exists = await realpath(path).catch(() => undefined);
    if (exists !== undefined) return { path, data: await readFile(path) };
  }
  throw new Fault('not-found', `library ${name} not found in the library directories of this system`);
}
