import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { cgroupRoots, findCgroup } from '../../../node-agent/linux/process/cgroups.ts';
import {
  createDemoDirectory,
  findDemos,
  removeDemo,
  writeDemoRecord,
} from '../../../src/demo/demo-directory.ts';
import { readLoopDevices } from '../../../src/demo/machine-state.ts';
import { createNetns, inNetns } from '../../../src/demo/netns.ts';
import { isAlive, runCommand, startProcess } from '../../../src/runtime/child-process.ts';

let baseDir: string;
beforeEach(async () => {
  baseDir = await mkdtemp('/var/tmp/keelson-dd-');
});
afterEach(() => rm(baseDir, { recursive: true, force: true }));

const states = async (): Promise<string[]> => (await findDemos(baseDir)).map(({ state }) => state);

describe('findDemos', () => {
  test('a demo of a live process is running', async () => {
    await writeDemoRecord(await createDemoDirectory(baseDir), { kept: false, podRange: '10.88.3.0/24' });
    expect(await findDemos(baseDir)).toMatchObject([{ state: 'running', podRange: '10.88.3.0/24' }]);
  });

  test.each([
    [false, 'stale'],
    [true, 'kept'],
  ])('a demo whose owner has exited and whose kept is %s is %s', async (kept, state) => {
    const directory = await createDemoDirectory(baseDir);
    // The pid is alive, but it is another process by now.
    const record = { owner: { pid: process.pid, startTicks: '1' }, kept, podRange: '10.88.3.0/24' };
    await writeFile(join(directory, 'demo.json'), JSON.stringify(record));
    expect(await states()).toEqual([state]);
  });

  test('a directory without a record is about to get one, and stale when it got none', async () => {
    const directory = await createDemoDirectory(baseDir);
    expect(await states()).toEqual(['running']);
    await writeFile(join(directory, 'demo.json'), '{"owner"');
    expect(await states()).toEqual(['running']);
  });

  test('what another user owns or may write is passed over', async () => {
    const [foreign, open] = [await createDemoDirectory(baseDir), await createDemoDirectory(baseDir)];
    await chown(foreign, 65_534, 65_534);
    await chmod(open, 0o777);
    await mkdir(join(baseDir, 'elsewhere'));
    await symlink(join(baseDir, 'elsewhere'), join(baseDir, 'keelson-demo-link'));
    expect(await states()).toEqual([]);
    await utimes(foreign, 0, 0);
  });
});

describe('removeDemo', () => {
  test('removes processes, cgroup, mounts, loop device, namespace and files, and succeeds again', async () => {
    const directory = await createDemoDirectory(baseDir);
    const image = join(directory, 'pool.img');
    const netns = join(directory, 'netns');
    await writeFile(image, '');
    await truncate(image, 256 * 2 ** 20);
    await mkdir(join(directory, 'pool'));
    await runCommand('mkfs.btrfs', ['-q', image]);
    await runCommand('mount', ['-o', 'loop', image, join(directory, 'pool')]);
    await mkdir(join(directory, 'pool', 'volume'));
    await mkdir(join(directory, 'target'));
    await runCommand('mount', ['--bind', join(directory, 'pool', 'volume'), join(directory, 'target')]);
    await createNetns(netns);
    const inode = String((await stat(netns)).ino);
    const script = join(directory, 'agent.mjs');
    await writeFile(
      script,
      `process.chdir(${JSON.stringify(join(directory, 'pool'))}); process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('up');`,
    );
    const agent = await startProcess({
      name: 'agent',
      ...inNetns(netns, process.execPath, [script]),
      logFile: join(directory, 'agent.log'),
    });
    await expect.poll(() => agent.tail(1)).toBe('up');
    const [root = ''] = await cgroupRoots();
    await mkdir(join(root, basename(directory), 'pod'), { recursive: true });

    await removeDemo(directory);

    expect(await isAlive(agent.pid)).toBe(false);
    expect(await findCgroup(basename(directory))).toEqual([]);
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(directory);
    expect((await readLoopDevices()).filter(({ file }) => file.startsWith(directory))).toEqual([]);
    const { stdout } = await runCommand('lsns', ['--type', 'net', '--noheadings', '--output', 'NS,NSFS,PID']);
    const holders = stdout.split('\n').filter((line) => line.trim().startsWith(inode));
    // The kernel may have reused the number by now.
    expect(holders.filter((line) => line.includes(directory) || line.includes(` ${agent.pid}`))).toEqual([]);
    expect(await readdir(baseDir)).toEqual([]);
    await removeDemo(directory);
  });

  test('copies of its mounts in other mount namespaces are unmounted', async () => {
    const directory = await createDemoDirectory(baseDir);
    const image = join(directory, 'pool.img');
    await writeFile(image, '');
    await truncate(image, 256 * 2 ** 20);
    await mkdir(join(directory, 'pool'));
    await runCommand('mkfs.btrfs', ['-q', image]);
    await runCommand('mount', ['-o', 'loop', image, join(directory, 'pool')]);
    const stranger = await startProcess({
      name: 'stranger',
      file: 'unshare',
      args: ['--mount', 'sleep', '60'],
      logFile: join(baseDir, 'stranger.log'),
    });
    const [own, theirs] = ['self', String(stranger.pid)].map((pid) => `/proc/${pid}/ns/mnt`);
    await expect.poll(async () => (await readlink(theirs ?? '')) !== (await readlink(own ?? ''))).toBe(true);
    await removeDemo(directory);
    expect(stranger.running).toBe(true);
    await stranger.stop();
    expect((await readLoopDevices()).filter(({ file }) => file.startsWith(directory))).toEqual([]);
  });

  test('what is mounted from elsewhere is let go, not deleted', async () => {
    const directory = await createDemoDirectory(baseDir);
    const precious = join(baseDir, 'precious');
    await mkdir(precious);
    await writeFile(join(precious, 'file'), 'data');
    await mkdir(join(directory, 'target'));
    await runCommand('mount', ['--bind', precious, join(directory, 'target')]);
    await removeDemo(directory);
    expect(await readFile(join(precious, 'file'), 'utf8')).toBe('data');
  });

  test('an editor that has one of its files open is left alone', async () => {
    const directory = await createDemoDirectory(baseDir);
    await writeFile(join(directory, 'agent.log'), '');
    const reader = await startProcess({
      name: 'reader',
      file: 'tail',
      args: ['-f', join(directory, 'agent.log')],
      logFile: join(baseDir, 'reader.log'),
    });
    await removeDemo(directory);
    expect(reader.running).toBe(true);
    await reader.stop();
  });
});
