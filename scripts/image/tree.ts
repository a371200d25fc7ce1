import { readdir, readFile, readlink } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { isElf, parseElf } from '../../src/core/elf.ts';
import { Fault } from '../../src/core/fault.ts';
import type { TarEntry } from '../../src/core/oci-tar.ts';
import type { UnpackedPackage } from './debian.ts';

/** Debian 12 still ships some of /usr at the root; an image has one place for each. */
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];

interface PackageFile {
  readonly owner: UnpackedPackage;
  readonly source: string;
  /** Absolute path, when it is a link. */
  readonly target: string | undefined;
}

/** The files of unpacked packages by the path that they have on a merged /usr. */
export class PackageTree {
  readonly #files: ReadonlyMap<string, PackageFile>;

  private constructor(files: ReadonlyMap<string, PackageFile>) {
    this.#files = files;
  }

  static async read(packages: readonly UnpackedPackage[]): Promise<PackageTree> {
    const files = new Map<string, PackageFile>();
    for (const owner of packages) {
      for (const entry of await readdir(owner.directory, { recursive: true, withFileTypes: true })) {
        const source = join(entry.parentPath, entry.name);
        const path = mergedPath(source.slice(owner.directory.length));
        if (entry.isFile()) files.set(path, { owner, source, target: undefined });
        if (entry.isSymbolicLink()) {
          const target = mergedPath(posix.resolve(posix.dirname(path), await readlink(source)));
          files.set(path, { owner, source, target });
        }
      }
    }
    return new PackageTree(files);
  }

  /** The file that `path` is in the end, and the package that it is of. Throws `not-found`. */
  find(path: string): PackageFile {
    let current = mergedPath(path);
    for (let links = 0; links < 10; links += 1) {
      const file = this.#files.get(current);
      if (file !== undefined && file.target === undefined) return file;
      const followed = this.#follow(current);
      if (followed === undefined) break;
      current = followed;
    }
    throw new Fault('not-found', `no package has ${path}`);
  }

  /** The path with the first of its links followed; undefined when none of it is one. */
  #follow(path: string): string | undefined {
    const names = path.split('/');
    for (let end = 2; end <= names.length; end += 1) {
      const target = this.#files.get(names.slice(0, end).join('/'))?.target;
      if (target !== undefined) return [target, ...names.slice(end)].join('/');
    }
    return undefined;
  }

  /** The first of the directories that has `name`; throws `not-found`. */
  locate(name: string, directories: readonly string[]): string {
    const path = directories
      .map((directory) => `${directory}/${name}`)
      .find((candidate) => this.#files.has(candidate));
    if (path === undefined)
      throw new Fault('not-found', `no package has ${name} in ${directories.join(', ')}`);
    return path;
  }
}

/** Where a path of the archive is once /bin, /sbin and /lib are links into /usr. */
export function mergedPath(path: string): string {
  return MERGED.some((name) => path.startsWith(`/${name}/`)) ? `/usr${path}` : path;
}

/** `/bin` and its like, as links. */
export function mergedLinks(): TarEntry[] {
  return MERGED.map((name) => ({ type: 'symlink', path: name, target: `usr/${name}` }));
}

export interface Program {
  /** Where it is in the image. */
  readonly path: string;
  readonly data: Buffer;
}

/**
 * The programs and every shared library that they come to need, by path in the image, and the packages these are of. A link becomes the
 * file that it leads to, unless that is one of the programs already.
 */
export async function withLibraries(
  programs: readonly Program[],
  tree: PackageTree,
  libraryDirectories: readonly string[],
): Promise<{ readonly files: ReadonlyMap<string, Buffer>; readonly owners: ReadonlySet<UnpackedPackage> }> {
  const files = new Map<string, Buffer>();
  const owners = new Set<UnpackedPackage>();
  const queue = [...programs];
  for (let program = queue.shift(); program !== undefined; program = queue.shift()) {
    const { path, data } = program;
    if (files.has(path)) continue;
    files.set(path, data);
    if (!isElf(data)) continue;
    const { interpreter, libraries } = parseElf(data);
    const needed = libraries.map((name) => tree.locate(name, libraryDirectories));
    if (interpreter !== undefined) needed.push(mergedPath(interpreter));
    for (const library of needed) {
      const { owner, source } = tree.find(library);
      owners.add(owner);
      queue.push({ path: library, data: await readFile(source) });
    }
  }
  return { files, owners };
}
