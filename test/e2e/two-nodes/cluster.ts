import { Cluster } from '../../cluster/cluster.ts';

let started: Promise<Cluster> | undefined;

/** Returns the cluster of two nodes with Keelson as pods that the suites of this folder share. */
export function sharedCluster(): Promise<Cluster> {
  started ??= (async () => {
    const cluster = new Cluster({ name: `two-nodes-${process.pid}` });
    await cluster.up({ nodes: 2, settings: { keelson: 'shipped', poolSize: '1Gi' } });
    return cluster;
  })();
  return started;
}

/** Removes the cluster, also one that did not start. */
export async function removeSharedCluster(): Promise<void> {
  await started?.catch(() => undefined);
  await new Cluster({ name: `two-nodes-${process.pid}` }).down();
}
