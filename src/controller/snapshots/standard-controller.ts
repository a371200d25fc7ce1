import { LEASES, type Lease } from '../../kube/built-in.ts';
import { Informer, type InformerDeps } from '../../kube/informer.ts';
import { observeLease, type ObservedLease } from '../../kube/lease.ts';
import { keyOf } from '../../kube/resource.ts';
import { type Clock, systemClock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';

/** snapshot-controller's lease, renewed several times a minute, in the namespace it runs in. */
const LEASE_NAME = 'snapshot-controller-leader';
/** A lease that was not renewed for this long counts as expired; a restart takes less. */
const UNRESPONSIVE_MS = 60_000;
/** A lease older than this when first seen is a leftover, whatever the clocks say. */
const STALE_MS = 600_000;

/** Detects whether a snapshot-controller is active in the cluster. */
export class StandardController {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #leases: Informer<Lease>;
  readonly #seen = new Map<string, ObservedLease>();
  readonly #handlers = new Set<() => void>();
  #isActive = false;
  #timer: Disposable | undefined;

  constructor(deps: InformerDeps) {
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger;
    this.#leases = new Informer({ resource: LEASES, fieldSelector: `metadata.name=${LEASE_NAME}` }, deps);
  }

  /** Valid once `synced` has resolved. */
  get isActive(): boolean {
    return this.#isActive;
  }

  /** Calls `handler` whenever `isActive` changes. */
  onTurn(handler: () => void): void {
    this.#handlers.add(handler);
  }

  /** Resolves when the leases were listed once. */
  async synced(options: { readonly signal: AbortSignal }): Promise<void> {
    await this.#leases.synced(options);
  }

  /** Watches the leases until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    using _subscribed = this.#leases.subscribe(({ key, current }) => {
      if (current === undefined) this.#seen.delete(key);
      else this.#observe(current);
      this.#decide();
    });
    try {
      await this.#leases.run(signal);
    } finally {
      this.#timer?.[Symbol.dispose]();
    }
  }

  #observe(lease: Lease): void {
    const key = keyOf(lease);
    const known = this.#seen.get(key);
    const nowMs = this.#clock.monotonicMs();
    const ageMs = this.#clock.nowMs() - Date.parse(lease.spec?.renewTime ?? '');
    const isLeftOver = known === undefined && !(ageMs < STALE_MS);
    const seen = observeLease(known, lease, nowMs);
    this.#seen.set(key, isLeftOver ? { ...seen, changedAtMs: nowMs - UNRESPONSIVE_MS } : seen);
  }

  #decide(): void {
    const nowMs = this.#clock.monotonicMs();
    const untilMs = [...this.#seen.values()]
      .filter(({ lease }) => (lease.spec?.holderIdentity ?? '') !== '')
      .reduce((latest, { changedAtMs }) => Math.max(latest, changedAtMs + UNRESPONSIVE_MS), 0);
    this.#timer?.[Symbol.dispose]();
    const isActive = untilMs > nowMs;
    if (isActive) this.#timer = this.#clock.schedule(untilMs - nowMs, () => this.#decide());
    if (isActive === this.#isActive) return;
    this.#isActive = isActive;
    this.#logger.info(
      { standardController: isActive },
      isActive
        ? 'snapshot-controller is active: Keelson handles VolumeSnapshotContents only'
        : 'no snapshot-controller is active: Keelson handles VolumeSnapshots',
    );
    for (const handler of this.#handlers) handler();
  }
}
