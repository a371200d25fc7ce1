import { access, readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { Fault } from '../core/fault.ts';
import type { ProcessEnvironment } from '../runtime/child-process.ts';
import { fileContent, tokenFileCredentials } from './credentials.ts';
import type { ClusterAccess } from './transport.ts';

interface FindClusterOptions {
  readonly env: ProcessEnvironment;
  readonly homeDirectory: string;
  /** Path of a kubeconfig that replaces KUBECONFIG and the home directory's. */
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  /** Directory of the pod's service account; replaced in tests. */
  readonly serviceAccountDirectory?: string;
}

const SERVICE_ACCOUNT_DIRECTORY = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * Returns the access to this process's cluster in kubectl's order: `kubeconfig`, the files of
 * KUBECONFIG, `~/.kube/config`, the pod's service account. Rejects with `precondition` when there
 * is none, `invalid` when a kubeconfig is invalid.
 */
export async function findCluster(options: FindClusterOptions): Promise<ClusterAccess> {
  const { env, homeDirectory, kubeconfig, context } = options;
  const paths = kubeconfig !== undefined ? [kubeconfig] : (env['KUBECONFIG']?.split(delimiter) ?? []);
  const named = paths.filter((path) => path !== '');
  const files = await readFiles(named.length > 0 ? named : [join(homeDirectory, '.kube/config')]);
  if (files.length > 0) {
    // Loads the Kubernetes client library: 17 MiB that a pod does not pay (docs/decisions/0008).
    const { openKubeconfig } = await import('./kubeconfig.ts');
    return await openKubeconfig(files, { context });
  }
  if (kubeconfig !== undefined) throw new Fault('precondition', `kubeconfig ${kubeconfig} does not exist`);
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = env;
  if (host === undefined) {
    throw new Fault(
      'precondition',
      `no cluster configured: KUBECONFIG is unset, ${homeDirectory}/.kube/config does not exist and this process is not in a pod; set KUBECONFIG or pass --kubeconfig`,
    );
  }
  return await inCluster(host, port, options.serviceAccountDirectory ?? SERVICE_ACCOUNT_DIRECTORY);
}

async function inCluster(host: string, port: string, directory: string): Promise<ClusterAccess> {
  const tokenFile = join(directory, 'token');
  const ca = fileContent(join(directory, 'ca.crt'));
  try {
    await access(tokenFile);
    await ca.current();
    const namespace = await readFile(join(directory, 'namespace'), 'utf8').catch(() => 'default');
    return {
      server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
      credentials: tokenFileCredentials(tokenFile),
      tls: { ca },
      namespace: namespace.trim(),
    };
  } catch (error) {
    throw new Fault(
      'precondition',
      `no service account in ${directory}; check automountServiceAccountToken of the pod`,
      { cause: error },
    );
  }
}

/** Skips files that do not exist, as kubectl does. */
async function readFiles(
  paths: readonly string[],
): Promise<readonly { readonly path: string; readonly text: string }[]> {
  const files: { path: string; text: string }[] = [];
  for (const path of paths) {
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw new Fault('precondition', `cannot read kubeconfig ${path}: ${error.code ?? error.message}`, {
        cause: error,
      });
    });
    if (text !== undefined) files.push({ path, text });
  }
  return files;
}
