import { type CapacityFigure, capacityFigures, planCapacity } from '../../core/claims/capacity-objects.ts';
import { isFault } from '../../core/fault.ts';
import { DRIVER_NAME, TOPOLOGY_KEY } from '../../core/volumes/driver.ts';
import { exactQuantity } from '../../core/kube-text/exact-quantity.ts';
import { parseQuantity } from '../../core/kube-text/quantity.ts';
import { CSI_STORAGE_CAPACITIES, type CsiStorageCapacity, type Node } from '../../kube/built-in.ts';
import type { KubeClient } from '../../kube/client.ts';
import { Informer, type InformerDeps } from '../../kube/informer.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import type { Cluster } from '../context/cluster.ts';
import {
  type Reconciler,
  type ControllerContext,
  onEach,
  subscriptions,
} from '../context/controller-context.ts';
import { classView, nodeView } from '../context/views.ts';

const DRIVER_LABEL = 'csi.storage.k8s.io/drivername';
const MANAGER_LABEL = 'csi.storage.k8s.io/managed-by';
const MANAGER = 'keelson-controller';

export interface CapacityPublisherOptions {
  /** Namespace of the objects: the controller's. */
  readonly namespace: string;
}

interface CapacityPublisherDeps {
  readonly client: Pick<KubeClient, 'create' | 'patch' | 'delete'>;
  readonly cluster: Cluster;
  /** The published objects, from `createCapacityInformer`. */
  readonly published: Informer<CsiStorageCapacity>;
  readonly clock: Clock;
}

/**
 * Publishes reduced capacity immediately after the first placement on a node, then batches further
 * changes: a burst of claims is a few writes. Reports of agents are batched by the agents and
 * published at once, so that capacity is never more than a second old.
 */
const BATCH_MS = 900;

/** Creates the reconciler of CSIStorageCapacity objects. Keys are names of nodes. */
export function createCapacityPublisher(
  context: ControllerContext,
  options: CapacityPublisherOptions,
): Reconciler {
  const { cluster } = context;
  const published = createCapacityInformer(options, context.informerDeps);
  const publisher = new CapacityPublisher(options, { ...context, published });
  const queue = context.queue('capacity', 4, (node, signal) => publisher.reconcile(node, signal));
  return {
    queue,
    informers: { capacities: published },
    subscribe: () =>
      subscriptions(
        onEach(published, (object) => queue.add(nodeOf(object))),
        onEach(cluster.nodes, (_node, name) => queue.add(name)),
        onEach(cluster.inventories, (_inventory, name) => {
          publisher.hurry(name);
          queue.add(name);
        }),
        onEach(cluster.volumes, ({ spec }) => queue.add(spec.nodeName)),
        onEach(cluster.classes, () => {
          for (const node of cluster.nodes.store.keys()) queue.add(node);
        }),
      ),
  };
}

/** The objects that Keelson manages, indexed by `node`. */
function createCapacityInformer(
  { namespace }: CapacityPublisherOptions,
  deps: InformerDeps,
): Informer<CsiStorageCapacity> {
  return new Informer(
    {
      resource: CSI_STORAGE_CAPACITIES,
      namespace,
      labelSelector: `${DRIVER_LABEL}=${DRIVER_NAME},${MANAGER_LABEL}=${MANAGER}`,
      indexers: { node: (object) => [nodeOf(object)] },
    },
    deps,
  );
}

/** The node of a published object. */
function nodeOf({ nodeTopology }: CsiStorageCapacity): string {
  return nodeTopology?.matchLabels?.[TOPOLOGY_KEY] ?? '';
}

/**
 * Publishes the capacity of each node and class to the scheduler; updated on change, deleted with
 * the node or the class.
 */
class CapacityPublisher {
  readonly #options: CapacityPublisherOptions;
  readonly #deps: CapacityPublisherDeps;
  /** Last write by node, by the monotonic clock. */
  readonly #writtenMs = new Map<string, number>();

  constructor(options: CapacityPublisherOptions, deps: CapacityPublisherDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Skips the batching of node `name` once, after a report of its agent. */
  hurry(name: string): void {
    this.#writtenMs.delete(name);
  }

  /** Makes the published objects of node `name` match its capacity. */
  async reconcile(name: string, signal: AbortSignal): Promise<WorkResult> {
    const { client, cluster, published, clock } = this.#deps;
    const restMs = (this.#writtenMs.get(name) ?? -BATCH_MS) + BATCH_MS - clock.monotonicMs();
    if (restMs > 0) return { afterMs: restMs };
    this.#writtenMs.delete(name);
    const { namespace } = this.#options;
    const node = cluster.nodes.store.get(name);
    const inventory = cluster.inventories.store.get(name);
    const view =
      node === undefined || inventory === undefined
        ? undefined
        : nodeView(node, inventory, cluster.volumes.store.byIndex('node', name));
    const classes = [...cluster.classes.store.values()].flatMap((object) => classView(object) ?? []);
    const plan = planCapacity(
      capacityFigures(view, classes),
      published.store.byIndex('node', name).map(figureOf),
    );
    if (plan.create.length + plan.update.length > 0) this.#writtenMs.set(name, clock.monotonicMs());
    try {
      for (const figure of plan.create) {
        const object = capacityObject(figure, namespace, node);
        published.remember(await client.create(CSI_STORAGE_CAPACITIES, object, { signal }));
      }
      for (const figure of plan.update) {
        const where = { namespace, name: figure.name };
        const merge = sizes(figure.bytes);
        published.remember(await client.patch(CSI_STORAGE_CAPACITIES, where, { merge }, { signal }));
      }
      for (const obsolete of plan.remove) {
        await client.delete(CSI_STORAGE_CAPACITIES, { namespace, name: obsolete }, { signal });
      }
    } catch (error) {
      // Created or deleted by another client: the informer triggers the next step.
      if (isFault(error, 'conflict') || isFault(error, 'not-found')) return { afterMs: 500 };
      throw error;
    }
    return undefined;
  }
}

function capacityObject(
  { name, className, nodeName, bytes }: CapacityFigure,
  namespace: string,
  node: Node | undefined,
): CsiStorageCapacity {
  const uid = node?.metadata?.uid;
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: CSI_STORAGE_CAPACITIES.kind,
    metadata: {
      name,
      namespace,
      labels: { [DRIVER_LABEL]: DRIVER_NAME, [MANAGER_LABEL]: MANAGER },
      // Garbage-collected with its node even when no controller runs.
      ...(uid === undefined
        ? {}
        : { ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid }] }),
    },
    storageClassName: className,
    nodeTopology: { matchLabels: { [TOPOLOGY_KEY]: nodeName } },
    ...sizes(bytes),
  };
}

/** The scheduler reads maximumVolumeSize where it is set, else capacity: both are always equal. */
function sizes(bytes: bigint): { readonly capacity: string; readonly maximumVolumeSize: string } {
  return { capacity: exactQuantity(bytes), maximumVolumeSize: exactQuantity(bytes) };
}

function figureOf(object: CsiStorageCapacity): CapacityFigure {
  const { metadata, storageClassName: className, capacity, maximumVolumeSize } = object;
  const same = capacity === maximumVolumeSize && capacity !== undefined;
  // A value that Keelson would not write differs from every desired value.
  const bytes = same ? parseQuantity(capacity, 'CSIStorageCapacity capacity') : -1n;
  return { name: metadata?.name ?? '', className, nodeName: nodeOf(object), bytes };
}
