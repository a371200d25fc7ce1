import { LOCAL_VOLUMES, type LocalVolume } from '../../api/local-volume.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Cluster } from './cluster.ts';

export interface LocalVolumeWritesDeps {
  readonly client: Pick<KubeClient, 'patch'>;
  readonly cluster: Pick<Cluster, 'volumes'>;
}

/** Adds annotations to the volume with this UID, whatever its version. */
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
 * Removes Keelson's finalizers from this version of the volume, for a node that will not do it;
 * rejects with `busy` when there is a newer version. Data on that node stays. Resolves to whether
 * there were any.
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
