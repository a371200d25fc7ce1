import { mkdir, mkdtemp, rm, rmdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cgroupRoots } from '../../node-agent/linux/process/cgroups.ts';
import type { ProcessEntry } from '../../src/demo/processes.ts';
import { runCommand, startProcess } from '../../src/runtime/child-process.ts';
import { findLeftovers } from '../cluster/leftovers.ts';
import { detachLoopDevices } from '../cluster/loop-devices.ts';
import { Machine } from '../cluster/machine.ts';
import { waitFor } from '../cluster/wait.ts';

/**
 * The check at the end of `down` is worth what it finds: each kind of thing, made by hand, has to
 * be found.
 */
let directory: string;
let made: AsyncDisposableStack;

beforeEach(async () => {
  made = new AsyncDisposableStack();
  directory = await mkdtemp('/tmp/keelson-left-');
  made.defer(() => rm(directory, { recursive: true, force: true }));
});

afterEach(() => made.disposeAsync());

const prefix = (): string => basename(directory).toLowerCase();
const hostLink = (): string => `kl-${prefix().slice(-6)}`;
const leftovers = (): Promise<string[]> =>
  findLeftovers({ directory, cgroupPrefix: prefix(), hostLink: hostLink() });

test('nothing is found where nothing was created', async () => {
  expect(await leftovers()).toEqual([]);
});

test('a mount is found', async () => {
  await runCommand('mount', ['-t', 'tmpfs', 'keelson-test', directory]);
  made.defer(async () => {
    await runCommand('umount', [directory]);
  });
  expect(await leftovers()).toEqual([`mount ${directory}`]);
});

test('an interface is found', async () => {
  await runCommand('ip', ['link', 'add', hostLink(), 'type', 'bridge']);
  made.defer(async () => {
    await runCommand('ip', ['link', 'delete', hostLink()]);
  });
  expect(await leftovers()).toEqual([`network interface ${hostLink()}`]);
});

test('a cgroup is found in any hierarchy', async () => {
  const cgroup = join((await cgroupRoots()).at(-1) ?? '', `${prefix()}-node`);
  await mkdir(cgroup);
  made.defer(() => rmdir(cgroup));
  expect(await leftovers()).toEqual([`cgroup ${cgroup}`]);
});

test('a loop device is found by the identity of its file, whatever path it was attached by, and detached', async () => {
  const alias = `${directory}-alias`;
  await mkdir(join(directory, 'disk'));
  await runCommand('truncate', ['--size=1M', join(directory, 'disk/pool.img')]);
  await mkdir(alias);
  made.defer(() => rmdir(alias));
  await runCommand('mount', ['--bind', join(directory, 'disk'), alias]);
  made.defer(async () => {
    await runCommand('umount', ['--lazy', alias]);
  });
  const { stdout } = await runCommand('losetup', ['--find', '--show', join(alias, 'pool.img')]);
  expect(await leftovers()).toEqual([`loop device ${stdout.trim()}`]);
  await detachLoopDevices(directory);
  expect(await leftovers()).toEqual([]);
});

test('so is one on a volume of a pool that is no longer mounted, and the one that kubelet has on that', async () => {
  const id = `vol-${Buffer.from(directory.slice(-6)).toString('hex')}`;
  const [disk, pool] = [join(directory, 'disk'), `${directory}-pool`];
  await mkdir(join(disk, 'volumes'), { recursive: true });
  await writeFile(join(disk, 'volumes', `${id}.json`), '{}');
  await runCommand('truncate', ['--size=64M', join(disk, 'pool.img')]);
  await runCommand('mkfs.ext4', ['-q', join(disk, 'pool.img')]);
  await mkdir(pool);
  made.defer(() => rmdir(pool));
  made.defer(() => detachLoopDevices(directory));
  await runCommand('mount', ['--options', 'loop', join(disk, 'pool.img'), pool]);
  await using mounted = new AsyncDisposableStack();
  mounted.defer(async () => {
    await runCommand('umount', ['--lazy', pool]);
  });
  await runCommand('truncate', ['--size=1M', join(pool, `${id}.img`)]);
  const attach = async (file: string): Promise<string> =>
    (await runCommand('losetup', ['--find', '--show', file])).stdout.trim();
  const volume = await attach(join(pool, `${id}.img`));
  const above = await attach(volume);
  await mounted.disposeAsync();
  expect(await leftovers()).toEqual(
    expect.arrayContaining([`loop device ${volume}`, `loop device ${above}`]),
  );
  expect(await leftovers()).toHaveLength(3);
  await detachLoopDevices(directory);
  expect(await leftovers()).toEqual([]);
});

test('a machine is found by its processes, also by a new object, and is not found when it is off', async () => {
  const options = { name: 'm', directory: join(directory, 'm'), cgroup: `${prefix()}-m` };
  const machine = new Machine(options);
  made.defer(() => machine.powerOff());
  expect(await machine.boot()).toBe(true);
  await using sleeper = await startProcess({
    name: 'sleeper',
    file: 'nsenter',
    args: [...(await machine.enterCommand()), 'sleep', '600'],
    logFile: join(directory, 'log'),
  });
  const other = new Machine(options);
  expect(await other.boot()).toBe(false);
  expect(await other.initPid()).toBe(await machine.initPid());
  expect((await other.processes()).map(({ program }) => program)).toContain('sleep');
  expect((await leftovers()).filter((text) => text.startsWith('process'))).not.toEqual([]);
  expect((await leftovers()).filter((text) => text.startsWith('cgroup'))).not.toEqual([]);
  await other.powerOff();
  await sleeper.exited;
  expect(await machine.running()).toBe(false);
  expect(await leftovers()).toEqual([]);
});

test('a process with the command line of a machine that is not the first of a PID namespace is not a machine', async () => {
  const script = join(directory, 'script');
  await writeFile(script, 'while sleep 1; do :; done');
  const options = { name: 'm', directory: join(directory, 'm'), cgroup: `${prefix()}-m` };
  await using impostor = await startProcess({
    name: 'impostor',
    file: '/bin/sh',
    args: [script, options.directory, options.name, options.cgroup],
    logFile: join(directory, 'log'),
  });
  const machine = new Machine({ ...options, init: script });
  expect(await machine.running()).toBe(false);
  await machine.powerOff();
  expect(impostor.running).toBe(true);
});

test('a daemon is started once, stopped, and its last output is reported when it exits instead of serving', async () => {
  const machine = new Machine({ name: 'm', directory: join(directory, 'm'), cgroup: `${prefix()}-m` });
  made.defer(() => machine.powerOff());
  await machine.boot();
  const lasting = { name: 'lasting', file: 'sleep', args: ['601'] };
  expect(await machine.ensureDaemon(lasting)).toBe(true);
  const started = async (): Promise<ProcessEntry | undefined> => {
    const found = await machine.findDaemon(lasting);
    return found?.program === 'sleep' ? found : undefined;
  };
  const { cgroups } = await waitFor('it runs', started, { timeoutMs: 5_000 });
  expect(cgroups.filter((path) => path !== `/${prefix()}-m/system`)).toEqual([]);
  expect(await machine.ensureDaemon(lasting)).toBe(false);
  await machine.stopDaemon(lasting);
  expect(await machine.findDaemon(lasting)).toBeUndefined();

  const failing = { name: 'failing', file: 'sh', args: ['-c', 'echo no such luck; exit 1'] };
  await machine.ensureDaemon(failing);
  const served = machine.untilServing(failing, async () => undefined, { timeoutMs: 60_000 });
  await expect(served).rejects.toThrow(/failing of m has ended\nno such luck/);
});
