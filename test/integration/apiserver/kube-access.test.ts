import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import { NAMESPACES } from '../../../src/kube/built-in.ts';
import { findCluster } from '../../../src/kube/cluster-access.ts';
import type { ClusterAccess } from '../../../src/kube/transport.ts';
import { HttpKubeClient } from '../../../src/kube/http-client.ts';
import { runCommand } from '../../../src/runtime/child-process.ts';
import { type ApiServer, startApiServer } from './kube-api-server.ts';

/** An HTTP proxy that forwards CONNECT and records its destinations. */
class TunnelProxy implements AsyncDisposable {
  readonly tunnels: string[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #server: Server = createServer();

  async start(): Promise<string> {
    this.#server.on('connect', (request, client: Socket) => {
      this.tunnels.push(request.url ?? '');
      const [host = '', port = ''] = (request.url ?? '').split(':');
      const upstream = connect(Number(port), host, () => {
        client.write('HTTP/1.1 200 Connection established\r\n\r\n');
        client.pipe(upstream).pipe(client);
      });
      for (const socket of [client, upstream]) {
        this.#sockets.add(socket);
        socket.on('error', () => socket.destroy());
      }
    });
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

describe('access to a real kube-apiserver', () => {
  let server: ApiServer | undefined;
  let directory = '';
  let prepared: Promise<void> | undefined;

  const prepare = async (context: Pick<TestContext, 'skip'>): Promise<void> => {
    server = await startApiServer(context);
    directory = await mkdtemp(join(tmpdir(), 'keelson-kube-access-'));
  };
  beforeEach(async ({ skip }) => {
    await (prepared ??= prepare({ skip }));
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    if (directory !== '') await rm(directory, { recursive: true, force: true });
  });

  const accessBy = async (edit: (kubeconfig: string) => string): Promise<ClusterAccess> => {
    const kubeconfig = join(directory, 'config');
    await writeFile(kubeconfig, edit(server?.kubeconfig ?? ''), { mode: 0o600 });
    return await findCluster({ env: { PATH: process.env['PATH'] }, homeDirectory: directory, kubeconfig });
  };
  const ask = async (access: ClusterAccess): Promise<string | undefined> => {
    using client = new HttpKubeClient({ access, userAgent: 'keelson-test', timeoutMs: 30_000 });
    return (await client.get(NAMESPACES, { name: 'kube-system' })).metadata?.name;
  };

  it('by the token of a kubeconfig', async () => {
    expect(await ask(await accessBy((config) => config))).toBe('kube-system');
  });

  it('by a client certificate', async () => {
    const keys = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'];
    const ca = [
      '-CA',
      join(server?.directory ?? '', 'ca.crt'),
      '-CAkey',
      join(server?.directory ?? '', 'ca.key'),
    ];
    const files = ['-keyout', 'ann.key', '-out', 'ann.crt'];
    const subject = ['-subj', '/O=system:masters/CN=ann', '-addext', 'basicConstraints=critical,CA:FALSE'];
    await runCommand('openssl', ['req', '-x509', ...keys, ...ca, ...files, ...subject], { cwd: directory });
    const access = await accessBy((config) =>
      config.replace('{token: token-of-admin}', '{client-certificate: ann.crt, client-key: ann.key}'),
    );
    expect(await ask(access)).toBe('kube-system');
  });

  it('by a credential plugin', async () => {
    const answer = JSON.stringify({ status: { token: 'token-of-admin' } });
    await writeFile(
      join(directory, 'login'),
      `#!/bin/sh\ntest -n "$KUBERNETES_EXEC_INFO" && echo '${answer}'\n`,
      {
        mode: 0o755,
      },
    );
    const plugin =
      '{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./login, interactiveMode: Never}}';
    expect(await ask(await accessBy((config) => config.replace('{token: token-of-admin}', plugin)))).toBe(
      'kube-system',
    );
  });

  it('through the proxy that a kubeconfig names', async () => {
    await using proxy = new TunnelProxy();
    const url = await proxy.start();
    const access = await accessBy((config) =>
      config.replace('cluster: {server', `cluster: {proxy-url: "${url}", server`),
    );
    expect(await ask(access)).toBe('kube-system');
    expect(proxy.tunnels).toEqual([new URL(access.server).host]);
  });

  it('is denied for an unknown token, and for a user without rights', async () => {
    const unknown = await accessBy((config) => config.replace('token-of-admin', 'guess'));
    await expect(ask(unknown)).rejects.toMatchObject({ kind: 'denied', fields: { status: 401 } });
    const stranger = await accessBy((config) => config.replace('token-of-admin', 'token-of-stranger'));
    await expect(ask(stranger)).rejects.toMatchObject({ kind: 'denied', fields: { status: 403 } });
  });

  it('reports invalid certificates in a kubeconfig', async () => {
    const broken = await accessBy((config) =>
      config.replace(
        /certificate-authority-data: \S+\}/,
        `certificate-authority-data: ${btoa('-----BEGIN CERTIFICATE-----\nx')}}`,
      ),
    );
    await expect(ask(broken)).rejects.toMatchObject({ kind: 'unavailable' });
    const pem = '{client-certificate-data: eA==, client-key-data: eA==}';
    const keyless = await accessBy((config) => config.replace('{token: token-of-admin}', pem));
    await expect(ask(keyless)).rejects.toMatchObject({ kind: 'invalid' });
  });

  it('sends nothing to a server whose certificate is not trusted', async () => {
    const other = await accessBy((config) => config.replace(/, certificate-authority-data: \S+\}/, '}'));
    await expect(ask(other)).rejects.toMatchObject({ kind: 'unavailable' });
    const lax = await accessBy((config) =>
      config.replace(/certificate-authority-data: \S+\}/, 'insecure-skip-tls-verify: true}'),
    );
    expect(await ask(lax)).toBe('kube-system');
    const named = await accessBy((config) =>
      config.replace('cluster: {server', 'cluster: {tls-server-name: other, server'),
    );
    await expect(ask(named)).rejects.toMatchObject({ fields: { errno: 'ERR_TLS_CERT_ALTNAME_INVALID' } });
  });
});
