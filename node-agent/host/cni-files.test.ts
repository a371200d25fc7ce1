import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/runtime/logger.ts';
import { installCni, removeCni } from './cni-files.ts';

const CONFIG = { cniVersion: '1.0.0', name: 'keelson', plugins: [{ type: 'keelson-cni' }] };

describe('the files of CNI on a host', () => {
  let root: string;
  let directories: { readonly binDir: string; readonly configDir: string };
  let binary: string;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'keelson-cni-files-'));
    directories = { binDir: join(root, 'opt/cni/bin'), configDir: join(root, 'etc/cni/net.d') };
    binary = join(root, 'release-1');
    await writeFile(binary, 'release 1');
  });
  afterEach(async () => {
    await rm(root, { recursive: true, force: true });
  });

  const install = async (): Promise<void> =>
    await installCni({ ...directories, binary, config: CONFIG }, { logger: silentLogger });
  const read = async (name: string): Promise<string> =>
    await readFile(join(directories.binDir, name), 'utf8');

  test('are placed where there were not even directories, and executable', async () => {
    await install();
    expect(await readdir(directories.binDir)).toEqual(['keelson-cni', 'loopback']);
    expect(await readdir(directories.configDir)).toEqual(['10-keelson.conflist']);
    expect((await stat(join(directories.binDir, 'keelson-cni'))).mode & 0o777).toBe(0o755);
    const text = await readFile(join(directories.configDir, '10-keelson.conflist'), 'utf8');
    expect(JSON.parse(text)).toEqual(CONFIG);
  });

  test('a second time changes nothing', async () => {
    await install();
    const before = await stat(join(directories.binDir, 'keelson-cni'));
    await install();
    expect((await stat(join(directories.binDir, 'keelson-cni'))).ino).toBe(before.ino);
  });

  test('a new release replaces the old one under both of its names', async () => {
    await install();
    await writeFile(binary, 'release 2');
    await install();
    expect([await read('keelson-cni'), await read('loopback')]).toEqual(['release 2', 'release 2']);
  });

  test('a foreign loopback binary and configuration stay, on installation and removal', async () => {
    await mkdir(directories.binDir, { recursive: true });
    await mkdir(directories.configDir, { recursive: true });
    await writeFile(join(directories.binDir, 'loopback'), 'theirs');
    await writeFile(join(directories.configDir, '05-theirs.conflist'), '{}');
    await install();
    expect(await read('loopback')).toBe('theirs');
    expect(await readdir(directories.configDir)).toEqual(['05-theirs.conflist', '10-keelson.conflist']);
    await removeCni(directories);
    expect(await readdir(directories.binDir)).toEqual(['loopback']);
    expect(await readdir(directories.configDir)).toEqual(['05-theirs.conflist']);
  });

  test('are removed twice as well as once', async () => {
    await install();
    await removeCni(directories);
    await removeCni(directories);
    expect(await readdir(directories.binDir)).toEqual([]);
    expect(await readdir(directories.configDir)).toEqual([]);
  });
});
