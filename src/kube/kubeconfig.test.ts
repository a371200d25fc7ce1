import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.ts';
import { findCluster } from './cluster-access.ts';
import { bearerIdentity, fileContent, renewable, tokenFileCredentials } from './credentials.ts';
import { openKubeconfig } from './kubeconfig.ts';
import type { ClusterAccess } from './transport.ts';

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
const find = (env: Record<string, string>, more: object = {}): Promise<ClusterAccess> =>
  findCluster({ env, homeDirectory: directory, serviceAccountDirectory: directory, ...more });
const caOf = async ({ tls }: ClusterAccess): Promise<string | undefined> => await tls.ca?.current();

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
`;

/** CONFIG whose current context has the user `user`, in place of its own `ann`. */
const as = (user: string): string =>
  CONFIG.replace('certificate-authority: ca.pem, ', '').replace(
    '- {name: ann, user: {token: secret}}',
    `- {name: ann, user: ${user}}`,
  );

describe('findCluster', () => {
  it('uses the current context of KUBECONFIG, with paths relative to its directory', async () => {
    await write('ca.pem', 'EAST');
    const found = await find({ KUBECONFIG: await write('config', CONFIG) });
    expect(found).toMatchObject({
      server: 'https://east:6443',
      namespace: 'team-a',
      tls: { serverName: 'kube', insecure: false },
    });
    expect(await caOf(found)).toBe('EAST');
    expect(await found.credentials.current()).toEqual(bearerIdentity('secret'));
  });

  it('uses the selected context, with a client certificate and a proxy', async () => {
    await write('key.pem', 'KEY');
    const found = await find({}, { kubeconfig: await write('config', CONFIG), context: 'two' });
    expect(found).toMatchObject({ server: 'https://west', proxyUrl: 'http://proxy:3128' });
    expect(await caOf(found)).toBe('WEST');
    expect(await found.credentials.current()).toEqual({
      headers: {},
      certificate: { cert: 'CERT', key: 'KEY' },
    });
  });

  it('re-reads a client certificate that is replaced on disk', async () => {
    const key = await write('key.pem', 'KEY');
    const found = await find({}, { kubeconfig: await write('config', CONFIG), context: 'two' });
    await writeFile(key, 'NEW KEY');
    expect((await found.credentials.current()).certificate?.key).toBe('NEW KEY');
  });

  it('merges several files, where the first entry of a name wins, and skips missing ones', async () => {
    const first = await write('first', 'users:\n- {name: ann, user: {token: first}}\n');
    await write('ca.pem', 'EAST');
    const second = await write('second', CONFIG);
    const found = await find({ KUBECONFIG: `${first}:${directory}/missing:${second}` });
    expect(await found.credentials.current()).toEqual(bearerIdentity('first'));
  });

  it('prefers inline data over a file, as kubectl does', async () => {
    const text = CONFIG.replace('ca.pem', `missing.pem, certificate-authority-data: ${base64('INLINE')}`);
    expect(await caOf(await find({ KUBECONFIG: await write('config', text) }))).toBe('INLINE');
  });

  it('trusts the authority of a context without a user, and sends no credentials', async () => {
    await write('ca.pem', 'EAST');
    const text = CONFIG.replace('cluster: east, user: ann', 'cluster: east');
    const found = await find({ KUBECONFIG: await write('config', text) });
    expect(await caOf(found)).toBe('EAST');
    expect(await found.credentials.current()).toEqual({ headers: {} });
  });

  it('accepts an http server, as of kubectl proxy', async () => {
    const text = as('{}').replace('https://east:6443/', 'http://localhost:8001');
    const found = await find({ KUBECONFIG: await write('config', text) });
    expect(found.server).toBe('http://localhost:8001');
    expect(await found.credentials.current()).toEqual({ headers: {} });
  });

  it('ignores invalid entries that the context does not use', async () => {
    const text = `${as('{token: t}')}- {name: other, user: {auth-provider: {name: keystone}}}\n`;
    const found = await find({ KUBECONFIG: await write('config', text) });
    expect(await found.credentials.current()).toEqual(bearerIdentity('t'));
  });

  it('sends impersonation: user, uid, groups and extra', async () => {
    const user = '{token: t, as: ann, as-uid: u1, as-groups: [a, b], as-user-extra: {Scopes: [x]}}';
    const found = await find({ KUBECONFIG: await write('config', as(user)) });
    expect((await found.credentials.current()).headers).toEqual({
      authorization: 'Bearer t',
      'impersonate-user': 'ann',
      'impersonate-uid': 'u1',
      'impersonate-group': ['a', 'b'],
      'impersonate-extra-scopes': ['x'],
    });
  });

  it('sends a password as HTTP basic authentication', async () => {
    const found = await find({ KUBECONFIG: await write('config', as('{username: a, password: b}')) });
    expect((await found.credentials.current()).headers).toEqual({
      authorization: `Basic ${base64('a:b')}`,
    });
  });

  it('prefers tokenFile over token, and re-reads it', async () => {
    const clock = new FakeClock();
    await write('token', 'one\n');
    const path = join(directory, 'config');
    const user = '{token: inline, tokenFile: token}';
    const { credentials } = await openKubeconfig([{ path, text: as(user) }], {}, { clock });
    expect(await credentials.current()).toEqual(bearerIdentity('one'));
    await write('token', 'two\n');
    await clock.advance(60_000);
    expect(await credentials.current()).toEqual(bearerIdentity('two'));
  });

  it("uses the pod's service account without a kubeconfig, and re-reads its authority", async () => {
    await write('token', 'projected\n');
    await write('ca.crt', 'CLUSTER');
    await write('namespace', 'keelson-system');
    const found = await find({ KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' });
    expect(found).toMatchObject({ server: 'https://[fd00::1]:443', namespace: 'keelson-system' });
    expect(await caOf(found)).toBe('CLUSTER');
    expect(await found.credentials.current()).toEqual(bearerIdentity('projected'));
    await write('ca.crt', 'ROTATED');
    found.tls.ca?.reject();
    expect(await caOf(found)).toBe('ROTATED');
  });

  it('names the fix when no cluster is configured', async () => {
    await expect(find({})).rejects.toMatchObject({ kind: 'precondition' });
    await expect(find({})).rejects.toThrow(/set KUBECONFIG or pass --kubeconfig/);
    await expect(find({ KUBERNETES_SERVICE_HOST: 'x' })).rejects.toThrow(/no service account in/);
    await expect(find({}, { kubeconfig: '/nowhere' })).rejects.toThrow(/kubeconfig \/nowhere does not exist/);
  });

  const invalid: readonly (readonly [string, string, RegExp])[] = [
    ['text that is not YAML', 'a: [', /config is not valid YAML: error at line 1, column \d+$/],
    [
      'an unknown current context',
      CONFIG.replace('current-context: one', 'current-context: zero'),
      /no "zero" in contexts; found one, two/,
    ],
    ['no current context', CONFIG.replace('current-context: one', ''), /no current-context; select one/],
    [
      'a server that is not a URL',
      CONFIG.replace('https://east:6443/', 'east'),
      /cluster east of kubeconfig .*config is invalid: server: must be an http or https URL/,
    ],
    [
      'a proxy of an unknown protocol',
      CONFIG.replace('http://proxy', 'ftp://proxy').replace('-context: one', '-context: two'),
      /cluster west of .*: proxy-url: must be an http, https or socks5 URL/,
    ],
    [
      'an authority that cannot be read',
      CONFIG,
      /ca\.pem, which the kubeconfig names as certificate-authority/,
    ],
    [
      'an unknown auth-provider',
      as('{auth-provider: {name: keystone}}'),
      /user ann of .*: auth-provider\.name: must be oidc, gcp or azure/,
    ],
    [
      'a certificate without a key',
      as(`{client-certificate-data: ${base64('CERT')}}`),
      /user ann of .*: has one of client-certificate and client-key/,
    ],
    [
      'a credential plugin that requires a terminal',
      as('{exec: {apiVersion: client.authentication.k8s.io/v1, command: login, interactiveMode: Always}}'),
      /user ann of .*: exec\.interactiveMode: Always is not supported/,
    ],
  ];
  for (const [what, text, message] of invalid) {
    it(`rejects ${what}`, async () => {
      await expect(find({ KUBECONFIG: await write('config', text) })).rejects.toThrow(message);
    });
  }
});

describe('credentials', () => {
  it('name a credential plugin that fails without a message', async () => {
    const user = '{exec: {apiVersion: client.authentication.k8s.io/v1, command: "false"}}';
    const { credentials } = await find({ KUBECONFIG: await write('config', as(user)) });
    await expect(credentials.current()).rejects.toThrow(
      'credential plugin false failed: it failed without a message',
    );
  });

  it('re-read a token file once a minute, and immediately after a rejection', async () => {
    const clock = new FakeClock();
    const path = await write('token', 'one');
    const credentials = tokenFileCredentials(path, { clock });
    expect(await credentials.current()).toEqual(bearerIdentity('one'));
    await write('token', 'two');
    await clock.advance(59_000);
    expect(await credentials.current()).toEqual(bearerIdentity('one'));
    await clock.advance(1_000);
    expect(await credentials.current()).toEqual(bearerIdentity('two'));
    await write('token', 'three');
    credentials.reject();
    expect(await credentials.current()).toEqual(bearerIdentity('three'));
  });

  it('report a token file that is empty or missing', async () => {
    await expect(fileContent(await write('token', '\n')).current()).rejects.toThrow(/token is empty/);
    await expect(fileContent('/nowhere').current()).rejects.toThrow(/cannot read \/nowhere/);
  });

  it('are fetched once for concurrent callers, and again after a failure', async () => {
    let fetches = 0;
    const credentials = renewable(async () => {
      fetches += 1;
      if (fetches === 1) throw new Error('no');
      return { value: `t${fetches}`, untilMs: Number.POSITIVE_INFINITY };
    });
    await expect(Promise.all([credentials.current(), credentials.current()])).rejects.toThrow('no');
    const both = await Promise.all([credentials.current(), credentials.current()]);
    expect([fetches, both]).toEqual([2, ['t2', 't2']]);
  });
});
