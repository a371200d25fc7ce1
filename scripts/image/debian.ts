import { createHash } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import { runCommand } from '../../src/runtime/child-process.ts';

/** A Debian package, unpacked in a directory of its own. */
export interface UnpackedPackage {
  readonly name: string;
  /** As in the archive: NAME_VERSION_ARCH. */
  readonly file: string;
  readonly directory: string;
}

/** As if nothing were installed: what comes out does not follow from what this machine has. */
const BARE = ['-o', 'Dir::State::status=/dev/null', '-o', 'Debug::NoLocking=1'];
const DOWNLOAD_MS = 600_000;

/**
 * The packages and all that they depend on, in the versions that apt knows now, unpacked in a cache outside of the repository. Needs no
 * root where apt's lists are up to date; rejects with `precondition` where they are not. apt checks each archive against the signed index.
 */
export async function unpackPackages(
  names: readonly string[],
  cache = join(homedir(), '.cache/keelson/image'),
): Promise<readonly UnpackedPackage[]> {
  try {
    return await findOrUnpack(names, cache);
  } catch (error) {
    // A new machine has no lists of packages, or such that name versions which the archive has no longer.
    if (process.getuid?.() !== 0) {
      const message = 'packages for the image cannot be had; run apt-get update as root, then try again';
      throw new Fault('precondition', message, { cause: error });
    }
    await runCommand('apt-get', ['update', '-qq'], { timeoutMs: DOWNLOAD_MS });
    return await findOrUnpack(names, cache);
  }
}

async function findOrUnpack(names: readonly string[], cache: string): Promise<readonly UnpackedPackage[]> {
  const files = await planDownload(names);
  const key = createHash('sha256').update(files.join('\n')).digest('hex').slice(0, 16);
  const directory = join(cache, key);
  if ((await readdir(directory).catch(() => [])).length === 0) await unpack(files, directory);
  return files.map((file) => ({
    name: file.split('_')[0] ?? file,
    file,
    directory: join(directory, file),
  }));
}

/** NAME_VERSION_ARCH of each package, sorted. */
async function planDownload(names: readonly string[]): Promise<string[]> {
  const args = [...BARE, 'install', '--no-install-recommends', '--print-uris', '-qq', ...names];
  const { stdout } = await runCommand('apt-get', args);
  return stdout
    .split('\n')
    .map((line) => line.split(' ')[1])
    .filter((file) => file !== undefined)
    .map((file) => file.replace(/\.deb$/, ''))
    .sort();
}

/** Whole or not at all: the directory gets its name when everything is in it. */
async function unpack(files: readonly string[], directory: string): Promise<void> {
  const fresh = `${directory}.${process.pid}`;
  const downloads = `${fresh}.debs`;
  try {
    await mkdir(downloads, { recursive: true });
    const wanted = files.map((file) => {
      const [name = '', version = '', architecture = ''] = file.split('_');
      const qualified = architecture === 'all' ? name : `${name}:${architecture}`;
      return `${qualified}=${decodeURIComponent(version)}`;
    });
    await runCommand('apt-get', [...BARE, 'download', '-qq', ...wanted], {
      cwd: downloads,
      timeoutMs: DOWNLOAD_MS,
    });
    for (const file of files) {
      await mkdir(join(fresh, file), { recursive: true });
      await runCommand('dpkg-deb', ['--extract', join(downloads, `${file}.deb`), join(fresh, file)]);
    }
    await mkdir(join(directory, '..'), { recursive: true });
    await rename(fresh, directory);
  } finally {
    await rm(downloads, { recursive: true, force: true });
    await rm(fresh, { recursive: true, force: true });
  }
}
