import { generateKeyPairSync, randomInt } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'vitest';
import { Fault } from '../../../src/core/fault.ts';
import type { ClusterAccess } from '../../../src/kube/transport.ts';
import { bearerIdentity, fixed } from '../../../src/kube/credentials.ts';
import { HttpKubeClient, type HttpKubeClientOptions } from '../../../src/kube/http-client.ts';
import { type ManagedProcess, runCommand, startProcess } from '../../../src/runtime/child-process.ts';
import { retry } from '../../../src/runtime/retry.ts';
import { requireTool } from '../../tools/require-tool.ts';

/** Users of the static token file: name, and the groups that it is in. */
const USERS = { admin: 'system:masters', stranger: '' } as const;
export type UserName = keyof typeof USERS;

const READY_WITHIN_MS = 90_000;

/** A real kube-apiserver on a real etcd, on loopback. Disposing it leaves nothing. */
export interface ApiServer extends AsyncDisposable {
  readonly directory: string;
  access(user: UserName): ClusterAccess;
  accessWithToken(token: string): ClusterAccess;
  client(user: UserName, options?: Partial<HttpKubeClientOptions>): HttpKubeClient;
  /** A kubeconfig of the admin with everything inline. */
  readonly kubeconfig: string;
  /** SIGKILL to the API server; etcd stays. */
  kill(): Promise<void>;
  /** Starts it again after `kill`, at the same address. */
  start(): Promise<void>;
}

/** Starts both. A machine that lacks one skips the test and says why; in CI that is a failure. */
export async function startApiServer(context: Pick<TestContext, 'skip'>): Promise<ApiServer> {
  const apiserver = await requireTool(context, 'kube-apiserver');
  await requireProgram(context, '/usr/bin/etcd', 'etcd-server');
  await requireProgram(context, '/usr/bin/openssl', 'openssl');
  await using undo = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'keelson-kube-'));
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const [etcdPort, peerPort, port] = await freePorts(3);
  const at = (name: string): string => join(directory, name);

  const etcd = await startProcess({
    name: 'etcd',
    file: '/usr/bin/etcd',
    args: [
      `--data-dir=${at('etcd')}`,
      `--listen-client-urls=http://127.0.0.1:${etcdPort}`,
      `--advertise-client-urls=http://127.0.0.1:${etcdPort}`,
      `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
      `--initial-advertise-peer-urls=http://127.0.0.1:${peerPort}`,
      `--initial-cluster=default=http://127.0.0.1:${peerPort}`,
      '--logger=zap',
    ],
    logFile: at('etcd.log'),
  });
  undo.use(etcd);

  await makeCertificates(directory);
  const tokens = Object.keys(USERS).map((user) => [user, `token-of-${user}`] as const);
  const lines = tokens.map(([user, token]) => `${token},${user},${user},"${USERS[user as UserName]}"`);
  await writeFile(at('tokens.csv'), `${lines.join('\n')}\n`);
  const ca = await readFile(at('ca.crt'), 'utf8');
  const server = `https://127.0.0.1:${port}`;

  const launch = async (): Promise<ManagedProcess> =>
    await startProcess({
      name: 'kube-apiserver',
      file: apiserver,
      args: [
        `--etcd-servers=http://127.0.0.1:${etcdPort}`,
        '--bind-address=127.0.0.1',
        `--secure-port=${port}`,
        `--tls-cert-file=${at('server.crt')}`,
        `--tls-private-key-file=${at('server.key')}`,
        `--client-ca-file=${at('ca.crt')}`,
        `--token-auth-file=${at('tokens.csv')}`,
        `--service-account-issuer=https://kubernetes.default.svc`,
        `--service-account-key-file=${at('sa.pub')}`,
        `--service-account-signing-key-file=${at('sa.key')}`,
        '--service-cluster-ip-range=10.96.0.0/24',
        '--authorization-mode=RBAC',
        `--cert-dir=${directory}`,
        // Endpoints of the service "kubernetes" must not be on loopback.
        '--advertise-address=192.0.2.1',
      ],
      logFile: at('apiserver.log'),
    });

  const accessWithToken = (token: string): ClusterAccess => ({
    server,
    credentials: fixed(bearerIdentity(token)),
    tls: { ca: fixed(ca) },
    namespace: 'default',
  });
  const accessOf = (user: UserName): ClusterAccess => accessWithToken(`token-of-${user}`);
  const start = async (): Promise<ManagedProcess> => {
    const started = await launch();
    using probe = new HttpKubeClient({ access: accessOf('admin'), userAgent: 'test' });
    const ready = retry(
      // Until its own objects are there, it answers, and then misses namespaces.
      () =>
        probe.get(
          { group: '', version: 'v1', plural: 'namespaces', kind: 'Namespace', namespaced: false },
          { name: 'default' },
        ),
      { baseMs: 100, maxMs: 500, signal: AbortSignal.timeout(READY_WITHIN_MS) },
    );
    await Promise.race([ready, started.failed(AbortSignal.timeout(READY_WITHIN_MS))]);
    return started;
  };
  let running: ManagedProcess = await start();
  undo.defer(() => running[Symbol.asyncDispose]());
  const stack = undo.move();
  return {
    directory,
    access: accessOf,
    accessWithToken,
    client: (user, options = {}) =>
      new HttpKubeClient({
        access: accessOf(user),
        userAgent: 'keelson-test',
        qps: 500,
        burst: 500,
        ...options,
      }),
    kubeconfig: kubeconfigOf(server, ca, 'token-of-admin'),
    async kill() {
      process.kill(running.pid, 'SIGKILL');
      await running.exited;
    },
    async start() {
      running = await start();
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function requireProgram(context: Pick<TestContext, 'skip'>, path: string, pkg: string): Promise<void> {
  try {
    await access(path, constants.X_OK);
  } catch {
    const reason = `${path} is missing: install the package ${pkg}`;
    if (process.env['CI'] === 'true') throw new Fault('precondition', reason);
    context.skip(reason);
  }
}

async function makeCertificates(directory: string): Promise<void> {
  const openssl = (...args: string[]): Promise<unknown> => runCommand('openssl', args, { cwd: directory });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  await openssl(
    'req',
    '-x509',
    ...key,
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
    '-subj',
    '/CN=keelson-test-ca',
  );
  await openssl(
    'req',
    '-x509',
    ...key,
    ...['-CA', 'ca.crt', '-CAkey', 'ca.key', '-keyout', 'server.key', '-out', 'server.crt'],
    ...[
      '-subj',
      '/CN=kube-apiserver',
      '-addext',
      'subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc',
    ],
    ...['-addext', 'basicConstraints=critical,CA:FALSE'],
  );
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await writeFile(join(directory, 'sa.key'), privateKey.export({ type: 'sec1', format: 'pem' }), {
    mode: 0o600,
  });
  await writeFile(join(directory, 'sa.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
}

/**
 * Below the kernel's ephemeral ports (32768 and up), so that no other process gets it by chance.
 */
async function freePorts(count: number): Promise<readonly number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = randomInt(20_000, 32_768);
    if (await isFree(port)) ports.add(port);
  }
  return [...ports];
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

function kubeconfigOf(server: string, ca: string, token: string): string {
  return `apiVersion: v1
kind: Config
current-context: test
clusters:
- name: test
  cluster: {server: "${server}", certificate-authority-data: ${Buffer.from(ca).toString('base64')}}
users:
- name: admin
  user: {token: ${token}}
contexts:
- name: test
  context: {cluster: test, user: admin}
`;
}
