import { Fault, isFault } from '../core/fault.ts';
import { type Clock, sleep, systemClock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/logger.ts';
import { deadlineSignal, linkSignals, raceSignal } from '../runtime/signals.ts';
import { LEASES, type Lease } from './built-in.ts';
import type { KubeClient } from './client.ts';
import { claimLease, isHeldByOther, observeLease, releaseLease, type ObservedLease } from './lease.ts';

interface LeaderElectionOptions {
  readonly namespace: string;
  /** The Lease that candidates compete for. */
  readonly name: string;
  /** Unique for every process, e.g. the pod's name and a random suffix. */
  readonly identity: string;
  /** Other candidates wait this long after the last renewal that they observed; default 15 s. */
  readonly leaseMs?: number;
  /** A leader without a renewal for this long stops, before others take over; default 10 s. */
  readonly renewDeadlineMs?: number;
  /** Delay between attempts; default 5 s. */
  readonly retryMs?: number;
}

interface LeaderElectionDeps {
  /** A client of its own: a renewal must not queue behind other requests. */
  readonly client: Pick<KubeClient, 'get' | 'create' | 'update'>;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly random?: () => number;
}

/** Limit for the release of the lease at the end; other candidates wait for `leaseMs` otherwise. */
const RELEASE_WITHIN_MS = 3_000;

/** Share of `retryMs` after a failed renewal. */
const FAILED_RENEWAL_SHARE = 0.2;

/**
 * Waits until this candidate leads, runs `work` until it ends or the signal aborts, and releases
 * the lease. Rejects with `unavailable` if the lease is lost, after `work` has ended: its signal
 * aborts.
 */
export async function leadWhile(
  options: LeaderElectionOptions,
  work: (signal: AbortSignal) => Promise<void>,
  deps: LeaderElectionDeps,
  signal: AbortSignal,
): Promise<void> {
  const election = new Election(options, deps);
  if (!(await election.campaign(signal))) return;
  const lost = new AbortController();
  const done = new AbortController();
  using term = linkSignals(signal, lost.signal);
  using renewal = linkSignals(done.signal);
  const renewing = election.renewUntil(renewal.signal).catch((error: unknown) => lost.abort(error));
  try {
    await work(term.signal);
  } catch (error) {
    if (!term.signal.aborted) throw error;
  } finally {
    // Renews until the work has ended, so that no other candidate starts before.
    done.abort();
    await renewing;
    if (!lost.signal.aborted) await election.release();
  }
  lost.signal.throwIfAborted();
}

class Election {
  readonly #options: Required<LeaderElectionOptions>;
  readonly #deps: LeaderElectionDeps;
  readonly #clock: Clock;
  #seen: ObservedLease | undefined;
  #renewedAtMs = 0;

  constructor(options: LeaderElectionOptions, deps: LeaderElectionDeps) {
    this.#options = { leaseMs: 15_000, renewDeadlineMs: 10_000, retryMs: 5_000, ...options };
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
  }

  /** Resolves to true when this candidate leads, to false when the signal aborts. */
  async campaign(signal: AbortSignal): Promise<boolean> {
    const { name, identity, retryMs, renewDeadlineMs } = this.#options;
    const { random = Math.random, logger } = this.#deps;
    while (!signal.aborted) {
      try {
        if (await this.#acquireWithin(renewDeadlineMs, signal)) {
          logger.info({ lease: name, identity }, 'became leader');
          return true;
        }
      } catch (error) {
        if (signal.aborted) break;
        // `busy` and `conflict`: another candidate wrote the lease first.
        if (!isFault(error, 'busy') && !isFault(error, 'conflict')) {
          logger.warn({ lease: name, err: error }, 'cannot acquire the lease; retrying');
        }
      }
      // Jitter, so that candidates do not retry at the same time.
      const delayMs = retryMs * (1 + 0.2 * random());
      await sleep(delayMs, { signal, clock: this.#clock }).catch(() => undefined);
    }
    return false;
  }

  /** Renews until the signal aborts; rejects with `unavailable` when the lease is lost. */
  async renewUntil(signal: AbortSignal): Promise<void> {
    const { retryMs, name } = this.#options;
    let delayMs = retryMs;
    while (!signal.aborted) {
      try {
        await sleep(Math.min(delayMs, Math.max(this.#leftMs(), 0)), { signal, clock: this.#clock });
        if (!(await this.#acquireWithin(this.#leftMs(), signal))) throw this.#lost();
        delayMs = retryMs;
      } catch (error) {
        if (signal.aborted) return;
        if (this.#isLost() || this.#leftMs() <= 0) throw this.#lost(error);
        this.#deps.logger.warn({ lease: name, err: error }, 'cannot renew the lease; retrying');
        delayMs = retryMs * FAILED_RENEWAL_SHARE;
      }
    }
  }

  /** Releases the lease, so that other candidates need not wait until it expires. */
  async release(): Promise<void> {
    if (this.#seen === undefined || this.#isLost()) return;
    using deadline = deadlineSignal(RELEASE_WITHIN_MS, { clock: this.#clock });
    try {
      const lease = releaseLease(this.#seen.lease, this.#clock.nowMs());
      await raceSignal(this.#deps.client.update(LEASES, lease, { signal: deadline.signal }), deadline.signal);
    } catch (error) {
      this.#deps.logger.debug({ lease: this.#options.name, err: error }, 'cannot release the lease');
    }
  }

  async #acquireWithin(limitMs: number, signal: AbortSignal): Promise<boolean> {
    using deadline = deadlineSignal(limitMs, { signal, clock: this.#clock });
    // From before the request: other candidates observe the renewal later.
    const startedMs = this.#clock.monotonicMs();
    const acquired = await raceSignal(this.#acquire(deadline.signal), deadline.signal);
    if (acquired) this.#renewedAtMs = startedMs;
    return acquired;
  }

  async #acquire(signal: AbortSignal): Promise<boolean> {
    const { identity } = this.#options;
    if (this.#seen?.lease.spec?.holderIdentity === identity) {
      try {
        return await this.#write(this.#seen.lease, signal);
      } catch (error) {
        // Another writer changed the lease: read its holder.
        if (!isFault(error, 'busy')) throw error;
      }
    }
    const lease = await this.#read(signal);
    if (lease !== undefined) {
      const nowMs = this.#clock.monotonicMs();
      this.#seen = observeLease(this.#seen, lease, nowMs);
      if (isHeldByOther(this.#seen, identity, nowMs)) return false;
    }
    return await this.#write(lease, signal);
  }

  async #read(signal: AbortSignal): Promise<Lease | undefined> {
    const { namespace, name } = this.#options;
    try {
      return await this.#deps.client.get(LEASES, { namespace, name }, { signal });
    } catch (error) {
      if (isFault(error, 'not-found')) return undefined;
      throw error;
    }
  }

  async #write(lease: Lease | undefined, signal: AbortSignal): Promise<true> {
    const { client } = this.#deps;
    const claim = claimLease(lease, { ...this.#options, nowMs: this.#clock.nowMs() });
    const written =
      lease === undefined
        ? await client.create(LEASES, claim, { signal })
        : await client.update(LEASES, claim, { signal });
    this.#seen = { lease: written, changedAtMs: this.#clock.monotonicMs() };
    return true;
  }

  #leftMs(): number {
    return this.#renewedAtMs + this.#options.renewDeadlineMs - this.#clock.monotonicMs();
  }

  #isLost(): boolean {
    return this.#seen?.lease.spec?.holderIdentity !== this.#options.identity;
  }

  #lost(cause?: unknown): Fault {
    const { name } = this.#options;
    const holder = this.#seen?.lease.spec?.holderIdentity ?? '';
    const why = this.#isLost() ? `held by ${holder || 'no candidate'}` : 'not renewed in time';
    return new Fault('unavailable', `lost leadership: lease ${name} ${why}`, {
      fields: { lease: name, holder },
      ...(cause === undefined ? {} : { cause }),
    });
  }
}
