import { sleep } from '../../src/runtime/clock.ts';
import type { Cluster } from './cluster.ts';
import { setLink } from './network.ts';

/** Takes the API server away for `downMs`, and waits until it is ready again. etcd goes on. */
export async function apiServerDown(cluster: Cluster, downMs: number, signal?: AbortSignal): Promise<void> {
  const { programs } = await cluster.controlPlane();
  await programs.stopApiServer();
  try {
    await sleep(downMs, { signal });
  } finally {
    await programs.ensureApiServer();
  }
}

/** Unplugs a node from the network: its pods go on, unseen. */
export async function cutLink(cluster: Cluster, name: string): Promise<void> {
  await setLink(cluster.machine('control-plane'), (await cluster.node(name)).address, 'down');
}

/** Puts it back. */
export async function restoreLink(cluster: Cluster, name: string): Promise<void> {
  await setLink(cluster.machine('control-plane'), (await cluster.node(name)).address, 'up');
}

/**
 * Deletes the node from Kubernetes alone. A kubelet registers when it starts: `restartKubelet`
 * brings the node back.
 */
export async function deleteNode(cluster: Cluster, name: string): Promise<void> {
  await cluster.node(name);
  await (await cluster.kubectl()).run(['delete', 'node', name]);
}

/** Restarts kubelet alone and waits until the node is Ready. */
export async function restartKubelet(cluster: Cluster, name: string, signal?: AbortSignal): Promise<void> {
  await (await cluster.node(name)).stopKubelet();
  await cluster.startNode(name, signal);
}

/** Restarts containerd alone, without its containers, and waits until the node is Ready. */
export async function restartContainerd(cluster: Cluster, name: string, signal?: AbortSignal): Promise<void> {
  await (await cluster.node(name)).runtime.stop();
  await cluster.startNode(name, signal);
}
