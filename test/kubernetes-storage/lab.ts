import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { Cluster } from '../cluster/cluster.ts';
import type { Kubectl } from '../cluster/kubectl.ts';
import { NAMESPACE } from '../cluster/shipped.ts';
import { waitFor } from '../cluster/wait.ts';
import { buildSuiteImages, listSuiteImages, registryList } from './images.ts';
import { IMAGE_POOL, MAX_VOLUMES_PER_NODE, profileObjects, type Profile } from './profiles.ts';

/** A cluster on which Kubernetes' storage tests can run. */
export interface SuiteLab {
  readonly cluster: Cluster;
  readonly kubectl: Kubectl;
  /** Where the tests find the names of their images. */
  readonly registryListFile: string;
}

const DEPLOY = join(import.meta.dirname, '../../deploy');
const SNAPSHOT_KINDS = ['snapshot-crds', 'group-snapshot-crds'];
const NODES = 2;

/**
 * Brings the cluster up with Keelson as it is shipped, images, pools and classes; goes on with one
 * that is there already.
 */
export async function ensureSuiteLab(
  profiles: readonly Profile[],
  report: (text: string) => void,
  signal?: AbortSignal,
): Promise<SuiteLab> {
  const cluster = new Cluster({ name: 'storage-suites' }, { report });
  const settings = { keelson: 'shipped', poolSize: '40Gi', controllerQps: 200 } as const;
  await cluster.up({ nodes: NODES, settings, signal });
  const registryListFile = join(cluster.directory, 'registries.yaml');
  await mkdir(cluster.directory, { recursive: true });
  await writeFile(registryListFile, registryList());
  const archive = join(cluster.directory, 'suite-images.tar');
  await buildSuiteImages(await listSuiteImages(registryListFile), archive);
  await cluster.loadImages(archive, signal);
  report('images: loaded');
  const kubectl = await cluster.kubectl();
  for (const kinds of SNAPSHOT_KINDS) {
    await kubectl.run(['apply', '--kustomize', join(DEPLOY, kinds)], { signal });
  }
  await limitVolumes(kubectl, signal);
  await kubectl.apply(profileObjects(profiles), { signal });
  const poolIsReady = async (): Promise<true | undefined> => {
    const { status } = await kubectl.get<{ status?: { nodes?: { ready: number } } }>(
      ['storagepool', IMAGE_POOL],
      { signal },
    );
    return status?.nodes?.ready === NODES ? true : undefined;
  };
  await waitFor(`pool ${IMAGE_POOL} is ready`, poolIsReady, { timeoutMs: 120_000, everyMs: 500, signal });
  report('pools and classes: ready');
  return { cluster, kubectl, registryListFile };
}

/**
 * By the ConfigMap, as a user would. kubelet learns the limit when the agent's new pod registers.
 */
async function limitVolumes(kubectl: Kubectl, signal?: AbortSignal): Promise<void> {
  const map = ['configmap', 'keelson-agent', '--namespace', NAMESPACE];
  const { data } = await kubectl.get<{ data: { 'agent.yaml': string } }>(map, { signal });
  const text = data['agent.yaml'];
  if (text.includes('maxVolumesPerNode')) return;
  const limited = stringify({ ...(parse(text) as object), maxVolumesPerNode: MAX_VOLUMES_PER_NODE });
  const patch = JSON.stringify({ data: { 'agent.yaml': limited } });
  await kubectl.run(['patch', ...map, '--type=merge', `--patch=${patch}`], { signal });
  const daemonSet = ['daemonset/keelson-agent', '--namespace', NAMESPACE];
  await kubectl.run(['rollout', 'restart', ...daemonSet], { signal });
  await kubectl.run(['rollout', 'status', ...daemonSet, '--timeout=120s'], { signal, timeoutMs: 130_000 });
}
