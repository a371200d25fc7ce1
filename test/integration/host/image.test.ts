import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCommand } from '../../../src/runtime/child-process.ts';

const ROOT = join(import.meta.dirname, '../../..');
/** Without a cache, the build installs Debian and npm packages first. */
const BUILD_MS = 900_000;
const ARCHITECTURE: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

interface Index {
  readonly manifests: readonly { readonly digest: string; readonly annotations: Record<string, string> }[];
}
interface Manifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string }[];
}
interface Config {
  readonly architecture: string;
  readonly config: {
    readonly Entrypoint: readonly string[];
    readonly Env: readonly string[];
    readonly Labels: Readonly<Record<string, string>>;
  };
}
interface Bill {
  readonly bomFormat: string;
  readonly components: readonly {
    readonly name: string;
    readonly version: string;
    readonly purl: string;
    readonly licenses: readonly object[];
  }[];
}

describe('the image', () => {
  let directory: string;
  let root: string;
  let index: Index;
  let config: Config;
  let bill: Bill;
  let programs: string[];

  /** Builds into the test's directory and returns the digest of the image. */
  const build = async (rebuild: string): Promise<string> => {
    const { stdout } = await runCommand(join(ROOT, 'scripts/image/build.sh'), [], {
      env: { ...process.env, DEBIAN_LOCK: 'prefer', REBUILD: rebuild, OUTPUT: join(directory, 'image') },
      timeoutMs: BUILD_MS,
    });
    return /sha256:[0-9a-f]{64}/.exec(stdout)?.[0] ?? '';
  };
  const readJson = async (file: string): Promise<unknown> => JSON.parse(await readFile(file, 'utf8'));

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'keelson-image-'));
    root = join(directory, 'root');
    await mkdir(root);
    await build('');
    await runCommand('tar', ['-C', directory, '-xf', join(directory, 'image.tar')]);
    const blob = (digest: string): string => join(directory, 'blobs', digest.replace(':', '/'));
    index = (await readJson(join(directory, 'index.json'))) as Index;
    const manifest = (await readJson(blob(index.manifests[0]?.digest ?? ''))) as Manifest;
    config = (await readJson(blob(manifest.config.digest))) as Config;
    for (const { digest } of manifest.layers)
      await runCommand('tar', ['-C', root, '--zstd', '-xf', blob(digest)]);
    bill = (await readJson(join(directory, 'image.cdx.json'))) as Bill;
    const list = await readFile(join(ROOT, 'scripts/image/programs.txt'), 'utf8');
    programs = list.split('\n').filter((line) => /^\/usr\/s?bin\//.test(line));
  }, BUILD_MS);

  afterAll(async () => {
    if (directory !== undefined) await rm(directory, { recursive: true, force: true });
  });

  /** Runs a program of the image with the image as its root. */
  const run = async (args: readonly string[], accept: readonly number[] = []) =>
    await runCommand('/usr/sbin/chroot', [root, ...args], {
      accept,
      env: Object.fromEntries(config.config.Env.map((entry) => entry.split(/=(.*)/s).slice(0, 2))) as Record<
        string,
        string
      >,
    });

  /** Paths of regular files and links below `path` in the image. */
  const files = async (path = ''): Promise<string[]> =>
    (await readdir(join(root, path), { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile() || entry.isSymbolicLink())
      .map((entry) => `/${relative(root, join(entry.parentPath, entry.name))}`);

  /** Package names and versions of dpkg's database in the image. */
  const installed = async (): Promise<Map<string, string>> => {
    const format = ['--showformat', '${Package} ${Version}\\n'];
    const database = ['--admindir', join(root, 'var/lib/dpkg')];
    const { stdout } = await runCommand('dpkg-query', [...database, '--show', ...format]);
    return new Map(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.split(' ') as [string, string]),
    );
  };

  test('has the release as its tag and in its labels', async () => {
    const { version } = (await readJson(join(ROOT, 'package.json'))) as { version: string };
    const { stdout: commit } = await runCommand('git', ['-C', ROOT, 'rev-parse', 'HEAD']);
    expect(
      index.manifests.map(({ annotations }) => annotations['org.opencontainers.image.ref.name']),
    ).toEqual([`keelson.dev/keelson:${version}`]);
    expect(config.config.Labels).toMatchObject({
      'org.opencontainers.image.title': 'keelson',
      'org.opencontainers.image.version': version,
      'org.opencontainers.image.licenses': 'Apache-2.0',
      'org.opencontainers.image.revision': expect.stringMatching(
        new RegExp(`^${commit.trim()}(-modified)?$`),
      ) as unknown,
    });
    expect(config.architecture).toBe(ARCHITECTURE[process.arch]);
  });

  test(
    'has the same digest and the same archive when it is built again',
    async () => {
      const archive = await readFile(join(directory, 'image.tar'));
      expect(await build(`${process.pid}`)).toBe(index.manifests[0]?.digest);
      expect(archive.equals(await readFile(join(directory, 'image.tar')))).toBe(true);
    },
    BUILD_MS,
  );

  test('starts every command, with the native library', async () => {
    const { stdout } = await run([...config.config.Entrypoint, 'help']);
    expect(stdout).toMatch(/^ *agent /m);
    const byName = await run(['/usr/bin/keelson', 'version']);
    expect(byName.stdout).toMatch(/^keelson \d/);
  });

  test('has all libraries that its programs load when they start', async () => {
    for (const program of programs) {
      // Not all of them know the flag; the loader's own failure is 127.
      const { stderr, code } = await run([program, '-V'], [1, 2, 8, 16, 125, 127, 129]);
      expect(code, program).not.toBe(127);
      expect(stderr, program).not.toContain('error while loading shared libraries');
    }
  });

  test('has every library that one of its ELF files names', async () => {
    const libraries = new Set((await files('usr/lib')).map((path) => path.replace(/.*\//, '')));
    let dynamic = 0;
    for (const path of await files()) {
      const { stdout } = await runCommand('readelf', ['--dynamic', '--wide', join(root, path)], {
        accept: [1],
      });
      const needed = [...stdout.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name = '']) => name);
      if (needed.length > 0) dynamic += 1;
      expect(
        needed.filter((name) => !libraries.has(name)),
        path,
      ).toEqual([]);
    }
    expect(dynamic).toBeGreaterThan(programs.length);
  });

  test('has the exec binary of CNI, which needs no library', async () => {
    const binary = '/opt/keelson/dist/cni/keelson-cni';
    const { stdout } = await runCommand('/usr/sbin/chroot', [root, binary], {
      env: { CNI_COMMAND: 'VERSION' },
      input: '{"cniVersion":"1.1.0"}',
    });
    expect(JSON.parse(stdout)).toMatchObject({
      supportedVersions: expect.arrayContaining(['1.1.0']) as unknown,
    });
    const elf = await runCommand('readelf', ['--dynamic', '--program-headers', join(root, binary)]);
    expect(elf.stdout).not.toMatch(/NEEDED|INTERP/);
  });

  test('every link leads to a file of the image', async () => {
    for (const path of await files()) {
      const file = join(root, path);
      if (!(await lstat(file)).isSymbolicLink()) continue;
      const target = await readlink(file);
      const absolute = target.startsWith('/') ? join(root, target) : resolve(dirname(file), target);
      expect((await realpath(absolute)).startsWith(root), `${path} -> ${target}`).toBe(true);
    }
  });

  test("dpkg's database has the packages of the lock, and finds their files unchanged", async () => {
    const lock = await readFile(join(ROOT, 'scripts/image/debian.lock'), 'utf8');
    const locked = lock
      .split('\n')
      .flatMap((line) => (line.startsWith(`${config.architecture} `) ? [line.split(' ')[1]] : []));
    expect([...(await installed()).keys()].sort()).toEqual(locked.sort());
    const { stdout } = await runCommand('dpkg', ['--root', root, '--verify']);
    expect(stdout).toBe('');
  });

  test("every file is in a package's list or Keelson's", async () => {
    const info = join(root, 'var/lib/dpkg/info');
    const lists = (await readdir(info)).filter((name) => name.endsWith('.list'));
    const texts = await Promise.all(lists.map((name) => readFile(join(info, name), 'utf8')));
    const merged = (path: string): string => path.replace(/^\/(bin|sbin|lib|lib64)\//, '/usr/$1/');
    const owned = new Set(texts.flatMap((text) => text.split('\n').map(merged)));
    const others = (await files()).filter(
      (path) => !owned.has(path) && !/^\/(opt\/keelson|var\/lib\/dpkg)\//.test(path),
    );
    expect(others.sort()).toEqual([
      ...['/bin', '/etc/group', '/etc/nsswitch.conf', '/etc/passwd', '/lib', '/lib64', '/sbin'],
      ...['/usr/bin/keelson', '/usr/bin/node'],
    ]);
  });

  test('has the copyright file of every Debian package', async () => {
    for (const name of (await installed()).keys()) {
      const text = await readFile(join(root, 'usr/share/doc', name, 'copyright'), 'utf8');
      expect(text.length, name).toBeGreaterThan(200);
    }
  });

  test('has a bill of materials with every Debian and npm package, its version and licences', async () => {
    expect(await readJson(join(root, 'opt/keelson/keelson-image.cdx.json'))).toEqual(bill);
    expect(bill.bomFormat).toBe('CycloneDX');
    const listed = new Map(bill.components.map(({ name, version }) => [name, version]));
    for (const [name, version] of await installed()) expect(listed.get(name), name).toBe(version);
    for (const name of await bundledPackages()) {
      const { version } = (await readJson(join(ROOT, 'node_modules', name, 'package.json'))) as {
        version: string;
      };
      expect(listed.get(name), name).toBe(version);
    }
    expect([...listed.keys()]).toEqual(
      expect.arrayContaining(['koffi', `@koromix/koffi-linux-${process.arch}`, `node-linux-${process.arch}`]),
    );
    for (const { name, licenses } of bill.components) expect(licenses.length, name).toBeGreaterThan(0);
  });

  test('has the licence text of every npm package', async () => {
    const notices = await readFile(join(root, 'opt/keelson/THIRD-PARTY-NOTICES.txt'), 'utf8');
    const headings = [...notices.matchAll(/^={80}\n(\S+) \d\S* \(/gm)].map(([, name]) => name);
    const names = await bundledPackages();
    expect(names.length).toBeGreaterThan(10);
    for (const name of [...names, 'koffi']) expect(headings, name).toContain(name);
    const node = await readFile(join(root, 'opt/keelson/LICENSE.node'), 'utf8');
    expect(node).toContain('Node.js is licensed');
  });

  /** Names of npm packages that the source maps of the bundle refer to. */
  const bundledPackages = async (): Promise<string[]> => {
    const dist = join(root, 'opt/keelson/dist');
    const maps = (await readdir(dist)).filter((name) => name.endsWith('.map'));
    const names = new Set<string>();
    for (const map of maps) {
      const { sources } = (await readJson(join(dist, map))) as { sources: readonly string[] };
      for (const source of sources) {
        const name = /.*node_modules\/(@[^/]+\/[^/.][^/]*|[^@/.][^/]*)\//.exec(source)?.[1];
        if (name !== undefined) names.add(name);
      }
    }
    return [...names];
  };
});
