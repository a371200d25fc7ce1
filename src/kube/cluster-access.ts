import { access, readFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { Fault } from '../core/fault.ts';
import type { ProcessEnvironment } from '../runtime/child-process.ts';
import { tokenFileCredentials } from './credentials.ts';
import { type KubeconfigFile, parseKubeconfig, resolveContext } from './kubeconfig.ts';
import type { ClusterAccess } from './transport.ts';

export interface FindClusterOptions {
  readonly env: ProcessEnvironment;
  readonly homeDirectory: string;
  /** A kubeconfig that goes before all others. */
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  /** Where a pod has its service account; for tests. */
  readonly serviceAccountDirectory?: string;
}

const SERVICE_ACCOUNT_DIRECTORY = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * The cluster of this process, found as kubectl does: the given kubeconfig, those of KUBECONFIG, the home directory's, and at last the pod's
 * own service account. Rejects with `precondition` when there is none, `invalid` when the one found is faulty.
 */
export async function findCluster(options: FindClusterOptions): Promise<ClusterAccess> {
  const { env, homeDirectory, kubeconfig, context } = options;
  const paths = kubeconfig !== undefined ? [kubeconfig] : (env['KUBECONFIG']?.split(delimiter) ?? []);
  const named = paths.filter((path) => path !== '');
  const files = await readFiles(named.length > 0 ? named : [join(homeDirectory, '.kube/config')]);
  if (files.length > 0) return await resolveContext(files, { context, env });
  if (kubeconfig !== undefined) throw new Fault('precondition', `there is no kubeconfig ${kubeconfig}`);
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = env;
  if (host === undefined) {
    throw new Fault(
      'precondition',
      `no cluster: neither KUBECONFIG nor ${homeDirectory}/.kube/config names one, and this is no pod; set KUBECONFIG`,
    );
  }
  return await inCluster(host, port, options.serviceAccountDirectory ?? SERVICE_ACCOUNT_DIRECTORY);
}

async function inCluster(host: string, port: string, directory: string): Promise<ClusterAccess> {
  const tokenFile = join(directory, 'token');
  try {
    await access(tokenFile);
    const ca = await readFile(join(directory, 'ca.crt'), 'utf8');
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
      `this pod has no service account in ${directory}; is automountServiceAccountToken false?`,
      { cause: error },
    );
  }
}

/** As with kubectl, a file that is named but missing counts as empty. */
async function readFiles(paths: readonly string[]): Promise<readonly KubeconfigFile[]> {
  const files: KubeconfigFile[] = [];
  for (const path of paths) {
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw new Fault('precondition', `cannot read the kubeconfig ${path}`, { cause: error });
    });
    if (text !== undefined) files.push({ directory: dirname(path), content: parseKubeconfig(text, path) });
  }
  return files;
}
