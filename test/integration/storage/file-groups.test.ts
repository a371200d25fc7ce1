import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, readdirSync } from 'node:fs';
import {
  chmod,
  chown,
  lchown,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { BackendKind } from '../../../src/core/volumes/backend-features.ts';
import { PASSPHRASE_FIELD } from '../../../src/core/volumes/encryption.ts';
import { type Kernel, startKernel } from '../../../node-agent/linux/kernel/kernel.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { type CsiLab, startCsiLab } from './csi-lab.ts';
import { requireRoot, startStorageLab } from './storage-lab.ts';

const HANDLE = `csi-${'7'.repeat(64)}`;

beforeEach((context) => requireRoot(context));

const withGroup = (group: string, mount_flags: readonly string[] = []) => ({
  volume_capability: {
    mount: { mount_flags: [...mount_flags], volume_mount_group: group },
    access_mode: { mode: 'SINGLE_NODE_MULTI_WRITER' as const },
  },
});

/** Reads `GROUP MODE` of a path, without following a link. */
async function seen(path: string | Buffer): Promise<string> {
  const { gid, mode } = await lstat(path);
  return `${gid} ${(mode & 0o7777).toString(8).padStart(4, '0')}`;
}

/**
 * Reads the time of the last change of all entries of a directory by path, without following links.
 */
async function changes(directory: string): Promise<Readonly<Record<string, string>>> {
  const { stdout } = await runCommand('find', [directory, '-printf', '%P %C@\\n']);
  const lines = stdout.trimEnd().split('\n');
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')) || '.', line.slice(line.lastIndexOf(' ') + 1)]),
  );
}

/** Creates files as pods may have them in a volume. */
async function furnish(volume: string, outside: string): Promise<void> {
  await mkdir(join(volume, 'sub/deep'), { recursive: true });
  await chmod(join(volume, 'sub'), 0o701);
  await writeFile(join(volume, 'sub/deep/file'), 'data');
  await writeFile(join(volume, 'private'), 'data', { mode: 0o400 });
  await chown(join(volume, 'private'), 1234, 1234);
  await writeFile(join(volume, 'program'), 'data');
  await chmod(join(volume, 'program'), 0o6775);
  await writeFile(Buffer.concat([Buffer.from(`${volume}/`), Buffer.from([0xff, 0xe9])]), 'no UTF-8');
  await runCommand('mkfifo', ['--mode=600', join(volume, 'pipe')]);
  await symlink('private', join(volume, 'link'));
  await symlink(outside, join(volume, 'link-to-directory'));
  await symlink(join(outside, 'file'), join(volume, 'sub/link-to-file'));
}

const SECRETS = { [PASSPHRASE_FIELD]: 'correct horse battery staple' };
const encrypts = (await stat('/sys/fs/ext4/features/encryption').catch(() => undefined)) !== undefined;

const FORMS = [
  ['btrfs', { backend: 'btrfs' }],
  ['image', { backend: 'image' }],
  ['image, encrypted', { backend: 'image', isEncrypted: true }],
  ['directory', { backend: 'directory' }],
] as const satisfies readonly [string, { readonly backend: BackendKind; readonly isEncrypted?: true }][];

describe.each(FORMS)('on %s', (_, form) => {
  const { backend } = form;
  const isEncrypted = 'isEncrypted' in form;

  beforeEach((context) => {
    if (isEncrypted && !encrypts)
      context.skip('this kernel has no encryption for ext4 (CONFIG_FS_ENCRYPTION)');
  });

  const start = (): Promise<CsiLab> => startCsiLab({ backend });
  const create = (csi: CsiLab, mebibytes = 32): Promise<string> =>
    csi.createVolume(
      'v',
      mebibytes,
      isEncrypted ? { parameters: { encrypted: 'true' }, secrets: SECRETS } : {},
    );
  const publish = (csi: CsiLab, id: string, name: string, more: Parameters<CsiLab['publish']>[2] = {}) =>
    csi.publish(id, name, { ...more, secrets: SECRETS });
  const end = async (csi: CsiLab, volume_id: string, ...targets: readonly string[]): Promise<void> => {
    for (const target_path of targets) await csi.node('NodeUnpublishVolume', { volume_id, target_path });
  };

  it("changes all files of a volume to its pod's group, and nothing else", async () => {
    await using csi = await start();
    const outside = join(csi.lab.directory, 'outside');
    await mkdir(outside);
    await writeFile(join(outside, 'file'), 'data', { mode: 0o600 });
    const id = await create(csi);
    const volume = await publish(csi, id, 'one');
    await furnish(volume, outside);
    const before = await changes(outside);
    const { uid } = await lstat(volume);

    const target = await publish(csi, id, 'two', withGroup('2000'));
    expect(await seen(target)).toMatch(/^2000 277\d$/);
    const found = Object.fromEntries(
      await Promise.all(
        ['sub', 'sub/deep', 'sub/deep/file', 'private', 'program', 'pipe'].map(async (path) => [
          path,
          await seen(join(target, path)),
        ]),
      ),
    ) as unknown;
    expect(found).toEqual({
      sub: '2000 2771',
      'sub/deep': '2000 2775',
      'sub/deep/file': '2000 0664',
      private: '2000 0660',
      // chown(2) clears these bits of files.
      program: '2000 6775',
      pipe: '2000 0660',
    });
    expect(await seen(Buffer.concat([Buffer.from(`${target}/`), Buffer.from([0xff, 0xe9])]))).toBe(
      '2000 0664',
    );
    for (const link of ['link', 'link-to-directory', 'sub/link-to-file']) {
      expect((await lstat(join(target, link))).gid, link).toBe(2000);
    }
    expect((await lstat(join(target, 'private'))).uid).toBe(1234);
    expect((await lstat(target)).uid).toBe(uid);
    await writeFile(join(target, 'sub/new'), 'data');
    expect((await lstat(join(target, 'sub/new'))).gid).toBe(2000);
    expect(await changes(outside)).toEqual(before);
    await end(csi, id, volume, target);
  });

  it('writes nothing if the root is correct, and else only what differs', async () => {
    await using csi = await start();
    const id = await create(csi);
    const volume = await publish(csi, id, 'one');
    await furnish(volume, csi.lab.directory);
    const target = await publish(csi, id, 'two', withGroup('2000'));
    // A manual change stays, as with OnRootMismatch.
    await lchown(join(target, 'sub/deep/file'), 0, 3000);
    const before = await changes(target);
    await publish(csi, id, 'two', withGroup('2000'));
    await publish(csi, id, 'three', withGroup('2000'));
    expect(await changes(target)).toEqual(before);

    await chmod(target, 0o755);
    await publish(csi, id, 'two', withGroup('2000'));
    expect(await seen(join(target, 'sub/deep/file'))).toBe('2000 0664');
    const after = await changes(target);
    const written = Object.keys(after).filter((path) => after[path] !== before[path]);
    expect(written.sort()).toEqual(['.', 'sub/deep/file']);
    await end(csi, id, volume, target, join(csi.lab.directory, 'three'));
  });

  it('changes nothing for a read-only publication or at staging', async () => {
    await using csi = await start();
    const id = await create(csi);
    const volume = await publish(csi, id, 'one');
    await furnish(volume, csi.lab.directory);
    const before = await changes(volume);
    const { volume_capability } = withGroup('2000');
    const reader = { ...volume_capability, access_mode: { mode: 'SINGLE_NODE_READER_ONLY' as const } };
    const targets = [
      await publish(csi, id, 'readonly', { ...withGroup('2000'), readonly: true }),
      await publish(csi, id, 'mode', { volume_capability: reader }),
      await publish(csi, id, 'option', withGroup('2000', ['ro'])),
    ];
    expect(await changes(volume)).toEqual(before);
    await end(csi, id, volume, ...targets);
  });

  it('publishes nothing while a file cannot be changed, and continues when it can', async () => {
    await using csi = await start();
    const id = await create(csi);
    const volume = await publish(csi, id, 'one');
    await furnish(volume, csi.lab.directory);
    const root = await seen(volume);
    await runCommand('chattr', ['+i', join(volume, 'sub/deep')]);
    await expect(publish(csi, id, 'two', withGroup('2000'))).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringMatching(
        new RegExp(`volume ${id} to 2000: fchownat sub/deep: EPERM.*chattr`),
      ) as string,
    });
    expect(await seen(volume)).toBe(root);
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(join(csi.lab.directory, 'two'));
    expect(csi.lab.storage.volumes.get(id).published.map((each) => each.target)).toEqual([volume]);

    await runCommand('chattr', ['-i', join(volume, 'sub/deep')]);
    const target = await publish(csi, id, 'two', withGroup('2000'));
    expect(await seen(join(target, 'sub/deep'))).toBe('2000 2775');
    expect(await seen(target)).toMatch(/^2000 277\d$/);
    await end(csi, id, volume, target);
  });

  it('walks volumes with many files on their own worker', async () => {
    await using csi = await start();
    const id = await create(csi, 64);
    const volume = await publish(csi, id, 'one');
    for (let index = 0; index < 40; index += 1) {
      await mkdir(join(volume, `${index}`));
      for (let file = 0; file < 40; file += 1) await writeFile(join(volume, `${index}/${file}`), '');
    }
    const target = await publish(csi, id, 'two', withGroup('2000'));
    const { stdout } = await runCommand('find', [target, '!', '-gid', '2000']);
    expect(stdout).toBe('');
    await end(csi, id, volume, target);
  });

  it('changes an ephemeral volume to its group, and leaves nothing behind of a refused one', async () => {
    await using csi = await start();
    const target = join(csi.lab.directory, 'pod');
    const publishInline = (group: string) =>
      csi.node('NodePublishVolume', {
        volume_id: HANDLE,
        target_path: target,
        volume_context: {
          'csi.storage.k8s.io/ephemeral': 'true',
          size: '32Mi',
          ...(isEncrypted && { encrypted: 'true' }),
        },
        secrets: SECRETS,
        ...withGroup(group),
      });
    await expect(publishInline('users')).rejects.toMatchObject({ kind: 'invalid' });
    expect((await csi.lab.storage.health.report()).volumes).toEqual([]);
    await publishInline('2000');
    expect(await seen(target)).toMatch(/^2000 277\d$/);
    await end(csi, HANDLE, target);
  });
});

it('reports the path at which the file system refuses the change', async () => {
  await using csi = await startCsiLab({ backend: 'image' });
  const id = await csi.createVolume('v', 32);
  const volume = await csi.publish(id, 'one');
  await mkdir(join(volume, 'sub'));
  const place = join(csi.lab.stateDir, 'mounts/default', id);
  await runCommand('mount', ['--options', 'remount,ro', place]);
  await expect(csi.publish(id, 'two', withGroup('2000'))).rejects.toMatchObject({
    kind: 'precondition',
    message: expect.stringMatching(/EROFS: its file system has become read-only/) as string,
  });
  await runCommand('mount', ['--options', 'remount,rw', place]);
  await csi.node('NodeUnpublishVolume', { volume_id: id, target_path: volume });
});

/** Opens a directory with `volume` and `outside`, and a kernel worker for walks. */
async function startTree(base = tmpdir()) {
  await using cleanup = new AsyncDisposableStack();
  const directory = await mkdtemp(join(base, 'keelson-groups-'));
  // Deeper than Node's PATH_MAX.
  cleanup.defer(async () => {
    await runCommand('rm', ['-rf', directory]);
  });
  for (const name of ['volume', 'outside']) await mkdir(join(directory, name));
  const kernel: Kernel = cleanup.use(startKernel({ name: 'groups-test' }));
  const root = await open(directory, 'r');
  cleanup.defer(() => root.close());
  const owned = cleanup.move();
  return {
    directory,
    volume: join(directory, 'volume'),
    outside: join(directory, 'outside'),
    ensure: (group: number, most?: number) => kernel.call('ensureFileGroup', root.fd, 'volume', group, most),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

describe('a walk', () => {
  it('follows no link that a pod creates in place of a directory, at any moment', async () => {
    await using tree = await startTree();
    await mkdir(join(tree.volume, 'a/b'), { recursive: true });
    await mkdir(join(tree.outside, 'b'));
    for (const path of ['volume/a/b/file', 'outside/b/file', 'outside/file']) {
      await writeFile(join(tree.directory, path), 'data', { mode: 0o600 });
    }
    const before = await changes(tree.outside);
    const racer = spawn(process.execPath, ['--eval', RACER, tree.volume, tree.outside], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await once(racer.stdout, 'data');
      let swaps = 0;
      for (let round = 0; round < 3_000; round += 1) {
        if (lstatSync(join(tree.volume, 'a'), { throwIfNoEntry: false })?.isSymbolicLink() === true)
          swaps += 1;
        await tree.ensure(2000 + (round % 2));
      }
      expect(swaps).toBeGreaterThan(0);
      expect(await changes(tree.outside)).toEqual(before);
    } finally {
      racer.kill('SIGKILL');
      await once(racer, 'close');
    }
  });

  it("reports a printable path, whatever the names of a pod's files", async () => {
    await using tree = await startTree();
    const names = ['a'.repeat(250), 'b'.repeat(250), 'c'.repeat(250), 'new\nline'];
    const path = join(tree.volume, ...names);
    await mkdir(path, { recursive: true });
    await runCommand('chattr', ['+i', path]);
    const failure: unknown = await tree.ensure(2000).catch((error: unknown) => error);
    await runCommand('chattr', ['-i', path]);
    expect(failure).toMatchObject({
      code: 'EPERM',
      subject: expect.stringMatching(/^…a+\/b+\/c+\/new\\nline$/) as string,
    });
    expect(String(failure).length).toBeLessThan(600);
  });

  it('stops at its limit, and changes the root only at the end', async () => {
    await using tree = await startTree();
    for (const name of ['a', 'b', 'c']) await mkdir(join(tree.volume, name));
    expect(await tree.ensure(2000, 2)).toBe(false);
    expect(await seen(tree.volume)).not.toMatch(/^2000/);
    expect(await tree.ensure(2000, 3)).toBe(true);
    expect(await seen(tree.volume)).toBe('2000 2775');
    expect(await tree.ensure(2000, 0)).toBe(true);
  });

  it('walks trees beyond PATH_MAX, with few descriptors', async () => {
    await using tree = await startTree();
    await runCommand(process.execPath, ['--eval', DIGGER, tree.volume, '3000']);
    const { length } = readdirSync('/proc/self/fd');
    expect(await tree.ensure(2000)).toBe(true);
    expect(readdirSync('/proc/self/fd')).toHaveLength(length);
    const { stdout } = await runCommand('find', [tree.volume, '-printf', '%G\\n']);
    expect(stdout).toBe('2000\n'.repeat(3_001));
  });

  it('enters nested subvolumes, skips read-only ones, and enters no other mount', async () => {
    await using lab = await startStorageLab();
    await using tree = await startTree(lab.mountPoint);
    const subvolume = (name: string): string => join(tree.volume, name);
    for (const name of ['nested', 'sealed']) {
      await runCommand('btrfs', ['subvolume', 'create', subvolume(name)]);
      await mkdir(join(subvolume(name), 'sub'));
      await writeFile(join(subvolume(name), 'sub/file'), 'data');
    }
    await runCommand('btrfs', ['property', 'set', '-t', 'subvol', subvolume('sealed'), 'ro', 'true']);
    await mkdir(subvolume('mounted'));
    await runCommand('mount', ['-t', 'tmpfs', 'none', subvolume('mounted')]);
    await writeFile(join(subvolume('mounted'), 'file'), 'data');
    await mkdir(subvolume('bound'));
    await runCommand('mount', ['--bind', tree.outside, subvolume('bound')]);
    try {
      expect(await tree.ensure(2000)).toBe(true);
      expect(await seen(join(subvolume('nested'), 'sub/file'))).toBe('2000 0664');
      expect(await seen(subvolume('nested'))).toBe('2000 2775');
      expect(await seen(tree.volume)).toBe('2000 2775');
      for (const path of ['sealed', 'sealed/sub/file', 'mounted', 'mounted/file', 'bound']) {
        expect((await lstat(subvolume(path))).gid, path).toBe(0);
      }
    } finally {
      await runCommand('umount', [subvolume('mounted')]);
      await runCommand('umount', [subvolume('bound')]);
      await runCommand('btrfs', ['property', 'set', '-t', 'subvol', subvolume('sealed'), 'ro', 'false']);
    }
  });

  it('tolerates entries that are removed and created meanwhile', async () => {
    await using tree = await startTree();
    await mkdir(join(tree.volume, 'a/b/c'), { recursive: true });
    const remover = spawn(process.execPath, ['--eval', REMOVER, tree.volume], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await once(remover.stdout, 'data');
      for (let round = 0; round < 2_000; round += 1) {
        expect(await tree.ensure(2000 + (round % 2))).toBe(true);
      }
    } finally {
      remover.kill('SIGKILL');
      await once(remover, 'close');
    }
  });

  it('does not complete while directories are moved away, and completes afterwards', async () => {
    await using tree = await startTree();
    for (const name of ['a', 'b']) await mkdir(join(tree.volume, name));
    await mkdir(join(tree.volume, 'a/moving/below'), { recursive: true });
    const mover = spawn(process.execPath, ['--eval', MOVER, tree.volume], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await once(mover.stdout, 'data');
      const outcomes = new Set<string>();
      for (let round = 0; round < 100_000 && !outcomes.has('unavailable'); round += 1) {
        outcomes.add(
          await tree.ensure(2000 + (round % 2)).then(
            () => 'done',
            (error: { kind?: string }) => error.kind ?? 'error',
          ),
        );
      }
      outcomes.delete('done');
      expect([...outcomes]).toEqual(['unavailable']);
    } finally {
      mover.kill('SIGKILL');
      await once(mover, 'close');
    }
    expect(await tree.ensure(4000)).toBe(true);
    for (const path of await readdir(tree.volume, { recursive: true })) {
      expect((await lstat(join(tree.volume, path))).gid, path).toBe(4000);
    }
  });
});

/** Swaps the directory `a` and a link to `outside` forever. */
const RACER = `
const { renameSync, symlinkSync, unlinkSync } = require('node:fs');
const [volume, outside] = process.argv.slice(1);
process.stdout.write('on');
for (;;) {
  renameSync(volume + '/a', volume + '/c');
  symlinkSync(outside, volume + '/a');
  unlinkSync(volume + '/a');
  renameSync(volume + '/c', volume + '/a');
}`;

/** Moves a directory back and forth forever. */
const MOVER = `
const { renameSync } = require('node:fs');
const [volume] = process.argv.slice(1);
process.stdout.write('on');
for (;;) {
  renameSync(volume + '/a/moving', volume + '/b/moving');
  renameSync(volume + '/b/moving', volume + '/a/moving');
}`;

/** Creates nested directories. */
const DIGGER = `
const { mkdirSync } = require('node:fs');
const [volume, depth] = process.argv.slice(1);
process.chdir(volume);
for (let level = 0; level < Number(depth); level += 1) {
  mkdirSync('directory');
  process.chdir('directory');
}`;

/** Removes and re-creates all entries forever. */
const REMOVER = `
const { mkdirSync, rmSync, writeFileSync } = require('node:fs');
const [volume] = process.argv.slice(1);
process.stdout.write('on');
for (;;) {
  rmSync(volume + '/a', { recursive: true });
  mkdirSync(volume + '/a/b/c', { recursive: true });
  for (const name of ['1', '2', '3']) writeFileSync(volume + '/a/b/' + name, '');
}`;
