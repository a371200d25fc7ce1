import type { LocalVolume } from '../../api/local-volume.ts';
import { NODES } from '../../kube/built-in.ts';
import { findObject, type KubeClient } from '../../kube/client.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { Cluster } from '../context/cluster.ts';
import { removeVolumeFinalizers } from '../context/local-volume-writes.ts';

/** Whether the informer has the snapshot's node. */
export function isOnKnownNode({ spec }: LocalVolume, { nodes }: Pick<Cluster, 'nodes'>): boolean {
  return nodes.store.get(spec.nodeName) !== undefined;
}

/** Whether the API server has that node: a snapshot is only abandoned by its answer. */
export async function isOnLiveNode(
  { spec }: LocalVolume,
  client: Pick<KubeClient, 'get'>,
  signal: AbortSignal,
): Promise<boolean> {
  return (await findObject(client, NODES, { name: spec.nodeName }, { signal })) !== undefined;
}

/** Removes the finalizers of an unpublished snapshot whose node no longer exists. */
export async function releaseNodeSnapshot(
  nodeSnapshot: LocalVolume,
  { client, logger }: { readonly client: KubeClient; readonly logger: Logger },
  signal: AbortSignal,
): Promise<void> {
  await removeVolumeFinalizers(nodeSnapshot, { client }, signal);
  const fields = { volume: nodeSnapshot.metadata?.name, node: nodeSnapshot.spec.nodeName };
  logger.info(fields, 'released an unpublished snapshot of a lost node');
}
