import { LEASES, type Lease } from '../../kube/built-in.ts';
import { Informer, type InformerDeps } from '../../kube/informer.ts';
import { observeLease, type SeenLease } from '../../kube/lease.ts';
import { keyOf } from '../../kube/resource.ts';
import { type Clock, systemClock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';

/** What the standard snapshot-controller writes several times a minute, in whatever namespace it runs. */
const LEASE_NAME = 'snapshot-controller-leader';
/** After so long a silence it counts as gone: more than a restart of it takes. */
const UNRESPONSIVE_MS = 60_000;
/** A lease that is so old when it is first seen was left by one that is not there any more, whatever the clocks say. */
const STALE_MS = 600_000;

/** Knows whether the cluster has a standard snapshot-controller at work. */
export class StandardController {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #leases: Informer<Lease>;
  readonly #seen = new Map<string, SeenLease>();
  readonly #handlers = new Set<() => void>();
  #isActive = false;
  #timer: Disposable | undefined;

  constructor(deps: InformerDeps) {
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger;
    this.#leases = new Informer({ resource: LEASES, fieldSelector: `metadata.name=${LEASE_NAME}` }, deps);
  }

  /** Known once `synced` has resolved. */
  get isActive(): boolean {
    return this.#isActive;
  }

  /** Calls `handler` whenever `isActive` turns. */
  onTurn(handler: () => void): void {
    this.#handlers.add(handler);
  }

  /** Resolves when the leases were read once. */
  async synced(options: { readonly signal: AbortSignal }): Promise<void> {
    await this.#leases.synced(options);
  }

  /** Follows the leases until the signal aborts. */
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
        ? 'the standard snapshot-controller is at work: VolumeSnapshots are left to it, their contents are ours'
        : 'no other snapshot controller is at work: VolumeSnapshots are ours',
    );
    for (const handler of this.#handlers) handler();
  }
}
