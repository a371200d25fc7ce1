import { isFault } from '../../core/fault.ts';
import type { WorkResult } from '../../runtime/work-queue.ts';

/** Takes a step, and retries shortly when an object changed since it was read. */
export async function retryStale(step: () => Promise<WorkResult>): Promise<WorkResult> {
  try {
    return await step();
  } catch (error) {
    const isStale = isFault(error, 'busy') || isFault(error, 'not-found') || isFault(error, 'conflict');
    if (!isStale) throw error;
    return { afterMs: 200 };
  }
}
