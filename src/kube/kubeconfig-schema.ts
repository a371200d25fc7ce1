import { dirname, resolve } from 'node:path';
import { parse, YAMLParseError } from 'yaml';
import { z } from 'zod';
import { Fault } from '../core/fault.ts';

const text = z.string().nullish();

const clusterSchema = z.looseObject({
  server: z.url({ protocol: /^https?$/, error: 'must be an http or https URL' }),
  'certificate-authority': text,
  'certificate-authority-data': text,
  'insecure-skip-tls-verify': z.boolean().nullish(),
  'tls-server-name': text,
  'proxy-url': z
    .url({ protocol: /^(https?|socks5h?)$/, error: 'must be an http, https or socks5 URL' })
    .nullish(),
});

const execSchema = z.looseObject({
  apiVersion: z.enum(['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1']),
  command: z.string().min(1),
  args: z.array(z.string()).nullish(),
  env: z.array(z.object({ name: z.string(), value: z.string() })).nullish(),
  installHint: text,
  interactiveMode: z
    .enum(['Never', 'IfAvailable'], {
      error: ({ input }) =>
        input === 'Always'
          ? 'Always is not supported: log in with kubectl first, or use a token'
          : 'must be Never or IfAvailable',
    })
    .nullish(),
  provideClusterInfo: z.boolean().nullish(),
});

/** The removed in-tree providers that the client library implements. */
const authProviderSchema = z.looseObject({
  name: z.enum(['oidc', 'gcp', 'azure'], { error: 'must be oidc, gcp or azure' }),
  config: z.record(z.string(), z.string()).nullish(),
});

const userSchema = z
  .looseObject({
    token: text,
    tokenFile: text,
    'client-certificate': text,
    'client-certificate-data': text,
    'client-key': text,
    'client-key-data': text,
    username: text,
    password: text,
    as: text,
    'as-uid': text,
    'as-groups': z.array(z.string()).nullish(),
    'as-user-extra': z.record(z.string(), z.array(z.string())).nullish(),
    exec: execSchema.nullish(),
    'auth-provider': authProviderSchema.nullish(),
  })
  .refine((user) => has(user, 'client-certificate') === has(user, 'client-key'), {
    error: 'has one of client-certificate and client-key; both are required',
  });

const contextSchema = z.object({ cluster: z.string(), user: text, namespace: text });

const ENTRIES = { clusters: clusterSchema, users: userSchema, contexts: contextSchema } as const;
/** The key that holds the content of a section's entries. */
const CONTENT_KEYS = { clusters: 'cluster', users: 'user', contexts: 'context' } as const;

export type Section = keyof typeof ENTRIES;
/** Content of an entry, with absolute paths. */
export type Entry<S extends Section> = z.output<(typeof ENTRIES)[S]>;
export type KubeconfigCluster = Entry<'clusters'>;
export type KubeconfigUser = Entry<'users'>;

const rawSection = z
  .array(z.looseObject({ name: z.string() }))
  .nullish()
  .transform((entries) => entries ?? []);
const schema = z.object({
  'current-context': text,
  clusters: rawSection,
  users: rawSection,
  contexts: rawSection,
});

/** One kubeconfig file; its entries are checked when they are used, as in kubectl. */
export interface KubeconfigFile extends z.output<typeof schema> {
  readonly path: string;
}

/**
 * Parses the outline of a kubeconfig. Throws `invalid` that names `path` and every invalid field,
 * and no value: a kubeconfig holds secrets.
 */
export function parseKubeconfig(content: string, path: string): KubeconfigFile {
  let value: unknown;
  try {
    value = parse(content) ?? {};
  } catch (error) {
    const at = error instanceof YAMLParseError ? error.linePos?.[0] : undefined;
    const place = at === undefined ? '' : `: error at line ${String(at.line)}, column ${String(at.col)}`;
    throw new Fault('invalid', `kubeconfig ${path} is not valid YAML${place}`, { cause: error });
  }
  return { ...check(schema, value, `kubeconfig ${path}`), path };
}

/**
 * Returns the first entry of a name, as kubectl merges files, and the path of its file. Throws
 * `invalid` for an unknown name or an invalid entry.
 */
export function findEntry<S extends Section>(
  files: readonly KubeconfigFile[],
  section: S,
  name: string,
): { readonly path: string; readonly content: Entry<S> } {
  for (const file of files) {
    const entry = file[section].find((candidate) => candidate.name === name);
    if (entry === undefined) continue;
    const key = CONTENT_KEYS[section];
    const where = `${key} ${name} of kubeconfig ${file.path}`;
    const content = check(ENTRIES[section], entry[key] ?? {}, where) as Entry<S>;
    resolvePaths(content, dirname(file.path));
    return { path: file.path, content };
  }
  const known = files.flatMap((file) => file[section].map((entry) => entry.name)).join(', ') || 'none';
  throw new Fault('invalid', `the kubeconfig has no ${JSON.stringify(name)} in ${section}; found ${known}`);
}

function check<Schema extends z.ZodType>(of: Schema, value: unknown, where: string): z.output<Schema> {
  const parsed = of.safeParse(value);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map(({ path, message }) =>
    path.length === 0 ? message : `${path.join('.')}: ${message}`,
  );
  throw new Fault('invalid', `${where} is invalid: ${issues.join('; ')}`);
}

const PATHS = ['certificate-authority', 'client-certificate', 'client-key'] as const;
type Paths = { [Key in (typeof PATHS)[number] | 'tokenFile']?: string | null | undefined };

/**
 * Makes paths absolute. Drops a path beside inline data: kubectl prefers the data, the client
 * library the file.
 */
function resolvePaths(content: Entry<Section>, directory: string): void {
  const fields = content as Paths & Record<`${(typeof PATHS)[number]}-data`, string | null | undefined>;
  for (const key of PATHS) {
    const file = fields[key];
    fields[key] = file && !fields[`${key}-data`] ? resolve(directory, file) : undefined;
  }
  if (fields.tokenFile) fields.tokenFile = resolve(directory, fields.tokenFile);
  const { exec } = content as KubeconfigUser;
  // A command without a slash is looked up in PATH.
  if (exec?.command.includes('/')) exec.command = resolve(directory, exec.command);
}

type FileFields<Key extends string> = { [K in Key | `${Key}-data`]?: string | null | undefined };

function has<Key extends string>(entry: FileFields<Key>, key: Key): boolean {
  return Boolean(entry[key]) || Boolean(entry[`${key}-data`]);
}
