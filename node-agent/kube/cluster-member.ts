import { Fault } from '../../src/core/fault.ts';
import type { NetworkFindings, PoolFacts } from '../../src/core/inventory/inventory.ts';
import { type VolumeReferences, describeOrphan, findOrphans } from '../../src/core/volumes/orphans.ts';
import { type Node, NODES } from '../../src/kube/built-in.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { Informer, type InformerObserver } from '../../src/kube/informer.ts';
import { BoundedRunner } from '../../src/runtime/bounded-runner.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { raceSignal } from '../../src/runtime/signals.ts';
import { TaskGroup } from '../../src/runtime/task-group.ts';
import type { FileReader } from '../inventory/file-reader.ts';
import { InventoryPublisher } from '../inventory/publisher.ts';
import {
  kubeletSource,
  machineSources,
  networkSource,
  policySource,
  storageSource,
} from '../inventory/sources.ts';
import type { VolumeReferenceSource } from '../storage/removal/orphan-collector.ts';
import type { HealthService, StorageReport } from '../storage/health/health-service.ts';
import type { LocalVolumeStorage } from './local-volume-storage.ts';
import { FIELD_MANAGER, LocalVolumes } from './local-volumes.ts';
import { RuntimePolicies, type RuntimePoliciesDeps } from './runtime-policies.ts';
import { measuredPools } from './storage-facts.ts';
import { type PoolRequestStorage, StoragePools } from './storage-pools.ts';
import { removeStartupTaint } from './startup-taint.ts';
import { referencesOf, readVolumeReferences } from './volume-references.ts';

export interface ClusterMemberOptions {
  readonly nodeName: string;
  readonly agentVersion: string;
  readonly architecture: string;
  readonly kubeletDir: string | undefined;
  readonly pools: readonly Pick<PoolFacts, 'name' | 'backend'>[];
  readonly network: { readonly mtu: number | 'auto' };
  /** How long orphans are kept; undefined: permanently. */
  readonly orphanGraceMs?: number | undefined;
}

export interface ClusterMemberDeps {
  readonly client: KubeClient;
  readonly files: FileReader;
  /** Why the node cannot serve volumes or pods now; undefined when it can. */
  readonly notServing: () => Fault | undefined;
  /** The state of the pod network; undefined while it is being opened. */
  readonly network: () => (NetworkFindings & { readonly ranges: readonly string[] }) | undefined;
  /** Where the CRI proxy reads policies, and its reported status. */
  readonly proxy: Pick<RuntimePoliciesDeps, 'files' | 'directory' | 'askProxy'>;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly observer?: InformerObserver;
}

/** The storage services that a cluster's member needs. */
export interface MemberStorage extends LocalVolumeStorage, PoolRequestStorage {
  readonly health: Pick<HealthService, 'report'>;
}

/**
 * Pools that take longer to open are published as not ready; others are not, or their capacity
 * would flap at every restart.
 */
const STARTUP_MS = 5_000;

/**
 * This node as a member of a cluster: its LocalVolumes, its NodeInventory and its startup taint.
 */
export class ClusterMember implements VolumeReferenceSource {
  readonly #deps: ClusterMemberDeps;
  readonly #options: ClusterMemberOptions;
  readonly #opened = Promise.withResolvers<MemberStorage>();
  /** Resolves when the agent serves, or has reported why it does not. */
  readonly #settled = Promise.withResolvers<undefined>();
  readonly #node: Informer<Node>;
  readonly #policies: RuntimePolicies;
  readonly #inventory: InventoryPublisher;
  readonly #taint: BoundedRunner;
  #storage: MemberStorage | undefined;
  #pools: StoragePools | undefined;
  #volumes: LocalVolumes | undefined;
  /** The last report of the storage; undefined while it is unavailable. */
  #report: StorageReport | undefined;
  #changed = false;

  constructor(options: ClusterMemberOptions, deps: ClusterMemberDeps) {
    const { client, files, logger, clock = systemClock, observer } = deps;
    const { nodeName, agentVersion, architecture, kubeletDir, pools, network, orphanGraceMs } = options;
    const watching = observer === undefined ? {} : { observer };
    this.#options = options;
    this.#deps = deps;
    this.#node = new Informer(
      { resource: NODES, fieldSelector: `metadata.name=${nodeName}`, transform: withoutVolatile },
      { client, logger, clock, ...watching },
    );
    this.#policies = new RuntimePolicies({
      ...deps.proxy,
      ...{ client, logger, clock, ...watching },
      onChange: () => this.#inventory.poke(),
    });
    this.#inventory = new InventoryPublisher(
      { nodeName, agentVersion, fieldManager: FIELD_MANAGER, orphanGraceMs },
      {
        client,
        logger,
        clock,
        ...watching,
        notServing: () => deps.notServing()?.message,
        orphans: () => this.#findOrphans(),
        network: deps.network,
        sources: [
          ...machineSources(files, { architecture, provenFeatures: ['nftables'] }),
          kubeletSource(() => this.#node.store.get(nodeName)?.status?.nodeInfo, files, kubeletDir),
          networkSource(() => deps.network()?.ranges, network),
          policySource(() => this.#policies.inForce()),
          storageSource(pools, {
            measure: async () => measuredPools(await this.#readReport()),
            takeChanged: () => this.#takeChanged(),
          }),
        ],
      },
    );
    this.#taint = new BoundedRunner(
      { name: 'startup-taint', minIntervalMs: 100, maxIntervalMs: 3_600_000, retryMs: 1_000 },
      () => this.#removeTaint(),
      { logger, clock },
    );
  }

  /** Starts to reconcile LocalVolumes once the pools are open. Must be called once. */
  storageOpened(storage: MemberStorage): void {
    this.#storage = storage;
    this.#opened.resolve(storage);
  }

  /** Reports that an operation may have changed the usage of pools. */
  storageChanged(): void {
    this.#changed = true;
    this.#inventory.poke();
  }

  /** Reports that the state of the network may have changed. */
  networkChanged(): void {
    this.#poke();
  }

  /** Reports that the result of `notServing` may have changed. */
  readinessChanged(): void {
    this.#settled.resolve(undefined);
    this.#poke();
  }

  /** Runs until the signal aborts; retries while the API server is unreachable. */
  async run(signal: AbortSignal): Promise<void> {
    const tasks = new TaskGroup({ logger: this.#deps.logger });
    const stop = (): void => tasks.stop();
    signal.addEventListener('abort', stop, { once: true });
    using _subscribed = this.#node.subscribe(() => this.#poke());
    tasks.run('node', (running) => this.#node.run(running));
    tasks.run('startup-taint', (running) => this.#taint.run(running));
    tasks.run('runtime-policies', (running) => this.#policies.run(running));
    tasks.run('inventory', (running) => this.#publish(running));
    tasks.run('storage-pools', (running) => this.#runPools(running));
    tasks.run('local-volumes', (running) => this.#runVolumes(running));
    if (signal.aborted) stop();
    try {
      await tasks.wait();
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  #poke(): void {
    this.#pools?.poke();
    this.#inventory.poke();
    this.#taint.poke();
  }

  async #publish(signal: AbortSignal): Promise<void> {
    const { clock = systemClock } = this.#deps;
    using _patience = clock.schedule(STARTUP_MS, () => this.#settled.resolve(undefined));
    await raceSignal(this.#settled.promise, signal);
    await this.#inventory.run(signal);
  }

  async #runVolumes(signal: AbortSignal): Promise<void> {
    const { client, logger, clock = systemClock, observer } = this.#deps;
    const storage = await raceSignal(this.#opened.promise, signal);
    const { nodeName } = this.#options;
    const volumes = new LocalVolumes(
      { nodeName },
      { client, storage, logger, clock, ...(observer === undefined ? {} : { observer }) },
    );
    this.#volumes = volumes;
    const known = volumes.synced({ signal }).then(
      () => this.#inventory.poke(),
      () => undefined,
    );
    await Promise.all([volumes.run(signal), known]);
  }

  async #runPools(signal: AbortSignal): Promise<void> {
    const { client, logger, clock = systemClock, observer } = this.#deps;
    const storage = await raceSignal(this.#opened.promise, signal);
    const nodeLabels = (): Readonly<Record<string, string>> | undefined => {
      const node = this.#node.store.get(this.#options.nodeName);
      return node === undefined ? undefined : (node.metadata?.labels ?? {});
    };
    const watching = observer === undefined ? {} : { observer };
    this.#pools = new StoragePools({ client, storage, nodeLabels, logger, clock, ...watching });
    await this.#pools.run(signal);
  }

  async #removeTaint(): Promise<void> {
    const node = this.#node.store.get(this.#options.nodeName);
    if (node === undefined || this.#deps.notServing() !== undefined) return;
    const { client, logger } = this.#deps;
    const answer = await removeStartupTaint(node, { client, logger, fieldManager: FIELD_MANAGER });
    if (answer !== undefined) this.#node.remember(answer);
  }

  /**
   * References by the LocalVolumes of this node; undefined until they were listed, and while the
   * API server is unresponsive.
   */
  known(): VolumeReferences | undefined {
    const objects = this.#volumes?.current;
    return objects && referencesOf(objects.values());
  }

  /** References to this node's volumes, re-read from the API server. */
  async confirm(signal: AbortSignal): Promise<VolumeReferences> {
    return await readVolumeReferences(this.#options.nodeName, { client: this.#deps.client, signal });
  }

  #findOrphans(): readonly string[] | undefined {
    const objects = this.#volumes?.objects;
    if (objects === undefined || this.#report === undefined) return undefined;
    return findOrphans(this.#report, referencesOf(objects.values())).map((orphan) => describeOrphan(orphan));
  }

  async #readReport(): Promise<StorageReport> {
    this.#report = undefined;
    if (this.#storage === undefined) {
      throw this.#deps.notServing() ?? new Fault('unavailable', 'the pools are being opened');
    }
    this.#report = await this.#storage.health.report();
    return this.#report;
  }

  #takeChanged(): boolean {
    const changed = this.#changed;
    this.#changed = false;
    return changed;
  }
}

/** Drops kubelet's heartbeats and images, which are not read here. */
function withoutVolatile({ metadata, spec, status }: Node): Node {
  const { managedFields: _dropped, ...kept } = metadata ?? {};
  const nodeInfo = status?.nodeInfo === undefined ? {} : { status: { nodeInfo: status.nodeInfo } };
  return { metadata: kept, ...(spec === undefined ? {} : { spec }), ...nodeInfo };
}
