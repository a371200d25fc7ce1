import { Fault } from '../../src/core/fault.ts';
import { sleep } from '../../src/runtime/clock.ts';

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly everyMs?: number;
}

/**
 * Repeats `check` until it gives a value; rejects with `timeout`, which says what was awaited and
 * the last error.
 */
export async function waitFor<T>(
  what: string,
  check: () => Promise<T | undefined>,
  { timeoutMs, signal, everyMs = 50 }: WaitOptions,
): Promise<T> {
  const giveUpAtMs = performance.now() + timeoutMs;
  let reason: unknown;
  for (;;) {
    try {
      const value = await check();
      if (value !== undefined) return value;
      reason = undefined;
    } catch (error) {
      if (signal?.aborted) throw error;
      reason = error;
    }
    if (performance.now() >= giveUpAtMs) {
      const why = reason === undefined ? '' : `: ${messageOf(reason)}`;
      throw new Fault('timeout', `${what}: not after ${timeoutMs} ms${why}`, { cause: reason });
    }
    await sleep(everyMs, { signal });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : Fault.from(error).message;
}
