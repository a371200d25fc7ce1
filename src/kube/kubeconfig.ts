import { access } from 'node:fs/promises';
import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import { SocksProxyAgent } from 'socks-proxy-agent';
import { Fault } from '../core/fault.ts';
import { type Clock, systemClock } from '../runtime/clock.ts';
import {
  type Credentials,
  fileContent,
  fixed,
  type Identity,
  type Renewable,
  renewable,
} from './credentials.ts';
import {
  findEntry,
  type KubeconfigCluster,
  type KubeconfigFile,
  type KubeconfigUser,
  parseKubeconfig,
} from './kubeconfig-schema.ts';
import { oidcIdToken } from './oidc.ts';
import { saveOidcTokens } from './oidc-store.ts';
import type { ClusterAccess } from './transport.ts';

interface KubeconfigText {
  readonly path: string;
  readonly text: string;
}

interface OpenKubeconfigOptions {
  /** Default: `current-context`. */
  readonly context?: string | undefined;
}

/**
 * Returns the access that a context of `files` describes. Rejects with `invalid` for an invalid or
 * incomplete kubeconfig, `precondition` when no context is set or a file that it names cannot be
 * read.
 */
export async function openKubeconfig(
  texts: readonly KubeconfigText[],
  { context }: OpenKubeconfigOptions,
  { clock = systemClock }: { readonly clock?: Clock } = {},
): Promise<ClusterAccess> {
  const files = texts.map(({ path, text }) => parseKubeconfig(text, path));
  const { cluster, user, namespace } = select(files, context);
  await requireReadable(cluster, 'certificate-authority');
  await requireReadable(user.content, 'client-certificate');
  await requireReadable(user.content, 'client-key');
  // Without the user's settings, so that no credential plugin runs yet.
  const { ca, servername, rejectUnauthorized } = await optionsOf(load(cluster, {}));
  const caPem = pemOf(ca);
  const proxyUrl = cluster['proxy-url'] ?? undefined;
  return {
    server: cluster.server.replace(/\/+$/, ''),
    credentials: credentialsOf({ cluster, user, caPem }, clock),
    tls: {
      ca: caPem === undefined ? undefined : fixed(caPem),
      serverName: servername,
      insecure: rejectUnauthorized === false,
    },
    ...(proxyUrl?.startsWith('socks') === true
      ? { createAgent: (options) => new SocksProxyAgent(proxyUrl, options) }
      : { proxyUrl }),
    namespace: namespace ?? 'default',
  };
}

interface SelectedUser {
  readonly name: string;
  readonly content: KubeconfigUser;
  /** The kubeconfig that holds the user. */
  readonly path: string;
}

interface Selected {
  readonly cluster: KubeconfigCluster;
  readonly user: SelectedUser;
  readonly namespace: string | null | undefined;
}

function select(files: readonly KubeconfigFile[], context: string | undefined): Selected {
  const name = context ?? files.map((file) => file['current-context']).find((current) => current);
  if (!name) {
    throw new Fault('precondition', 'the kubeconfig has no current-context; select one with --context');
  }
  const { content } = findEntry(files, 'contexts', name);
  return {
    cluster: findEntry(files, 'clusters', content.cluster).content,
    user: content.user
      ? { name: content.user, ...findEntry(files, 'users', content.user) }
      : { name: 'anonymous', content: {}, path: '' },
    namespace: content.namespace,
  };
}

async function requireReadable<Key extends string>(
  entry: { readonly [K in Key]?: string | null | undefined },
  key: Key,
): Promise<void> {
  const path = entry[key];
  if (!path) return;
  await access(path).catch((error: unknown) => {
    throw new Fault('precondition', `cannot read ${path}, which the kubeconfig names as ${key}`, {
      cause: error,
    });
  });
}

function load(cluster: KubeconfigCluster, user: KubeconfigUser): KubeConfig {
  const name = 'selected';
  const loaded = new KubeConfig();
  // The library refuses http unless verification is off, though http has nothing to verify.
  const unverified = cluster.server.startsWith('http:') ? { 'insecure-skip-tls-verify': true } : {};
  loaded.loadFromString(
    JSON.stringify({
      'current-context': name,
      contexts: [{ name, context: { cluster: name, user: name } }],
      clusters: [{ name, cluster: { ...cluster, ...unverified } }],
      // The library applies no TLS settings without a user.
      users: [{ name, user }],
    }),
  );
  return loaded;
}

/** Returns the source of a bearer token that the library does not renew, if the user has one. */
function tokenSource({ name, content, path }: SelectedUser, clock: Clock): Renewable<string> | undefined {
  if (content.tokenFile) return fileContent(content.tokenFile, { clock });
  const provider = content['auth-provider'];
  if (provider?.name !== 'oidc' || content.exec) return undefined;
  return oidcIdToken(
    { user: name, config: provider.config ?? {} },
    { clock, save: async (tokens) => await saveOidcTokens({ path, user: name, tokens }) },
  );
}

function credentialsOf(
  { cluster, user, caPem }: Pick<Selected, 'cluster' | 'user'> & { readonly caPem: string | undefined },
  clock: Clock,
): Credentials {
  const settings = withExecInfo(user.content, cluster, caPem);
  const token = tokenSource(user, clock);
  let library = load(cluster, settings);
  const identity = renewable<Identity>(
    async () => {
      const target = library.getCurrentUser();
      if (token !== undefined && target !== null) {
        Object.assign(target, { authProvider: null, token: await token.current() });
      }
      const options = await optionsOf(library).catch((error: unknown) => {
        throw credentialFault(user, error);
      });
      const value = identityOf(options, user.content);
      if (settings.exec && !value.headers?.['authorization'] && !value.certificate) {
        throw credentialFault(user, new TypeError('neither token nor certificate'));
      }
      // Expires immediately: the library caches plugin output until it expires, and re-reads files.
      return { value, untilMs: clock.nowMs() };
    },
    { clock },
  );
  return {
    current: async (signal) => await identity.current(signal),
    reject() {
      token?.reject();
      // A new instance has an empty cache: the credential plugin runs again.
      library = load(cluster, settings);
    },
  };
}

async function optionsOf(library: KubeConfig): Promise<RequestOptions> {
  const options: RequestOptions = {};
  await library.applyToHTTPSOptions(options);
  return options;
}

function identityOf(options: RequestOptions, user: KubeconfigUser): Identity {
  const headers: Record<string, string | readonly string[]> = {
    ...(options.auth ? { authorization: `Basic ${Buffer.from(options.auth).toString('base64')}` } : {}),
    ...impersonation(user),
  };
  for (const [name, value] of Object.entries(options.headers ?? {}))
    headers[name.toLowerCase()] = String(value);
  const cert = pemOf(options.cert);
  const key = pemOf(options.key);
  return {
    headers,
    ...(cert === undefined || key === undefined ? {} : { certificate: { cert, key } }),
  };
}

/** The library yields a Buffer of a file or of inline data, and text of a credential plugin. */
function pemOf(value: RequestOptions['ca' | 'cert' | 'key']): string | undefined {
  return typeof value === 'string' ? value : Buffer.isBuffer(value) ? value.toString() : undefined;
}

/** The library sends `as` alone; a dropped group would change what the API server permits. */
function impersonation(user: KubeconfigUser): Record<string, string | readonly string[]> {
  const extra = Object.entries(user['as-user-extra'] ?? {}).map(
    ([key, values]) => [`impersonate-extra-${encodeURIComponent(key.toLowerCase())}`, values] as const,
  );
  return {
    ...(user['as-uid'] ? { 'impersonate-uid': user['as-uid'] } : {}),
    ...(user['as-groups']?.length ? { 'impersonate-group': user['as-groups'] } : {}),
    ...Object.fromEntries(extra),
  };
}

/** Sets KUBERNETES_EXEC_INFO, which plugins read their API version from; the library does not. */
function withExecInfo(
  user: KubeconfigUser,
  cluster: KubeconfigCluster,
  ca: string | undefined,
): KubeconfigUser {
  const { exec } = user;
  if (!exec) return user;
  const value = JSON.stringify({
    apiVersion: exec.apiVersion,
    kind: 'ExecCredential',
    spec: {
      interactive: false,
      ...(exec.provideClusterInfo === true ? { cluster: clusterInfo(cluster, ca) } : {}),
    },
  });
  return {
    ...user,
    exec: { ...exec, env: [...(exec.env ?? []), { name: 'KUBERNETES_EXEC_INFO', value }] },
  };
}

/** client.authentication.k8s.io: the authority is data, never a path. */
function clusterInfo(
  { 'certificate-authority': _path, ...cluster }: KubeconfigCluster,
  ca: string | undefined,
): object {
  const data = ca === undefined ? undefined : Buffer.from(ca).toString('base64');
  return { ...cluster, 'certificate-authority-data': data };
}

function credentialFault({ name, content: { exec } }: SelectedUser, error: unknown): Fault {
  if (error instanceof Fault) return error;
  // Messages of these two quote the output, which may hold a token.
  const isMalformed = error instanceof SyntaxError || error instanceof TypeError;
  const reason = isMalformed
    ? 'its output is not an ExecCredential with a token or a certificate'
    : // A plugin that a signal ends writes no message.
      String(error instanceof Error ? error.message : error).trim() || 'it failed without a message';
  if (!exec) {
    return new Fault('unavailable', `no credentials for kubeconfig user ${name}: ${reason}`, {
      cause: error,
    });
  }
  const hint = exec.installHint ? `; ${exec.installHint.trim()}` : '';
  return new Fault('unavailable', `credential plugin ${exec.command} failed: ${reason}${hint}`, {
    cause: error,
  });
}
