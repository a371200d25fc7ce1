import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { Fault } from '../core/fault.ts';
import type { ProcessEnvironment } from '../runtime/child-process.ts';
import type { ClusterAccess } from './transport.ts';
import { type Credentials, fixedCredentials, tokenFileCredentials } from './credentials.ts';
import { execCredentials, execSchema } from './exec-credentials.ts';

const text = z.string().nullish();

const clusterSchema = z.object({
  server: z.url({ protocol: /^https?$/, error: 'must be an http or https URL' }),
  'certificate-authority': text,
  'certificate-authority-data': text,
  'insecure-skip-tls-verify': z.boolean().nullish(),
  'tls-server-name': text,
  'proxy-url': text,
});

const userSchema = z.object({
  token: text,
  tokenFile: text,
  'client-certificate': text,
  'client-certificate-data': text,
  'client-key': text,
  'client-key-data': text,
  exec: execSchema.nullish(),
  'auth-provider': z.unknown().optional(),
  username: text,
});

const contextSchema = z.object({ cluster: z.string(), user: text, namespace: text });

const named = <Key extends string, Value extends z.ZodType>(key: Key, value: Value) =>
  z
    .array(z.object({ name: z.string(), [key]: value } as { name: z.ZodString } & Record<Key, Value>))
    .nullish();

const schema = z.object({
  'current-context': text,
  clusters: named('cluster', clusterSchema),
  users: named('user', userSchema),
  contexts: named('context', contextSchema),
});

/** A kubeconfig and the folder that its relative paths start from. */
export interface KubeconfigFile {
  readonly directory: string;
  readonly content: z.output<typeof schema>;
}

/** Checks the text of a kubeconfig; throws `invalid` that names `path` and the faults. */
export function parseKubeconfig(content: string, path: string): KubeconfigFile['content'] {
  let value: unknown;
  try {
    value = parse(content) ?? {};
  } catch (error) {
    throw new Fault('invalid', `the kubeconfig ${path} is no YAML`, { cause: error });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
  throw new Fault('invalid', `the kubeconfig ${path} is faulty:\n${faults.join('\n')}`);
}

export interface ResolveContextOptions {
  readonly context?: string | undefined;
  readonly env: ProcessEnvironment;
}

/** What a context stands for; of entries with one name, the first file's counts. */
export async function resolveContext(
  files: readonly KubeconfigFile[],
  options: ResolveContextOptions,
): Promise<ClusterAccess> {
  const current = files.map((file) => file.content['current-context']).find((name) => name);
  const name = options.context ?? current;
  if (!name)
    throw new Fault('precondition', 'the kubeconfig has no current-context; choose one by --context');
  const { context } = find(files, 'contexts', name).entry;
  const cluster = find(files, 'clusters', context.cluster);
  const settings = cluster.entry.cluster;
  const ca = await dataOrFile(cluster.directory, settings, 'certificate-authority');
  return {
    server: settings.server.replace(/\/+$/, ''),
    credentials: await credentialsOf(files, context.user ?? '', {
      env: options.env,
      cluster: { server: settings.server, caPem: ca },
    }),
    tls: {
      ca,
      serverName: settings['tls-server-name'] ?? undefined,
      insecure: settings['insecure-skip-tls-verify'] ?? undefined,
    },
    proxyUrl: settings['proxy-url'] ?? undefined,
    namespace: context.namespace ?? 'default',
  };
}

type Section = 'clusters' | 'users' | 'contexts';
type Entry<S extends Section> = NonNullable<KubeconfigFile['content'][S]>[number];

function find<S extends Section>(
  files: readonly KubeconfigFile[],
  section: S,
  name: string,
): { readonly directory: string; readonly entry: Entry<S> } {
  for (const { directory, content } of files) {
    const entries = (content[section] ?? []) as readonly Entry<S>[];
    const entry = entries.find((candidate) => candidate.name === name);
    if (entry !== undefined) return { directory, entry };
  }
  throw new Fault('invalid', `the kubeconfig has no entry ${JSON.stringify(name)} in ${section}`);
}

async function credentialsOf(
  files: readonly KubeconfigFile[],
  name: string,
  context: {
    readonly env: ProcessEnvironment;
    readonly cluster: { server: string; caPem: string | undefined };
  },
): Promise<Credentials> {
  if (name === '') return fixedCredentials({});
  const { directory, entry } = find(files, 'users', name);
  const { user } = entry;
  if (user.exec) return execCredentials({ exec: user.exec, directory, ...context });
  if (user.tokenFile) return tokenFileCredentials(resolve(directory, user.tokenFile));
  const cert = await dataOrFile(directory, user, 'client-certificate');
  const key = await dataOrFile(directory, user, 'client-key');
  if ((cert === undefined) !== (key === undefined)) {
    throw new Fault(
      'invalid',
      `the kubeconfig's user ${name} has one of client-certificate and client-key; it takes both`,
    );
  }
  if (cert === undefined && !user.token && (user['auth-provider'] !== undefined || user.username)) {
    throw new Fault(
      'unsupported',
      `the kubeconfig's user ${name} logs in by auth-provider or password, which Kubernetes removed; use exec, a token or a certificate`,
    );
  }
  return fixedCredentials({
    ...(user.token ? { token: user.token } : {}),
    ...(cert === undefined || key === undefined ? {} : { certificate: { cert, key } }),
  });
}

/** Inline data goes before a file, as in kubectl. */
async function dataOrFile<Key extends string>(
  directory: string,
  entry: { readonly [K in Key | `${Key}-data`]?: string | null | undefined },
  key: Key,
): Promise<string | undefined> {
  const data = entry[`${key}-data`];
  if (data) return Buffer.from(data, 'base64').toString('utf8');
  const file = entry[key];
  if (!file) return undefined;
  const path = resolve(directory, file);
  return await readFile(path, 'utf8').catch((error: unknown) => {
    throw new Fault('precondition', `the kubeconfig names ${path} as ${key}, which cannot be read`, {
      cause: error,
    });
  });
}
