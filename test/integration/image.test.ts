import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PROGRAMS } from '../../scripts/image/contents.ts';
import { IMAGE, packImage } from '../../scripts/image/pack.ts';
import { parseElf } from '../../src/core/elf.ts';
import { runCommand } from '../../src/runtime/child-process.ts';

/** Packages come from Debian's archive, the first time. */
const PACK_MS = 600_000;

interface Index {
  readonly manifests: readonly { readonly digest: string; readonly annotations: Record<string, string> }[];
}
interface Manifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string }[];
}
interface Config {
  readonly config: { readonly Entrypoint: readonly string[]; readonly Env: readonly string[] };
}

describe('the image', () => {
  let directory: string;
  let root: string;
  let archive: Buffer;
  let index: Index;
  let config: Config;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'keelson-image-'));
    root = join(directory, 'root');
    await mkdir(root);
    archive = await packImage();
    await writeFile(join(directory, 'image.tar'), archive);
    await runCommand('tar', ['-C', directory, '-xf', join(directory, 'image.tar')]);
    const blob = async (digest: string): Promise<Buffer> =>
      await readFile(join(directory, 'blobs', digest.replace(':', '/')));
    index = JSON.parse(await readFile(join(directory, 'index.json'), 'utf8')) as Index;
    const manifest = JSON.parse(String(await blob(index.manifests[0]?.digest ?? ''))) as Manifest;
    config = JSON.parse(String(await blob(manifest.config.digest))) as Config;
    for (const { digest } of manifest.layers) {
      await runCommand('tar', ['-C', root, '-xzf', join(directory, 'blobs', digest.replace(':', '/'))]);
    }
  }, PACK_MS);

  afterAll(async () => {
    if (directory !== undefined) await rm(directory, { recursive: true, force: true });
  });

  /** In the image's root alone: nothing of this machine is there to be found. */
  const run = async (args: readonly string[], accept: readonly number[] = []) =>
    await runCommand('/usr/sbin/chroot', [root, ...args], {
      accept,
      env: Object.fromEntries(config.config.Env.map((entry) => entry.split(/=(.*)/s).slice(0, 2))) as Record<
        string,
        string
      >,
    });

  test('has the release as its tag', async () => {
    const { version } = JSON.parse(
      await readFile(join(import.meta.dirname, '../../package.json'), 'utf8'),
    ) as { version: string };
    expect(IMAGE).toBe(`keelson.dev/keelson:${version}`);
    expect(index.manifests.map(({ annotations }) => annotations['io.containerd.image.name'])).toEqual([
      IMAGE,
    ]);
  });

  test('is the same bytes when it is packed again', async () => {
    const digest = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
    expect(digest(await packImage())).toBe(digest(archive));
  });

  test('starts every command, with the native library', async () => {
    const { stdout } = await run([...config.config.Entrypoint, 'help']);
    expect(stdout).toContain('serve this node');
    const byName = await run(['/usr/bin/keelson', 'version']);
    expect(byName.stdout).toMatch(/^keelson \d/);
  });

  test('has all that its programs load', async () => {
    for (const program of PROGRAMS) {
      // Not all of them know the flag; the loader's own complaint is 127.
      const { stderr, code } = await run([program, '-V'], [1, 2, 8, 16, 125, 127, 129]);
      expect(code, program).not.toBe(127);
      expect(stderr, program).not.toContain('error while loading shared libraries');
    }
  });

  test('has the exec binary of CNI, which needs no library', async () => {
    const { stdout } = await runCommand('/usr/sbin/chroot', [root, '/opt/keelson/dist/cni/keelson-cni'], {
      env: { CNI_COMMAND: 'VERSION' },
      input: '{"cniVersion":"1.1.0"}',
    });
    expect(JSON.parse(stdout)).toMatchObject({
      supportedVersions: expect.arrayContaining(['1.1.0']) as unknown,
    });
    expect(parseElf(await readFile(join(root, 'opt/keelson/dist/cni/keelson-cni')))).toEqual({
      interpreter: undefined,
      libraries: [],
    });
  });
});
