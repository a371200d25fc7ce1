import { type Clock, sleep, systemClock } from './clock.ts';
import type { Logger } from './logger.ts';

export interface IntervalOptions {
  readonly name: string;
  readonly everyMs: number;
  readonly signal: AbortSignal;
}

/**
 * Runs `work` every `everyMs`, counted from the end of the previous run, until the signal aborts. A
 * failed run is logged and the next one follows as usual. Resolves at abort.
 */
export async function every(
  { name, everyMs, signal }: IntervalOptions,
  work: (signal: AbortSignal) => Promise<void>,
  { logger, clock = systemClock }: { readonly logger: Logger; readonly clock?: Clock },
): Promise<void> {
  while (!signal.aborted) {
    try {
      await sleep(everyMs, { signal, clock });
      await work(signal);
    } catch (error) {
      if (!signal.aborted) logger.warn({ loop: name, err: error }, 'periodic work failed');
    }
  }
}
