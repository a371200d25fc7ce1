import { lstat, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { frameMessage } from '../../../src/core/policies/cri-call.ts';
import { runCommand, startProcess } from '../../../src/runtime/child-process.ts';
import { startFakeRuntime } from '../../fakes/cri-runtime.ts';
import { openSession, send } from '../../fakes/grpc-over-http2.ts';
import { waitFor } from '../../cluster/wait.ts';

const KEELSON = join(import.meta.dirname, '../../../bin/keelson');
const ACTIVATE = '/usr/bin/systemd-socket-activate';

describe('a release on a host', () => {
  let root: string;
  let home: string;
  let loader: string;

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'keelson-host-'));
    await runCommand(KEELSON, ['install-host', '--root', root]);
    home = join(root, 'opt/keelson', await readlink(join(root, 'opt/keelson/current')));
    loader = (await readdir(join(home, 'lib'))).find((name) => name.startsWith('ld-')) ?? '';
  }, 120_000);
  afterAll(async () => {
    if (root !== undefined) await rm(root, { recursive: true, force: true });
  });

  /** As its launcher does, from where it is here. */
  const command = (): string[] => [
    join(home, 'lib', loader),
    ...['--library-path', join(home, 'lib'), join(home, 'bin/node'), join(home, 'dist/keelson.mjs')],
  ];

  test('runs on its own libraries', async () => {
    const [file = '', ...args] = command();
    const { stdout } = await runCommand(file, [...args, 'version'], { env: {} });
    expect(stdout).toMatch(/^keelson \d/);
    const launcher = await readFile(join(home, 'bin/keelson'), 'utf8');
    for (const part of [`lib/${loader} `, '--library-path ', 'bin/node ', 'dist/keelson.mjs "$@"']) {
      expect(launcher).toContain(part);
    }
  });

  test('has the native library that an agent calls the kernel by, and the binary of CNI', async () => {
    const script = `import(${JSON.stringify(join(home, 'node_modules/koffi/index.js'))}).then(({ default: koffi }) => console.log(typeof koffi.load))`;
    const [file = '', ...args] = command().slice(0, -1);
    const { stdout } = await runCommand(file, [...args, '--eval', script], { env: {} });
    expect(stdout).toBe('function\n');
    expect((await lstat(join(home, 'dist/cni/keelson-cni'))).mode & 0o777).toBe(0o755);
  });

  test('has units that systemd accepts, but for the program that is not at its place here', async () => {
    const units = ['keelson-agent.service', 'keelson-cri-proxy.service', 'keelson-cri-proxy.socket'];
    const paths = units.map((name) => join(root, 'etc/systemd/system', name));
    const { stderr } = await runCommand('systemd-analyze', ['verify', '--man=no', ...paths], { accept: [1] });
    const complaints = stderr.split('\n').filter((line) => line.includes('keelson'));
    expect(
      complaints.filter((line) => !line.includes('/opt/keelson/current/bin/keelson is not executable')),
    ).toEqual([]);
  });

  test('serves kubelet on the socket that systemd made, and leaves it there', async () => {
    const listen = join(root, 'cri.sock');
    const runtime = join(root, 'runtime.sock');
    await using _runtime = await startFakeRuntime(runtime);
    await using proxy = await startProcess({
      name: 'cri-proxy',
      file: ACTIVATE,
      args: [
        ...[`--listen=${listen}`, ...command()],
        ...['cri-proxy', '--listen', listen, '--runtime', runtime, '--metrics-address', 'off'],
      ],
      logFile: join(root, 'proxy.log'),
    });
    const present = async (): Promise<true> => {
      await lstat(listen);
      return true;
    };
    await waitFor('systemd listens', present, { timeoutMs: 60_000 });
    const session = await openSession(listen);
    const message = Buffer.from(frameMessage(Buffer.from('hello')));
    const answer = await send(session, '/runtime.v1.RuntimeService/Version', message);
    expect(answer).toMatchObject({ body: message });
    session.destroy();
    await proxy.stop();
    expect((await lstat(listen)).isSocket()).toBe(true);
  });

  test('is uninstalled without leftovers', async () => {
    await runCommand(KEELSON, ['install-host', '--root', root, '--remove']);
    expect(await readdir(join(root, 'opt'))).toEqual([]);
    expect(await readdir(join(root, 'etc/systemd/system'))).toEqual([]);
  });
});
