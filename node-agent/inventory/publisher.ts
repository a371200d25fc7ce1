import { NODE_INVENTORIES, type NodeInventory } from '../../src/api/node-inventory.ts';
import { canonicalJson } from '../../src/core/kube-text/api-status.ts';
import { isFault } from '../../src/core/fault.ts';
import {
  type InventoryStatus,
  type NetworkFindings,
  planInventory,
} from '../../src/core/inventory/inventory.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { Informer, type InformerObserver } from '../../src/kube/informer.ts';
import { BoundedRunner } from '../../src/runtime/bounded-runner.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/logger.ts';
import { InventoryCollector, type InventorySource } from './collector.ts';

export interface InventoryPublisherOptions {
  readonly nodeName: string;
  readonly agentVersion: string;
  readonly fieldManager: string;
  /** See InventoryFindings. */
  readonly orphanGraceMs?: number | undefined;
  /** Interval of reads without a trigger; default 15 s. */
  readonly everyMs?: number;
}

export interface InventoryPublisherDeps {
  readonly client: KubeClient;
  readonly sources: readonly InventorySource[];
  /** Why the agent cannot serve now; undefined when it can. */
  readonly notServing: () => string | undefined;
  /**
   * Volumes on disk without an API object; undefined while either is unknown. Called after the
   * sources.
   */
  readonly orphans: () => readonly string[] | undefined;
  /** See InventoryFindings. */
  readonly network: () => NetworkFindings | undefined;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly observer?: InformerObserver;
}

/**
 * The first trigger writes at once, later ones within this time are batched: below the second
 * within which capacity must be true, without more writes of such a large object.
 */
const GATHER_MS = 800;
const RETRY_MS = 5_000;

/** Publishes the NodeInventory of this node. It only writes when something has changed. */
export class InventoryPublisher {
  readonly #options: InventoryPublisherOptions;
  readonly #deps: InventoryPublisherDeps;
  readonly #clock: Clock;
  readonly #informer: Informer<NodeInventory>;
  readonly #collector: InventoryCollector;
  readonly #runner: BoundedRunner;
  /** What was applied last, and the server's response. */
  #applied: { readonly status: InventoryStatus; readonly answer: string } | undefined;

  constructor(options: InventoryPublisherOptions, deps: InventoryPublisherDeps) {
    const { client, logger, sources, clock = systemClock, observer } = deps;
    this.#options = options;
    this.#deps = deps;
    this.#clock = clock;
    this.#informer = new Informer(
      { resource: NODE_INVENTORIES, fieldSelector: `metadata.name=${options.nodeName}` },
      { client, logger, clock, ...(observer === undefined ? {} : { observer }) },
    );
    this.#collector = new InventoryCollector(sources, { clock });
    this.#runner = new BoundedRunner(
      {
        name: 'inventory',
        minIntervalMs: GATHER_MS,
        maxIntervalMs: options.everyMs ?? 15_000,
        retryMs: RETRY_MS,
      },
      () => this.#publish(),
      { logger, clock },
    );
  }

  /** Reports that facts of a source have changed. */
  poke(): void {
    this.#runner.poke();
  }

  async run(signal: AbortSignal): Promise<void> {
    using _subscribed = this.#informer.subscribe(({ current }) => {
      if (this.#differs(current)) this.#runner.poke();
    });
    const published = this.#informer.synced({ signal }).then(
      () => this.#runner.run(signal),
      () => undefined,
    );
    await Promise.all([this.#informer.run(signal), published]);
  }

  async #publish(): Promise<void> {
    const { nodeName, agentVersion, orphanGraceMs } = this.#options;
    const stored = this.#informer.store.get(nodeName);
    // The server may reorder what it stores, so its responses are compared with each other.
    const previous = this.#differs(stored) ? stored?.status : this.#applied?.status;
    const { facts, problems } = await this.#collector.collect(previous);
    const findings = {
      agentVersion,
      orphanGraceMs,
      facts,
      problems,
      notServing: this.#deps.notServing(),
      orphans: this.#deps.orphans(),
      network: this.#deps.network(),
    };
    const status = planInventory(findings, previous, new Date(this.#clock.nowMs()));
    if (status === undefined) return;
    await this.#apply(status, stored !== undefined);
    for (const { source, message } of problems) {
      this.#deps.logger.warn({ source, reason: message }, 'inventory source failed');
    }
  }

  async #apply(status: InventoryStatus, exists: boolean): Promise<void> {
    const { client } = this.#deps;
    const { nodeName: name, fieldManager } = this.#options;
    const write = { fieldManager, force: true };
    if (!exists) await client.patch(NODE_INVENTORIES, { name }, { apply: {}, ...write });
    try {
      const answer = await client.patch(
        NODE_INVENTORIES,
        { name },
        { apply: { status }, ...write },
        { subresource: 'status' },
      );
      this.#applied = { status, answer: canonicalJson(answer.status) };
      this.#informer.remember(answer);
    } catch (error) {
      if (!exists || !isFault(error, 'not-found')) throw error;
      await this.#apply(status, false);
    }
  }

  /** Whether the object differs from what this process has written. */
  #differs(stored: NodeInventory | undefined): boolean {
    return this.#applied === undefined || this.#applied.answer !== canonicalJson(stored?.status);
  }
}
