import { DATA_FINALIZER, LOCAL_VOLUMES, type LocalVolume } from '../../src/api/local-volume.ts';
import { NODE_INVENTORIES } from '../../src/api/node-inventory.ts';
import { isFault } from '../../src/core/fault.ts';
import { parseQuantity } from '../../src/core/kube-text/quantity.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { Informer } from '../../src/kube/informer.ts';
import { KeyedLock } from '../../src/runtime/keyed-lock.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { type WorkResult, WorkQueue } from '../../src/runtime/work-queue.ts';

const POOL = 'default';

/** Stands in for the agents of some nodes: keeps volumes in a map where they keep them on disk. */
export class FakeAgents {
  /** Name of the volume and size, by handle: what is on the disks. */
  readonly disk = new Map<string, { readonly name: string; readonly node: string; readonly bytes: bigint }>();
  readonly capacity: Map<string, bigint>;
  /** Nodes without any room; they say so from the first refusal on. */
  readonly full = new Set<string>();
  readonly stopped = new Set<string>();
  /** Volumes that are answered with Failed, by name of their claim. */
  readonly broken = new Set<string>();
  readonly #client: KubeClient;
  readonly #publishing = new KeyedLock();

  constructor(client: KubeClient, nodes: Readonly<Record<string, bigint>>) {
    this.#client = client;
    this.capacity = new Map(Object.entries(nodes));
  }

  async run(signal: AbortSignal): Promise<void> {
    for (const node of this.capacity.keys()) {
      await this.#client.create(NODE_INVENTORIES, { metadata: { name: node } });
      await this.publish(node);
    }
    const informer = new Informer(
      { resource: LOCAL_VOLUMES },
      { client: this.#client, logger: silentLogger },
    );
    const queue = new WorkQueue<string>(
      { name: 'fake agents', workers: 8, backoff: { baseMs: 50, maxMs: 500 } },
      (key) => this.#reconcile(informer.store.get(key)),
      { logger: silentLogger },
    );
    using _subscription = informer.subscribe(({ key }) => queue.add(key));
    await Promise.all([informer.run(signal), queue.run(signal)]);
  }

  /**
   * Writes what a node has and has left: one write of a node at a time, or an older one could come
   * last.
   */
  async publish(node: string): Promise<void> {
    await this.#publishing.run(node, () => this.#publish(node));
  }

  async #publish(node: string): Promise<void> {
    const capacity = this.capacity.get(node) ?? 0n;
    const volumes = [...this.disk.values()].filter((volume) => volume.node === node);
    const used = volumes.reduce((sum, { bytes }) => sum + bytes, 0n);
    const pool = {
      name: POOL,
      backend: 'btrfs',
      ready: true,
      capacity: String(capacity),
      allocated: String(used),
      largestVolume: String(this.full.has(node) ? 0n : capacity - used),
      volumes: volumes.length,
    };
    const storage = {
      capacity: String(capacity),
      allocated: String(used),
      volumes: volumes.length,
      pools: [pool],
    };
    const status = { observedTime: new Date().toISOString(), storage };
    await this.#client.patch(
      NODE_INVENTORIES,
      { name: node },
      { merge: { status } },
      { subresource: 'status' },
    );
  }

  async #reconcile(volume: LocalVolume | undefined): Promise<WorkResult> {
    if (volume === undefined || this.stopped.has(volume.spec.nodeName)) return undefined;
    try {
      await (volume.metadata?.deletionTimestamp === undefined ? this.#make(volume) : this.#delete(volume));
    } catch (error) {
      if (!isFault(error, 'busy') && !isFault(error, 'not-found')) throw error;
    }
    return undefined;
  }

  async #make(volume: LocalVolume): Promise<void> {
    const { name = '', uid = '', finalizers = [] } = volume.metadata ?? {};
    const { nodeName, size, claim } = volume.spec;
    if (!finalizers.includes(DATA_FINALIZER)) {
      const merge = { metadata: { finalizers: [...finalizers, DATA_FINALIZER] } };
      await this.#client.patch(LOCAL_VOLUMES, { name }, { merge });
      return;
    }
    if (volume.status?.phase !== undefined) return;
    const handle = `vol-${uid.replaceAll('-', '').slice(0, 24)}`;
    const bytes = parseQuantity(size, 'size');
    const used = [...this.disk.values()].reduce((sum, v) => sum + (v.node === nodeName ? v.bytes : 0n), 0n);
    const isFull = this.full.has(nodeName) || used + bytes > (this.capacity.get(nodeName) ?? 0n);
    if (this.broken.has(claim?.name ?? '')) {
      await this.#answer(name, { phase: 'Failed', message: 'the pool has lost its marker' });
    } else if (isFull) {
      await this.#answer(name, { phase: 'Exhausted', message: 'the pool is full' });
      await this.publish(nodeName);
    } else {
      this.disk.set(handle, { name, node: nodeName, bytes });
      await this.#answer(name, { phase: 'Ready', capacity: size, volumeHandle: handle });
      await this.publish(nodeName);
    }
  }

  async #delete(volume: LocalVolume): Promise<void> {
    const { name = '', finalizers = [] } = volume.metadata ?? {};
    for (const [handle, kept] of this.disk) if (kept.name === name) this.disk.delete(handle);
    await this.publish(volume.spec.nodeName);
    const rest = finalizers.filter((finalizer) => finalizer !== DATA_FINALIZER);
    if (rest.length === finalizers.length) return;
    await this.#client.patch(LOCAL_VOLUMES, { name }, { merge: { metadata: { finalizers: rest } } });
  }

  async #answer(name: string, status: object): Promise<void> {
    await this.#client.patch(LOCAL_VOLUMES, { name }, { merge: { status } }, { subresource: 'status' });
  }
}
