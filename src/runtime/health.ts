import { Fault } from '../core/fault.ts';
import { deadlineSignal, raceSignal } from './signals.ts';

/** Resolves when the part can serve; rejects with the reason when it cannot. */
export type HealthCheck = (signal: AbortSignal) => Promise<void>;

export interface HealthReport {
  readonly ok: boolean;
  readonly checks: readonly { readonly name: string; readonly ok: boolean; readonly reason?: string }[];
}

/**
 * Named readiness checks of one process, each with its own deadline so that one that hangs does not
 * hide the others.
 */
export class Health {
  readonly #checks = new Map<string, HealthCheck>();
  readonly #timeoutMs: number;

  constructor({ timeoutMs = 1_000 }: { readonly timeoutMs?: number } = {}) {
    this.#timeoutMs = timeoutMs;
  }

  /** Adds a check, or replaces the one of that name. */
  add(name: string, check: HealthCheck): void {
    this.#checks.set(name, check);
  }

  /** Runs all checks concurrently; never rejects. */
  async report(): Promise<HealthReport> {
    const checks = await Promise.all([...this.#checks].map(([name, check]) => this.#run(name, check)));
    return { ok: checks.every((check) => check.ok), checks };
  }

  async #run(name: string, check: HealthCheck): Promise<HealthReport['checks'][number]> {
    using deadline = deadlineSignal(this.#timeoutMs);
    try {
      await raceSignal(check(deadline.signal), deadline.signal);
      return { name, ok: true };
    } catch (error) {
      return { name, ok: false, reason: Fault.from(error).message };
    }
  }
}
