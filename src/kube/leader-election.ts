import { Fault, isFault } from '../core/fault.ts';
import { type Clock, sleep, systemClock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/logger.ts';
import { deadlineSignal, linkSignals, raceSignal } from '../runtime/signals.ts';
import { LEASES, type Lease } from './built-in.ts';
import type { KubeClient } from './client.ts';
import { claimLease, isHeldByOther, observeLease, releaseLease, type SeenLease } from './lease.ts';

export interface LeaderElectionOptions {
  readonly namespace: string;
  /** The Lease that candidates compete for. */
  readonly name: string;
  /** This candidate, unique among all that ever ran: e.g. the pod's name and a random suffix. */
  readonly identity: string;
  /** Others wait for this long after the last renewal that they saw; default 15 s. */
  readonly leaseMs?: number;
  /** A leader that could not renew for this long gives up, before others may take over; default 10 s. */
  readonly renewDeadlineMs?: number;
  /** Between attempts; default 5 s. */
  readonly retryMs?: number;
}

export interface LeaderElectionDeps {
  /** Not the client of the work: a lease must not wait behind a queue of other requests. */
  readonly client: Pick<KubeClient, 'get' | 'create' | 'update'>;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly random?: () => number;
}

/** Giving the lease back is a courtesy to others that the end of a process does not wait for any longer. */
const RELEASE_WITHIN_MS = 3_000;

/** A renewal that failed is tried again sooner than one that worked. */
const FAILED_RENEWAL_SHARE = 0.2;

/**
 * Waits until this candidate leads, then runs `work` until it ends or the signal aborts, and gives the lease back. Rejects with
 * `unavailable` when the lease is lost: `work` has seen its signal abort and has ended by then, so that the process can end and start anew.
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
    // Renewed until the work has ended, also while it is stopping: nobody else begins before.
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
  #seen: SeenLease | undefined;
  #renewedAtMs = 0;

  constructor(options: LeaderElectionOptions, deps: LeaderElectionDeps) {
    this.#options = { leaseMs: 15_000, renewDeadlineMs: 10_000, retryMs: 5_000, ...options };
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
  }

  /** True when this candidate leads, false when the signal came first. */
  async campaign(signal: AbortSignal): Promise<boolean> {
    const { name, identity, retryMs, renewDeadlineMs } = this.#options;
    const { random = Math.random, logger } = this.#deps;
    while (!signal.aborted) {
      try {
        if (await this.#acquireWithin(renewDeadlineMs, signal)) {
          logger.info({ lease: name, identity }, 'this process leads');
          return true;
        }
      } catch (error) {
        if (signal.aborted) break;
        // `busy` and `conflict`: another candidate wrote the lease first.
        if (!isFault(error, 'busy') && !isFault(error, 'conflict')) {
          logger.warn({ lease: name, err: error }, 'cannot take part in the election');
        }
      }
      // Jitter, so that candidates who saw the same end do not all come at once.
      const delayMs = retryMs * (1 + 0.2 * random());
      await sleep(delayMs, { signal, clock: this.#clock }).catch(() => undefined);
    }
    return false;
  }

  /** Renews until the signal aborts; rejects with `unavailable` when another holds the lease, or none was renewed for the deadline. */
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
        this.#deps.logger.warn({ lease: name, err: error }, 'renewing the lease failed, will retry');
        delayMs = retryMs * FAILED_RENEWAL_SHARE;
      }
    }
  }

  /** Lets others lead at once; when that fails, they wait for the length of the lease. */
  async release(): Promise<void> {
    if (this.#seen === undefined || this.#isLost()) return;
    using deadline = deadlineSignal(RELEASE_WITHIN_MS, { clock: this.#clock });
    try {
      const lease = releaseLease(this.#seen.lease, this.#clock.nowMs());
      await raceSignal(this.#deps.client.update(LEASES, lease, { signal: deadline.signal }), deadline.signal);
    } catch (error) {
      this.#deps.logger.debug({ lease: this.#options.name, err: error }, 'the lease was not given back');
    }
  }

  async #acquireWithin(limitMs: number, signal: AbortSignal): Promise<boolean> {
    using deadline = deadlineSignal(limitMs, { signal, clock: this.#clock });
    // Counted from before the request: that is the least that others grant.
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
        // Someone has touched the lease: read who holds it.
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
    const why = this.#isLost() ? `${holder || 'nobody'} holds it now` : 'it could not be renewed in time';
    return new Fault('unavailable', `this process no longer leads: lease ${name}: ${why}`, {
      fields: { lease: name, holder },
      ...(cause === undefined ? {} : { cause }),
    });
  }
}
