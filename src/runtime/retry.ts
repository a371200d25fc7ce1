import { type Clock, sleep, systemClock } from './clock.ts';

export interface BackoffOptions {
  readonly baseMs: number;
  readonly maxMs: number;
  /**
   * Random share of each delay, 0 to 1 (default 0.2), so that many clients do not return at once.
   */
  readonly jitter?: number;
}

/**
 * Returns the delay before attempt `attempt + 1` (attempts count from 1): doubles from `baseMs` up
 * to `maxMs`, less its jitter.
 */
export function backoffMs(
  attempt: number,
  { baseMs, maxMs, jitter = 0.2 }: BackoffOptions,
  random = Math.random,
): number {
  const full = Math.min(maxMs, baseMs * 2 ** Math.min(attempt - 1, 30));
  return full * (1 - jitter * random());
}

export interface RetryOptions extends BackoffOptions {
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock;
  /** Number of attempts; unlimited when absent. */
  readonly attempts?: number;
  /** False ends the retries with this error. */
  readonly shouldRetry?: (error: unknown) => boolean;
}

/** Repeats `work` until it succeeds; rejects with its last error, or with the signal's reason. */
export async function retry<T>(work: () => Promise<T>, options: RetryOptions): Promise<T> {
  const {
    signal,
    clock = systemClock,
    attempts = Number.POSITIVE_INFINITY,
    shouldRetry = () => true,
  } = options;
  for (let attempt = 1; ; attempt += 1) {
    signal?.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      if (attempt >= attempts || !shouldRetry(error)) throw error;
    }
    await sleep(backoffMs(attempt, options), { signal, clock });
  }
}
