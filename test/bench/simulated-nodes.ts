import { DATA_FINALIZER, LOCAL_VOLUMES, type LocalVolume } from '../../src/api/local-volume.ts';
import { NODE_INVENTORIES } from '../../src/api/node-inventory.ts';
import { TOPOLOGY_KEY } from '../../src/core/volumes/driver.ts';
import { isFault } from '../../src/core/fault.ts';
import { type InventoryFacts, planInventory } from '../../src/core/inventory/inventory.ts';
import { NODES } from '../../src/kube/built-in.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { Informer } from '../../src/kube/informer.ts';
import { BoundedRunner } from '../../src/runtime/bounded-runner.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { WorkQueue } from '../../src/runtime/work-queue.ts';
import { InventoryCollector } from '../../node-agent/inventory/collector.ts';
import { systemFiles } from '../../node-agent/inventory/file-reader.ts';
import { machineSources, networkSource } from '../../node-agent/inventory/sources.ts';
import { type Copy, planVolume } from '../../node-agent/kube/local-volume-plan.ts';
import { planStatus } from '../../node-agent/kube/local-volume-status.ts';
import { FIELD_MANAGER } from '../../node-agent/kube/local-volumes.ts';
import { inParallel } from './claim-load.ts';

export interface SimulatedNodesOptions {
  readonly count: number;
  readonly poolBytes: bigint;
}

const POOL = 'default';
const WORKERS = 64;
/** As an agent gathers what its inventory says. */
const GATHER_MS = 300;
const NEVER_MS = 24 * 3_600_000;

interface SimulatedNode {
  readonly name: string;
  /** What it has, by the name of the LocalVolume. */
  readonly volumes: Map<string, Copy>;
  readonly inventory: BoundedRunner;
}

/**
 * Agents of many nodes in this one process: each writes what a real one would, in the same words
 * and at the same moments, and keeps its volumes in a map. One watch brings what each would watch
 * for itself.
 */
export class SimulatedNodes {
  readonly #options: SimulatedNodesOptions;
  readonly #client: KubeClient;
  readonly #nodes: ReadonlyMap<string, SimulatedNode>;
  #facts: InventoryFacts = {};

  constructor(options: SimulatedNodesOptions, client: KubeClient) {
    this.#options = options;
    this.#client = client;
    const names = Array.from({ length: options.count }, (_, i) => `sim-${String(i).padStart(4, '0')}`);
    this.#nodes = new Map(names.map((name) => [name, this.#node(name)]));
  }

  get names(): readonly string[] {
    return [...this.#nodes.keys()];
  }

  /** Volumes on all of their disks. */
  get volumes(): number {
    return [...this.#nodes.values()].reduce((sum, { volumes }) => sum + volumes.size, 0);
  }

  /** Makes Nodes and NodeInventories: what this machine is, with a pool. */
  async register(): Promise<void> {
    const sources = [
      ...machineSources(systemFiles, { architecture: process.arch, provenFeatures: ['nftables'] }),
      networkSource(() => ['10.0.0.0/24'], { mtu: 'auto' }),
    ];
    this.#facts = (await new InventoryCollector(sources).collect()).facts;
    const nodes = [...this.#nodes.values()];
    await inParallel(nodes.length, async (index) => {
      const node = nodes[index];
      if (node === undefined) return;
      const { name } = node;
      const labels = { [TOPOLOGY_KEY]: name, 'kubernetes.io/hostname': name };
      await this.#client.create(NODES, { metadata: { name, labels } });
      // As when its kubelet is ready: a new Node gets the not-ready taint.
      await this.#client.patch(NODES, { name }, { merge: { spec: { taints: null } } });
      await this.#client.patch(
        NODE_INVENTORIES,
        { name },
        { apply: {}, fieldManager: FIELD_MANAGER, force: true },
      );
      await this.#publish(node);
    });
  }

  /** Answers LocalVolumes until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const informer = new Informer(
      { resource: LOCAL_VOLUMES },
      { client: this.#client, logger: silentLogger },
    );
    const queue = new WorkQueue<string>(
      { name: 'simulated agents', workers: WORKERS, backoff: { baseMs: 50, maxMs: 30_000 } },
      async (key) => {
        const object = informer.store.get(key);
        const answer = object && (await this.#answer(object));
        if (answer !== undefined) informer.remember(answer);
        return undefined;
      },
      { logger: silentLogger },
    );
    using _subscription = informer.subscribe(({ key, current }) => current !== undefined && queue.add(key));
    await Promise.all([
      informer.run(signal),
      queue.run(signal),
      ...[...this.#nodes.values()].map(({ inventory }) => inventory.run(signal)),
    ]);
  }

  /** The next step of the agent of that node; gives what it wrote. */
  async #answer(object: LocalVolume): Promise<LocalVolume | undefined> {
    const { metadata, spec } = object;
    const { name = '', finalizers = [] } = metadata ?? {};
    const node = this.#nodes.get(spec.nodeName);
    if (node === undefined) return undefined;
    const copy = node.volumes.get(name);
    const plan = planVolume(object, { copy, unreadable: undefined, source: undefined });
    try {
      switch (plan.step) {
        case 'protect':
          return await this.#writeFinalizers(object, [...finalizers, DATA_FINALIZER]);
        case 'create':
          node.volumes.set(name, copyOf(object, plan.sizeBytes));
          node.inventory.poke();
          return await this.#report(object, node.volumes.get(name));
        case 'report-ready':
          return await this.#report(object, plan.copy);
        case 'delete':
          node.volumes.delete(name);
          node.inventory.poke();
          {
            await this.#release(object, finalizers);
            return;
          }
        case 'release': {
          await this.#release(object, finalizers);
          return;
        }
        default:
          return undefined;
      }
    } catch (error) {
      // A newer state is on its way.
      if (!isFault(error, 'busy') && !isFault(error, 'not-found')) throw error;
      return undefined;
    }
  }

  async #report(object: LocalVolume, copy: Copy | undefined): Promise<LocalVolume | undefined> {
    const { name = '', uid } = object.metadata ?? {};
    const status = copy && planStatus(object, { copy }, new Date());
    if (status === undefined) return undefined;
    const write = { apply: { metadata: { uid }, status }, fieldManager: FIELD_MANAGER, force: true };
    return await this.#client.patch(LOCAL_VOLUMES, { name }, write, { subresource: 'status' });
  }

  async #release(object: LocalVolume, finalizers: readonly string[]): Promise<undefined> {
    await this.#writeFinalizers(
      object,
      finalizers.filter((finalizer) => finalizer !== DATA_FINALIZER),
    );
  }

  async #writeFinalizers({ metadata }: LocalVolume, finalizers: readonly string[]): Promise<LocalVolume> {
    const { name = '', uid, resourceVersion } = metadata ?? {};
    const patch = { merge: { metadata: { finalizers } }, precondition: { uid, resourceVersion } };
    return await this.#client.patch(LOCAL_VOLUMES, { name }, patch, { fieldManager: FIELD_MANAGER });
  }

  #node(name: string): SimulatedNode {
    const node: SimulatedNode = {
      name,
      volumes: new Map(),
      inventory: new BoundedRunner(
        {
          name: `inventory ${name}`,
          minIntervalMs: GATHER_MS,
          maxIntervalMs: NEVER_MS,
          retryMs: 1_000,
        },
        () => this.#publish(node),
        { logger: silentLogger },
      ),
    };
    return node;
  }

  async #publish({ name, volumes }: SimulatedNode): Promise<void> {
    const capacity = this.#options.poolBytes;
    const allocated = [...volumes.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0n);
    const sizes = { capacity: String(capacity), allocated: String(allocated), volumes: volumes.size };
    const pool = {
      name: POOL,
      backend: 'btrfs' as const,
      ready: true,
      ...sizes,
      largestVolume: String(capacity - allocated),
    };
    const facts = { ...this.#facts, storage: { ...sizes, pools: [pool] } };
    const findings = {
      ...{ agentVersion: 'simulated', facts, problems: [], notServing: undefined, orphans: [] },
      network: undefined,
    };
    const status = planInventory(findings, undefined, new Date());
    await this.#client.patch(
      NODE_INVENTORIES,
      { name },
      { apply: { status }, fieldManager: FIELD_MANAGER, force: true },
      { subresource: 'status' },
    );
  }
}

function copyOf({ metadata, spec }: LocalVolume, sizeBytes: bigint): Copy {
  const id = `vol-${(metadata?.uid ?? '').replaceAll('-', '').slice(0, 24)}`;
  return { id, name: metadata?.name ?? '', pool: spec.poolName, sizeBytes, createdAtMs: Date.now() };
}
