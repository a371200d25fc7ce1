import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VERSION } from '../../src/version.ts';
import { isElf } from '../../src/core/elf.ts';
import { Fault } from '../../src/core/fault.ts';
import { encodeImageArchive, ociArchitecture } from '../../src/core/oci-image.ts';
import { encodeTar, type TarEntry } from '../../src/core/oci-tar.ts';
import { runCommand } from '../../src/runtime/child-process.ts';
import { DATA, HOME, keelsonFiles, NODE_OPTIONS, PACKAGES, PROGRAMS, systemFiles } from './contents.ts';
import { type UnpackedPackage, unpackPackages } from './debian.ts';
import { mergedLinks, PackageTree, type Program, withLibraries } from './tree.ts';

const ROOT = join(import.meta.dirname, '../..');
/** What manifests call it; its tag is the release. */
export const IMAGE = `keelson.dev/keelson:${VERSION}`;

const TRIPLET: Readonly<Record<string, string>> = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };

/** Where Debian's loader looks for libraries on this processor (ld.so(8)); none where no image is made. */
export const LIBRARIES: readonly string[] = [TRIPLET[process.arch]].flatMap((triplet) =>
  triplet === undefined ? [] : [`/usr/lib/${triplet}`],
);

/** The image as an OCI archive, the same bytes for the same packages and build. Rejects with `not-found` for what no package has. */
export async function packImage(): Promise<Buffer> {
  if (LIBRARIES.length === 0) throw new Fault('unsupported', `there is no image for ${process.arch}`);
  const packages = await unpackPackages(PACKAGES);
  const tree = await PackageTree.read(packages);
  const own = withParents(await keelsonFiles(ROOT, process.arch));
  const programs = [
    { path: '/usr/bin/node', data: await strippedNode() },
    ...(await Promise.all(PROGRAMS.map((path) => readProgram(path, tree)))),
    ...own.flatMap((entry) =>
      entry.type === 'file' && isElf(entry.data)
        ? [{ path: `/${entry.path}`, data: Buffer.from(entry.data) }]
        : [],
    ),
  ];
  const { files, owners } = await withLibraries(programs, tree, LIBRARIES);
  const all = new Set([...owners, ...[...PROGRAMS, ...DATA].map((path) => tree.find(path).owner)]);
  const inOwn = new Set(own.map(({ path }) => `/${path}`));
  const base = [
    ...systemFiles(),
    ...mergedLinks(),
    ...[...files].flatMap(([path, data]) => (inOwn.has(path) ? [] : [executable(path, data)])),
    ...(await Promise.all(DATA.map(async (path) => plain(path, await readFile(tree.find(path).source))))),
    ...(await copyrights([...all], tree)),
  ];
  return encodeImageArchive(
    [
      {
        reference: IMAGE,
        // What changes from release to release is the layer above what does not.
        layers: [encodeTar(sorted(withParents(base))), encodeTar(sorted(own))],
        run: {
          entrypoint: ['/usr/bin/node', `/${HOME}/dist/keelson.mjs`],
          env: ['PATH=/usr/sbin:/usr/bin', `NODE_OPTIONS=${NODE_OPTIONS}`],
          labels: {
            'org.opencontainers.image.title': 'keelson',
            'org.opencontainers.image.version': VERSION,
            'org.opencontainers.image.licenses': 'Apache-2.0',
          },
        },
      },
    ],
    ociArchitecture(process.arch),
    { zipped: true },
  );
}

/** A sixth of Node is for debuggers of Node. */
async function strippedNode(): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), 'keelson-image-'));
  try {
    const file = join(directory, 'node');
    await runCommand('strip', ['-o', file, join(ROOT, `node_modules/node-linux-${process.arch}/bin/node`)]);
    return await readFile(file);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function readProgram(path: string, tree: PackageTree): Promise<Program> {
  return { path, data: await readFile(tree.find(path).source) };
}

/** Whoever hands on Debian's binaries hands on what their authors ask for (Debian policy 12.5). */
async function copyrights(packages: readonly UnpackedPackage[], tree: PackageTree): Promise<TarEntry[]> {
  return await Promise.all(
    packages.map(async ({ name }) => {
      const path = `/usr/share/doc/${name}/copyright`;
      return plain(path, await readFile(tree.find(path).source));
    }),
  );
}

function executable(path: string, data: Uint8Array): TarEntry {
  return { type: 'file', path: path.slice(1), mode: 0o755, data };
}

function plain(path: string, data: Uint8Array): TarEntry {
  return { type: 'file', path: path.slice(1), mode: 0o644, data };
}

/** The entries, and the directories above them that are not among them. */
export function withParents(entries: readonly TarEntry[]): TarEntry[] {
  const present = new Set(entries.map(({ path }) => path));
  const all = [...entries];
  for (const { path } of entries) {
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
      const parent = path.slice(0, end);
      if (present.has(parent)) continue;
      present.add(parent);
      all.push({ type: 'directory', path: parent, mode: 0o755 });
    }
  }
  return all;
}

/** By path: the same for every order in which files were found, and each directory before what is in it. */
function sorted(entries: readonly TarEntry[]): TarEntry[] {
  return [...entries].sort((left, right) => (left.path < right.path ? -1 : 1));
}
