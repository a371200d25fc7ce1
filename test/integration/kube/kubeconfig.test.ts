import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NODES } from '../../../src/kube/built-in.ts';
import { findCluster } from '../../../src/kube/cluster-access.ts';
import { HttpKubeClient } from '../../../src/kube/http-client.ts';
import type { ClusterAccess } from '../../../src/kube/transport.ts';
import { FakeApiServer } from '../../fakes/fake-api-server.ts';
import { OidcIssuer } from '../../fakes/oidc-issuer.ts';
import { SocksProxy } from '../../fakes/socks-proxy.ts';
import { TestAuthority } from '../../fakes/test-authority.ts';

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'keelson-kubeconfig-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const at = (name: string): string => join(directory, name);
const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** Writes a kubeconfig of one context; settings are JSON, which is YAML. */
async function kubeconfig(cluster: object, user: object): Promise<string> {
  const text = `# kept by the owner
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: ann}}]
clusters: [{name: test, cluster: ${JSON.stringify(cluster)}}]
users:
- name: ann # the user
  user: ${JSON.stringify(user)}
`;
  await writeFile(at('config'), text, { mode: 0o640 });
  return at('config');
}

const open = async (cluster: object, user: object): Promise<ClusterAccess> =>
  await findCluster({ env: {}, homeDirectory: directory, kubeconfig: await kubeconfig(cluster, user) });

async function nodeName(access: ClusterAccess): Promise<string | undefined> {
  using client = new HttpKubeClient({ access, userAgent: 'keelson-test', timeoutMs: 30_000 });
  return (await client.get(NODES, { name: 'n1' })).metadata?.name;
}

/** An API server with one node that accepts any credentials, over TLS. */
async function serveTls(certificate: { cert: string; key: string }, port = 0): Promise<TlsServer> {
  const server = createServer(certificate, (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ metadata: { name: 'n1' } }));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return new TlsServer(server);
}

class TlsServer implements AsyncDisposable {
  readonly #server: Server;

  constructor(server: Server) {
    this.#server = server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

describe('a credential plugin', () => {
  let server: FakeApiServer;
  beforeEach(async () => {
    server = new FakeApiServer([NODES]);
    await server.start();
    server.store.create(NODES, { metadata: { name: 'n1' } });
  });
  afterEach(async () => await server[Symbol.asyncDispose]());

  /**
   * A plugin that counts its runs in the file `runs`, keeps its last input in `info`, and prints
   * `status`.
   */
  const plugin = async (status: string, exec: object = {}): Promise<ClusterAccess> => {
    const script = `#!/bin/sh
echo run >> ${at('runs')}
n=$(wc -l < ${at('runs')})
printf '%s' "$KUBERNETES_EXEC_INFO $PROFILE $*" > ${at('info')}
cat <<END
${status}
END
`;
    await writeFile(at('login'), script, { mode: 0o755 });
    const apiVersion = 'client.authentication.k8s.io/v1';
    return await open(
      { server: server.access().server },
      { exec: { apiVersion, command: './login', interactiveMode: 'Never', ...exec } },
    );
  };
  const runs = async (): Promise<number> => (await readFile(at('runs'), 'utf8')).split('\n').length - 1;
  const printing = (token: string, lifetimeMs: number): string =>
    JSON.stringify({
      status: { token, expirationTimestamp: new Date(Date.now() + lifetimeMs).toISOString() },
    });

  it('runs once until its token expires, also for concurrent requests', async () => {
    const access = await plugin(printing('t$n', 3_600_000));
    await Promise.all([nodeName(access), nodeName(access), nodeName(access)]);
    await nodeName(access);
    expect(await runs()).toBe(1);
    expect(new Set(server.requests.map(({ authorization }) => authorization))).toEqual(
      new Set(['Bearer t1']),
    );
  });

  it('runs again after its token has expired', async () => {
    const access = await plugin(printing('t$n', -1_000));
    await nodeName(access);
    await nodeName(access);
    expect(server.requests.map(({ authorization }) => authorization)).toEqual(['Bearer t1', 'Bearer t2']);
  });

  it('runs again, once, after the API server rejects its token', async () => {
    server.validToken = 't2';
    const access = await plugin(JSON.stringify({ status: { token: 't$n' } }));
    expect(await nodeName(access)).toBe('n1');
    expect(await runs()).toBe(2);
    server.validToken = 'another';
    await expect(nodeName(access)).rejects.toMatchObject({ kind: 'denied', fields: { status: 401 } });
    expect(await runs()).toBe(3);
  });

  it('receives its arguments, its environment and the cluster', async () => {
    const ca = 'CERTIFICATE';
    await writeFile(at('ca.pem'), ca);
    await plugin(printing('t', 60_000));
    const access = await open(
      { server: server.access().server, 'certificate-authority': 'ca.pem' },
      {
        exec: {
          apiVersion: 'client.authentication.k8s.io/v1',
          command: './login',
          args: ['token', '--x'],
          env: [{ name: 'PROFILE', value: 'lab' }],
          provideClusterInfo: true,
        },
      },
    );
    await access.credentials.current();
    const [info = '', ...rest] = (await readFile(at('info'), 'utf8')).split(' ');
    expect(rest).toEqual(['lab', 'token', '--x']);
    expect(JSON.parse(info)).toEqual({
      apiVersion: 'client.authentication.k8s.io/v1',
      kind: 'ExecCredential',
      spec: {
        interactive: false,
        cluster: { server: server.access().server, 'certificate-authority-data': base64(ca) },
      },
    });
  });

  it('can provide a client certificate', async () => {
    const status = JSON.stringify({ status: { clientCertificateData: 'CERT', clientKeyData: 'KEY' } });
    const access = await plugin(status);
    expect((await access.credentials.current()).certificate).toEqual({ cert: 'CERT', key: 'KEY' });
  });

  it('that fails is named with its message and its installHint', async () => {
    const missing = await plugin('', {
      command: '/nowhere/login',
      installHint: 'install it from example.com',
    });
    await expect(missing.credentials.current()).rejects.toMatchObject({ kind: 'unavailable' });
    await expect(missing.credentials.current()).rejects.toThrow(
      /credential plugin \/nowhere\/login failed: .*ENOENT; install it from example.com/,
    );
    await writeFile(at('failing'), '#!/bin/sh\necho session expired >&2\nexit 1\n', { mode: 0o755 });
    const failing = await plugin('', { command: './failing' });
    await expect(failing.credentials.current()).rejects.toThrow(/failing failed: session expired$/);
  });

  it('whose output is invalid is named without its output', async () => {
    for (const output of ['secret-token', '{"token": "secret-token"}', 'null', '{"status": {}}']) {
      const access = await plugin(output);
      const error = await access.credentials.current().then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(String(error)).toMatch(
        /login failed: its output is not an ExecCredential with a token or a certificate$/,
      );
    }
  });
});

describe('an OIDC user', () => {
  let authority: TestAuthority;
  let issuer: OidcIssuer;
  let url = '';
  beforeEach(async () => {
    authority = await TestAuthority.create(directory, 'issuer-ca');
    issuer = new OidcIssuer(await authority.issue('IP:127.0.0.1'));
    url = await issuer.start();
  });
  afterEach(async () => await issuer[Symbol.asyncDispose]());

  const openUser = async (config: Record<string, string>): Promise<ClusterAccess> =>
    await open(
      { server: 'https://192.0.2.1' },
      {
        'auth-provider': {
          name: 'oidc',
          config: {
            'idp-issuer-url': url,
            'idp-certificate-authority-data': base64(authority.pem),
            'client-id': 'kubernetes',
            ...config,
          },
        },
      },
    );
  const authorizationOf = async ({ credentials }: ClusterAccess): Promise<unknown> =>
    (await credentials.current()).headers?.['authorization'];

  it('sends its id-token until it expires', async () => {
    const token = issuer.idToken(60_000);
    expect(await authorizationOf(await openUser({ 'id-token': token }))).toBe(`Bearer ${token}`);
    expect(issuer.requests).toEqual([]);
  });

  it('refreshes an expired id-token once, and saves both tokens in its kubeconfig', async () => {
    const access = await openUser({ 'id-token': issuer.idToken(5_000), 'refresh-token': 'refresh-0' });
    const first = await authorizationOf(access);
    expect(await authorizationOf(access)).toBe(first);
    expect(issuer.requests).toMatchObject([
      { parameters: { grant_type: 'refresh_token', refresh_token: 'refresh-0', client_id: 'kubernetes' } },
    ]);
    const saved = await readFile(at('config'), 'utf8');
    expect(saved).toContain('# kept by the owner');
    expect(saved).toContain('refresh-1');
    expect((await stat(at('config'))).mode & 0o777).toBe(0o640);
    const again = await findCluster({ env: {}, homeDirectory: directory, kubeconfig: at('config') });
    expect(await authorizationOf(again)).toBe(first);
    expect(issuer.requests).toHaveLength(1);
  });

  it('authenticates with its client-secret', async () => {
    const config = { 'id-token': '', 'refresh-token': 'refresh-0', 'client-secret': 's3cret' };
    await authorizationOf(await openUser(config));
    expect(issuer.requests[0]?.authorization).toBe(`Basic ${base64('kubernetes:s3cret')}`);
  });

  it('refreshes an id-token that the API server rejects', async () => {
    const access = await openUser({ 'id-token': issuer.idToken(60_000), 'refresh-token': 'refresh-0' });
    const before = await authorizationOf(access);
    access.credentials.reject();
    expect(await authorizationOf(access)).not.toBe(before);
  });

  it('must log in again without a refresh token, and names the issuer of a stale one', async () => {
    const expired = await openUser({ 'id-token': issuer.idToken(-1_000) });
    await expect(expired.credentials.current()).rejects.toMatchObject({ kind: 'denied' });
    await expect(expired.credentials.current()).rejects.toThrow(/user ann has expired.*log in again/);
    const stale = await openUser({ 'id-token': '', 'refresh-token': 'used' });
    await expect(stale.credentials.current()).rejects.toThrow(`user ann at ${url}: `);
  });

  it('does not save while another process holds the lock of the kubeconfig', async () => {
    const access = await openUser({ 'id-token': '', 'refresh-token': 'refresh-0' });
    await writeFile(at('config.lock'), '');
    await expect(access.credentials.current()).rejects.toMatchObject({ kind: 'busy' });
    await expect(access.credentials.current()).rejects.toThrow(/config\.lock exists/);
    await rm(at('config.lock'));
    await chmod(at('config'), 0o600);
    expect(await authorizationOf(access)).toMatch(/^Bearer /);
    expect(await readFile(at('config'), 'utf8')).toContain(issuer.refreshToken);
  });
});

describe('a connection to the API server', () => {
  let authority: TestAuthority;
  beforeEach(async () => {
    authority = await TestAuthority.create(directory, 'cluster-ca');
  });
  const trusting = (pem: string): object => ({ 'certificate-authority-data': base64(pem) });

  it('verifies the certificate for tls-server-name', async () => {
    await using server = await serveTls(await authority.issue('DNS:kube'));
    const cluster = { server: server.url, ...trusting(authority.pem) };
    await expect(nodeName(await open(cluster, {}))).rejects.toMatchObject({
      fields: { errno: 'ERR_TLS_CERT_ALTNAME_INVALID' },
    });
    expect(await nodeName(await open({ ...cluster, 'tls-server-name': 'kube' }, {}))).toBe('n1');
  });

  it('goes through the SOCKS proxy of proxy-url, with TLS verified end to end', async () => {
    await using proxy = new SocksProxy();
    const url = await proxy.start();
    await using server = await serveTls(await authority.issue('IP:127.0.0.1'));
    const cluster = { server: server.url, 'proxy-url': url };
    expect(await nodeName(await open({ ...cluster, ...trusting(authority.pem) }, {}))).toBe('n1');
    expect(proxy.destinations).toEqual([`127.0.0.1:${server.port}`]);
    await expect(nodeName(await open(cluster, {}))).rejects.toMatchObject({ kind: 'unavailable' });
  });

  describe('from a pod', () => {
    const openPod = async (port: number): Promise<ClusterAccess> => {
      await writeFile(at('token'), 'projected');
      await writeFile(at('ca.crt'), authority.pem);
      return await findCluster({
        env: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(port) },
        homeDirectory: directory,
        serviceAccountDirectory: directory,
      });
    };

    it('survives the replacement of the certificate authority', async () => {
      const before = await serveTls(await authority.issue('IP:127.0.0.1'));
      const { port } = before;
      const access = await openPod(port);
      using client = new HttpKubeClient({ access, userAgent: 'keelson-test', timeoutMs: 30_000 });
      const get = async (): Promise<string | undefined> =>
        (await client.get(NODES, { name: 'n1' })).metadata?.name;
      expect(await get()).toBe('n1');
      await before[Symbol.asyncDispose]();
      const next = await TestAuthority.create(directory, 'next-ca');
      await using _after = await serveTls(await next.issue('IP:127.0.0.1'), port);
      await expect(get()).rejects.toThrow(/cannot reach the API server .*(VERIFY|CERT)/);
      await writeFile(at('ca.crt'), next.pem);
      expect(await get()).toBe('n1');
    });
  });
});
