import type { LocalVolume } from '../../api/local-volume.ts';
import { NODES } from '../../kube/built-in.ts';
import { findObject, type KubeClient } from '../../kube/client.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { Cluster } from '../context/cluster.ts';
import { removeVolumeFinalizers } from '../context/local-volume-writes.ts';

/** Whether the snapshot's node is in our copy of the cluster. */
export function isOnKnownNode({ spec }: LocalVolume, { nodes }: Pick<Cluster, 'nodes'>): boolean {
  return nodes.store.get(spec.nodeName) !== undefined;
}

/** Whether the server knows that node: what is given up for want of a node is given up on its word. */
export async function isOnLiveNode(
  { spec }: LocalVolume,
  client: Pick<KubeClient, 'get'>,
  signal: AbortSignal,
): Promise<boolean> {
  return (await findObject(client, NODES, { name: spec.nodeName }, { signal })) !== undefined;
}

/** Lets go of a snapshot that nobody has heard of, on a node that is gone. */
export async function releaseNodeSnapshot(
  nodeSnapshot: LocalVolume,
  { client, logger }: { readonly client: KubeClient; readonly logger: Logger },
  signal: AbortSignal,
): Promise<void> {
  await removeVolumeFinalizers(nodeSnapshot, { client }, signal);
  const fields = { volume: nodeSnapshot.metadata?.name, node: nodeSnapshot.spec.nodeName };
  logger.info(fields, 'an unheard-of snapshot was given up');
}
