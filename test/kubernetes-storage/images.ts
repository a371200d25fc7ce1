import { readFile } from 'node:fs/promises';
import { PackageTree, withLibraries } from '../../scripts/image/tree.ts';
import { unpackPackages } from '../../scripts/image/debian.ts';
import { LIBRARIES, withParents } from '../../scripts/image/pack.ts';
import { readBusyboxLayer } from '../../src/demo/busybox-image.ts';
import { Fault } from '../../src/core/fault.ts';
import { encodeImageArchive, ociArchitecture, type OciImage } from '../../src/core/oci-image.ts';
import { encodeTar, type TarEntry } from '../../src/core/oci-tar.ts';
import { runCommand } from '../../src/runtime/child-process.ts';
import { ensureTool } from '../tools/build-tool.ts';

/** In place of every registry that the tests know: nothing is pulled from anywhere. */
const REGISTRY = 'keelson.dev/suites';

/** What `KUBE_TEST_REPO_LIST` reads: the keys are its own. */
export function registryList(): string {
  const keys = ['promoterE2eRegistry', 'gcRegistry', 'sigStorageRegistry', 'dockerLibraryRegistry'];
  return keys.map((key) => `${key}: ${REGISTRY}\n`).join('');
}

/** What an image has to be able to do for the storage tests, by its name without registry and tag. */
const KINDS: Readonly<Record<string, 'busybox' | 'agnhost' | 'coreutils'>> = {
  agnhost: 'agnhost',
  busybox: 'busybox',
  // dd with flags that busybox does not have.
  'glibc-dns-testing': 'coreutils',
  // For its shell alone: no web server is asked for.
  nginx: 'busybox',
  pause: 'agnhost',
};

/** An archive with the images that the storage tests use, made here of busybox, Debian's coreutils and agnhost, under the names that they ask for. */
export async function buildSuiteImages(listImages: readonly string[]): Promise<Buffer> {
  const [busybox, coreutils, agnhost] = await Promise.all([
    readBusyboxLayer(),
    coreutilsLayer(),
    agnhostLayer(),
  ]);
  const images = listImages.flatMap((reference): OciImage[] => {
    const name = /([^/:]+):[^/:]+$/.exec(reference)?.[1] ?? '';
    switch (KINDS[name]) {
      case 'busybox':
        return [{ reference, layers: [busybox], run: { command: ['sh'] } }];
      case 'coreutils':
        return [{ reference, layers: [busybox, coreutils], run: { command: ['sh'] } }];
      case 'agnhost':
        return [
          { reference, layers: [busybox, agnhost], run: { entrypoint: ['/agnhost'], command: ['pause'] } },
        ];
      default:
        return [];
    }
  });
  for (const name of Object.keys(KINDS)) {
    if (images.some(({ reference }) => reference.includes(`/${name}:`))) continue;
    throw new Fault('not-found', `the tests know no image ${name}: look what they use in its place now`);
  }
  return encodeImageArchive(images, ociArchitecture(process.arch));
}

/** Full names of all images that the tests know, under our registry. */
export async function listSuiteImages(registryListFile: string): Promise<readonly string[]> {
  const { stdout } = await runCommand(await ensureTool('e2e.test'), ['--list-images'], {
    env: { PATH: '/usr/bin:/bin', KUBE_TEST_REPO_LIST: registryListFile },
  });
  return stdout.split('\n').filter((line) => line.startsWith(`${REGISTRY}/`));
}

async function agnhostLayer(): Promise<Buffer> {
  const data = await readFile(await ensureTool('agnhost'));
  return encodeTar([{ type: 'file', path: 'agnhost', mode: 0o755, data }]);
}

async function coreutilsLayer(): Promise<Buffer> {
  const tree = await PackageTree.read(await unpackPackages(['coreutils', 'dash']));
  const programs = ['/usr/bin/dash', '/usr/bin/dd'].map(async (path) => ({
    path,
    data: await readFile(tree.find(path).source),
  }));
  const { files } = await withLibraries(await Promise.all(programs), tree, LIBRARIES);
  const entries = [...files].map(
    ([path, data]): TarEntry => ({ type: 'file', path: path.slice(1), mode: 0o755, data }),
  );
  const link = (path: string, target: string): TarEntry => ({ type: 'symlink', path, target });
  const links = [
    link('lib', 'usr/lib'),
    link('lib64', 'usr/lib64'),
    // busybox's own shell takes its own dd, wherever another one is.
    link('bin/sh', '../usr/bin/dash'),
  ];
  return encodeTar([...withParents(entries), ...links].sort((a, b) => (a.path < b.path ? -1 : 1)));
}
