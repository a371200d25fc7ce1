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
