import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Cluster } from './cluster.ts';

export interface LocalVolumeWritesDeps {
  readonly client: Pick<KubeClient, 'patch'>;
  readonly cluster: Pick<Cluster, 'volumes'>;
}

/** Puts annotations on this very volume, in whatever version it is. */
export async function annotateVolume(
  { metadata }: LocalVolume,
  annotations: Readonly<Record<string, string>>,
  { client, cluster }: LocalVolumeWritesDeps,
  signal: AbortSignal,
): Promise<void> {
  const { name = '', uid } = metadata ?? {};
  const patch = { merge: { metadata: { annotations } }, precondition: { uid } };
  cluster.volumes.remember(await client.patch(LOCAL_VOLUMES, { name }, patch, { signal }));
}

/**
 * Takes the finalizers of Keelson off this version of the volume, for a node that will never do it; `busy` when there is a newer one. What
 * may still be on that node is left there. Resolves to whether there were any.
 */
export async function removeVolumeFinalizers(
  { metadata }: LocalVolume,
  { client }: Pick<LocalVolumeWritesDeps, 'client'>,
  signal: AbortSignal,
): Promise<boolean> {
  const { name = '', uid, resourceVersion, finalizers = [] } = metadata ?? {};
  const others = finalizers.filter((finalizer) => !finalizer.startsWith('keelson.dev/'));
  if (others.length === finalizers.length) return false;
  const patch = { merge: { metadata: { finalizers: others } }, precondition: { uid, resourceVersion } };
  await client.patch(LOCAL_VOLUMES, { name }, patch, { signal });
  return true;
}
