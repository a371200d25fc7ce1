import { STORAGE_POOLS, type StoragePool } from '../../src/api/storage-pool.ts';
import type { PoolRequests } from '../storage/pools/node-pools.ts';
import { POOL_DEFAULTS, type PoolSource, type PoolSpec } from '../../src/core/pools/pool.ts';
import { parseReserve } from '../../src/core/pools/pool-capacity.ts';
import { selectsLabels } from '../../src/core/kube-text/label-selector.ts';
import { parseQuantity } from '../../src/core/kube-text/quantity.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { Informer, type InformerObserver } from '../../src/kube/informer.ts';
import { BoundedRunner } from '../../src/runtime/bounded-runner.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/logger.ts';

/** The storage services that StoragePools need. */
export interface PoolRequestStorage {
  readonly pools: Pick<PoolRequests, 'request'>;
}

export interface StoragePoolsDeps {
  readonly client: KubeClient;
  readonly storage: PoolRequestStorage;
  /** Labels of this node; undefined while they are unknown. */
  readonly nodeLabels: () => Readonly<Record<string, string>> | undefined;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly observer?: InformerObserver;
}

/**
 * Opens the pools whose StoragePool selects this node. Without the API server the node keeps its
 * pools. A StoragePool that is being deleted is no longer requested: its pool takes no new volumes,
 * and closes when it is empty.
 */
export class StoragePools {
  readonly #deps: StoragePoolsDeps;
  readonly #informer: Informer<StoragePool>;
  readonly #runner: BoundedRunner;

  constructor(deps: StoragePoolsDeps) {
    const { client, logger, clock, observer } = deps;
    this.#deps = deps;
    this.#informer = new Informer(
      { resource: STORAGE_POOLS },
      { client, logger, clock, ...(observer === undefined ? {} : { observer }) },
    );
    this.#runner = new BoundedRunner(
      { name: 'storage-pools', minIntervalMs: 100, maxIntervalMs: 3_600_000, retryMs: 5_000 },
      () => this.#apply(),
      { logger, clock },
    );
  }

  /** Reports that the labels of the node may have changed. */
  poke(): void {
    this.#runner.poke();
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    using _subscribed = this.#informer.subscribe(() => this.poke());
    await Promise.all([this.#informer.run(signal), this.#runner.run(signal)]);
  }

  async #apply(): Promise<void> {
    const labels = this.#deps.nodeLabels();
    if (!this.#informer.hasSynced || labels === undefined) return;
    const pools = [...this.#informer.store.values()];
    await this.#deps.storage.pools.request(wantedPools(pools, labels));
  }
}

/** Returns the pools of a node with these labels, ordered by name. */
export function wantedPools(
  pools: readonly StoragePool[],
  labels: Readonly<Record<string, string>>,
): readonly PoolSpec[] {
  return pools
    .filter(
      ({ metadata, spec }) =>
        metadata?.deletionTimestamp === undefined && selectsLabels(spec.nodeSelector, labels),
    )
    .map(poolSpecOf)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Returns a StoragePool in the terms of the storage service. The API server has validated it. */
export function poolSpecOf({ metadata, spec }: StoragePool): PoolSpec {
  return {
    name: metadata?.name ?? '',
    backend: spec.backend,
    labels: metadata?.labels ?? {},
    source: sourceOf(spec.source),
    quota: spec.quota,
    reserve: parseReserve(spec.reserve, 'spec.reserve'),
    overcommitPercent: spec.overcommitPercent,
    enforce: spec.enforce ?? POOL_DEFAULTS.enforce,
  };
}

function sourceOf({ path, file, fileSize, devices }: StoragePool['spec']['source']): PoolSource {
  if (path !== undefined) return { kind: 'path', path };
  if (devices !== undefined) return { kind: 'devices', devices };
  return {
    kind: 'file',
    file: file ?? '',
    sizeBytes: parseQuantity(fileSize ?? '0', 'spec.source.fileSize'),
  };
}
