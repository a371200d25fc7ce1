import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.ts';
import { findCluster } from './cluster-access.ts';
import { cachedCredentials, tokenFileCredentials } from './credentials.ts';
import { execCredentials } from './exec-credentials.ts';

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'keelson-kubeconfig-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const write = async (name: string, text: string): Promise<string> => {
  const path = join(directory, name);
  await writeFile(path, text);
  return path;
};
const find = (env: Record<string, string>, more: object = {}) =>
  findCluster({ env, homeDirectory: directory, serviceAccountDirectory: directory, ...more });

const base64 = (text: string): string => Buffer.from(text).toString('base64');

const CONFIG = `
current-context: one
contexts:
- {name: one, context: {cluster: east, user: ann, namespace: team-a}}
- {name: two, context: {cluster: west, user: bob}}
clusters:
- {name: east, cluster: {server: "https://east:6443/", certificate-authority: ca.pem, tls-server-name: kube}}
- {name: west, cluster: {server: "https://west", certificate-authority-data: ${base64('WEST')}, proxy-url: "http://proxy:3128"}}
users:
- {name: ann, user: {token: secret}}
- {name: bob, user: {client-certificate-data: ${base64('CERT')}, client-key: key.pem}}
- {name: old, user: {auth-provider: {name: gcp}}}
- {name: half, user: {client-certificate-data: ${base64('CERT')}}}
`;

describe('findCluster', () => {
  it('takes the current context of KUBECONFIG, with paths from its folder', async () => {
    await write('ca.pem', 'EAST');
    const found = await find({ KUBECONFIG: await write('config', CONFIG) });
    expect(found).toMatchObject({
      server: 'https://east:6443',
      namespace: 'team-a',
      tls: { ca: 'EAST', serverName: 'kube' },
    });
    expect(await found.credentials.current()).toEqual({ token: 'secret' });
  });

  it('takes the context that is asked for, with a client certificate and a proxy', async () => {
    await write('key.pem', 'KEY');
    const found = await find({}, { kubeconfig: await write('config', CONFIG), context: 'two' });
    expect(found).toMatchObject({
      server: 'https://west',
      proxyUrl: 'http://proxy:3128',
      tls: { ca: 'WEST' },
    });
    expect(await found.credentials.current()).toEqual({ certificate: { cert: 'CERT', key: 'KEY' } });
  });

  it('reads several files as one, the first of a name counting, and passes over those that are missing', async () => {
    const first = await write('first', 'users:\n- {name: ann, user: {token: first}}\n');
    await write('ca.pem', 'EAST');
    const second = await write('second', CONFIG);
    const found = await find({ KUBECONFIG: `${first}:${directory}/missing:${second}` });
    expect(await found.credentials.current()).toEqual({ token: 'first' });
  });

  it("takes the pod's service account when there is no kubeconfig", async () => {
    await write('token', 'projected\n');
    await write('ca.crt', 'CLUSTER');
    await write('namespace', 'keelson-system');
    const found = await find({ KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' });
    expect(found).toMatchObject({
      server: 'https://[fd00::1]:443',
      namespace: 'keelson-system',
      tls: { ca: 'CLUSTER' },
    });
    expect(await found.credentials.current()).toEqual({ token: 'projected' });
  });

  it('says what to do when there is no cluster', async () => {
    await expect(find({})).rejects.toMatchObject({ kind: 'precondition' });
    await expect(find({})).rejects.toThrow(/set KUBECONFIG/);
    await expect(find({ KUBERNETES_SERVICE_HOST: 'x' })).rejects.toThrow(/no service account/);
    await expect(find({}, { kubeconfig: '/nowhere' })).rejects.toThrow(/there is no kubeconfig \/nowhere/);
  });

  const faulty: readonly (readonly [string, string, RegExp])[] = [
    ['a text that is no YAML', 'a: [', /is no YAML/],
    [
      'a context that is not there',
      CONFIG.replace('current-context: one', 'current-context: zero'),
      /"zero"/,
    ],
    ['no context', CONFIG.replace('current-context: one', ''), /no current-context/],
    ['a server that is no URL', CONFIG.replace('https://east:6443/', 'east'), /must be an http or https URL/],
    ['an authority that cannot be read', CONFIG, /ca\.pem as certificate-authority/],
    [
      'a login that Kubernetes removed',
      CONFIG.replace('user: ann', 'user: old').replace('certificate-authority: ca.pem, ', ''),
      /auth-provider or password/,
    ],
    [
      'a certificate without key',
      CONFIG.replace('user: ann', 'user: half').replace('certificate-authority: ca.pem, ', ''),
      /takes both/,
    ],
  ];
  for (const [what, text, message] of faulty) {
    it(`refuses ${what}`, async () => {
      await expect(find({ KUBECONFIG: await write('config', text) })).rejects.toThrow(message);
    });
  }
});

describe('credentials', () => {
  it('read a token file again once a minute, and at once after a refusal', async () => {
    const clock = new FakeClock();
    const path = await write('token', 'one');
    const credentials = tokenFileCredentials(path, { clock });
    expect(await credentials.current()).toEqual({ token: 'one' });
    await write('token', 'two');
    await clock.advance(59_000);
    expect(await credentials.current()).toEqual({ token: 'one' });
    await clock.advance(1_000);
    expect(await credentials.current()).toEqual({ token: 'two' });
    await write('token', 'three');
    credentials.reject();
    expect(await credentials.current()).toEqual({ token: 'three' });
  });

  it('are fetched once for all that ask at the same time, and again after a failure', async () => {
    let fetches = 0;
    const credentials = cachedCredentials(async () => {
      fetches += 1;
      if (fetches === 1) throw new Error('no');
      return { identity: { token: `t${fetches}` }, untilMs: Number.POSITIVE_INFINITY };
    });
    await expect(Promise.all([credentials.current(), credentials.current()])).rejects.toThrow('no');
    const both = await Promise.all([credentials.current(), credentials.current()]);
    expect([fetches, both]).toEqual([2, [{ token: 't2' }, { token: 't2' }]]);
  });

  it('come from a plugin with its environment, and anew shortly before they expire', async () => {
    const clock = new FakeClock();
    const runs: unknown[] = [];
    const credentials = execCredentials(
      {
        exec: {
          apiVersion: 'client.authentication.k8s.io/v1',
          command: './login',
          args: ['token'],
          env: [{ name: 'PROFILE', value: 'x' }],
          provideClusterInfo: true,
        },
        directory: '/home/ann/.kube',
        env: { PATH: '/bin' },
        cluster: { server: 'https://east', caPem: 'CA' },
      },
      {
        clock,
        run: async (file, args, { env }) => {
          runs.push([file, args, env['PATH'], env['PROFILE'], JSON.parse(env['KUBERNETES_EXEC_INFO'] ?? '')]);
          const expirationTimestamp = new Date(clock.nowMs() + 60_000).toISOString();
          return { stdout: JSON.stringify({ status: { token: `t${runs.length}`, expirationTimestamp } }) };
        },
      },
    );
    expect(await credentials.current()).toEqual({ token: 't1' });
    await clock.advance(49_000);
    expect(await credentials.current()).toEqual({ token: 't1' });
    await clock.advance(1_000);
    expect(await credentials.current()).toEqual({ token: 't2' });
    expect(runs[0]).toEqual([
      '/home/ann/.kube/login',
      ['token'],
      '/bin',
      'x',
      {
        apiVersion: 'client.authentication.k8s.io/v1',
        kind: 'ExecCredential',
        spec: {
          interactive: false,
          cluster: { server: 'https://east', 'certificate-authority-data': base64('CA') },
        },
      },
    ]);
  });

  it('say which plugin failed and how to get it', async () => {
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: 'login',
      installHint: 'install it from example.com',
    } as const;
    const options = { exec, directory: '/', env: {}, cluster: { server: 'https://east' } };
    const failing = execCredentials(options, { run: () => Promise.reject(new Error('ENOENT')) });
    await expect(failing.current()).rejects.toThrow(/plugin login failed; install it from example.com/);
    const silent = execCredentials(options, { run: async () => ({ stdout: 'hello' }) });
    await expect(silent.current()).rejects.toThrow(/printed no ExecCredential/);
    const asking = { ...options, exec: { ...exec, interactiveMode: 'Always' as const } };
    expect(() => execCredentials(asking)).toThrow(/wants a terminal/);
  });
});
