import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../src/core/fault.ts';
import { ensureTool } from '../tools/build-tool.ts';

const PROGRAMS = [
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kubelet',
  'kubectl',
] as const;

/** Paths of Kubernetes' programs, all of one version. */
export type KubernetesTools = Readonly<Record<(typeof PROGRAMS)[number], string>>;

/** Builds what the tool cache does not have. */
export async function ensureKubernetes(): Promise<KubernetesTools> {
  const paths: Partial<Record<(typeof PROGRAMS)[number], string>> = {};
  // In turn: each build takes all processors.
  for (const name of PROGRAMS) paths[name] = await ensureTool(name);
  return paths as KubernetesTools;
}

/** What a cluster runs of this machine, and the Debian package of each. */
const REQUIRED = {
  etcd: 'etcd-server',
  containerd: 'containerd',
  runc: 'runc',
  nft: 'nftables',
  ip: 'iproute2',
  openssl: 'openssl',
  busybox: 'busybox-static',
} as const;
const DIRECTORIES = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** Rejects with `precondition`, and with all that is missing at once. */
export async function requirePrograms(): Promise<void> {
  const missing = new Set<string>();
  for (const [program, debianPackage] of Object.entries(REQUIRED)) {
    const found = await Promise.all(DIRECTORIES.map((directory) => isExecutable(join(directory, program))));
    if (!found.includes(true)) missing.add(debianPackage);
  }
  if (missing.size === 0) return;
  throw new Fault(
    'precondition',
    `a cluster needs what is not installed: apt-get install ${[...missing].join(' ')}`,
  );
}

async function isExecutable(file: string): Promise<boolean> {
  return await access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}
