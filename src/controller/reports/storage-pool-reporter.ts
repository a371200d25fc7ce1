import { STORAGE_POOLS, type StoragePool } from '../../api/storage-pool.ts';
import { isFault } from '../../core/fault.ts';
import { selectsLabels } from '../../core/kube-text/label-selector.ts';
import {
  nodesInUse,
  planPoolStatus,
  POOL_FINALIZER,
  type PoolOnNode,
} from '../../core/inventory/storage-pool-status.ts';
import { Informer } from '../../kube/informer.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';
import { applyStatus, FIELD_MANAGER } from '../context/apply-status.ts';
import {
  type Reconciler,
  type ControllerContext,
  onEach,
  onNodeLabels,
  subscriptions,
} from '../context/controller-context.ts';

/** Totals over all nodes need not follow each volume. */
const STATUS_INTERVAL_MS = 5_000;

/**
 * Creates the reconciler that summarises the inventories in the status of each StoragePool, and
 * keeps a deleted one until it has no volumes: agents need it to serve them. Keys are names of
 * pools.
 */
export function createStoragePoolReporter(context: ControllerContext): Reconciler {
  const { cluster } = context;
  const pools = new Informer<StoragePool>({ resource: STORAGE_POOLS }, context.informerDeps);
  const reporter = new StoragePoolReporter(context, pools);
  const queue = context.queue('storage-pools', 1, (name, signal) => reporter.reconcile(name, signal));
  const addAll = (): void => {
    for (const name of pools.store.keys()) queue.add(name);
  };
  return {
    queue,
    informers: { pools },
    subscribe: () =>
      subscriptions(
        onEach(pools, (_pool, name) => queue.add(name)),
        onEach(cluster.inventories, addAll),
        onNodeLabels(cluster, addAll),
      ),
  };
}

class StoragePoolReporter {
  readonly #context: ControllerContext;
  readonly #pools: Informer<StoragePool>;
  /** When the status of a pool was last written. */
  readonly #writtenMs = new Map<string, number>();

  constructor(context: ControllerContext, pools: Informer<StoragePool>) {
    this.#context = context;
    this.#pools = pools;
  }

  async reconcile(name: string, signal: AbortSignal): Promise<WorkResult> {
    const pool = this.#pools.store.get(name);
    if (pool === undefined) {
      this.#writtenMs.delete(name);
      return undefined;
    }
    try {
      const nodes = this.#nodesOf(pool);
      await this.#keepFinalizer(pool, nodes, signal);
      return await this.#report(pool, nodes, signal);
    } catch (error) {
      // Deleted or changed meanwhile: its own key follows.
      if (!isFault(error, 'not-found') && !isFault(error, 'conflict')) throw error;
      return undefined;
    }
  }

  #nodesOf({ metadata, spec }: StoragePool): readonly PoolOnNode[] {
    const { nodes, inventories } = this.#context.cluster;
    const names = new Set([...nodes.store.keys(), ...inventories.store.keys()]);
    return [...names].sort().map((nodeName): PoolOnNode => {
      const node = nodes.store.get(nodeName);
      const offered = inventories.store.get(nodeName)?.status?.storage?.pools ?? [];
      return {
        nodeName,
        isSelected: node !== undefined && selectsLabels(spec.nodeSelector, node.metadata?.labels ?? {}),
        pool: offered.find((facts) => facts.name === metadata?.name),
      };
    });
  }

  /** Requires this version, because the list is replaced as a whole. */
  async #keepFinalizer(pool: StoragePool, nodes: readonly PoolOnNode[], signal: AbortSignal): Promise<void> {
    const { name = '', uid, resourceVersion, finalizers = [], deletionTimestamp } = pool.metadata ?? {};
    const isKept = finalizers.includes(POOL_FINALIZER);
    const shouldBe = deletionTimestamp === undefined || (isKept && nodesInUse(nodes).length > 0);
    if (isKept === shouldBe) return;
    const next = shouldBe
      ? [...finalizers, POOL_FINALIZER]
      : finalizers.filter((other) => other !== POOL_FINALIZER);
    const answer = await this.#context.client.patch(
      STORAGE_POOLS,
      { name },
      { merge: { metadata: { finalizers: next } }, precondition: { uid, resourceVersion } },
      { fieldManager: FIELD_MANAGER, signal },
    );
    this.#pools.remember(answer);
  }

  async #report(pool: StoragePool, nodes: readonly PoolOnNode[], signal: AbortSignal): Promise<WorkResult> {
    const { client, clock } = this.#context;
    const { name = '', generation = 0, deletionTimestamp } = pool.metadata ?? {};
    const isDeleting = deletionTimestamp !== undefined;
    if (isDeleting && nodesInUse(nodes).length === 0) return undefined;
    const nowMs = clock.nowMs();
    const status = planPoolStatus({ generation, isDeleting, nodes }, pool.status, new Date(nowMs));
    if (status === undefined) return undefined;
    const dueMs = (this.#writtenMs.get(name) ?? 0) + STATUS_INTERVAL_MS;
    if (dueMs > nowMs) return { afterMs: dueMs - nowMs };
    this.#writtenMs.set(name, nowMs);
    const write = { resource: STORAGE_POOLS, informer: this.#pools, client };
    await applyStatus(pool, status, write, signal);
    return undefined;
  }
}
