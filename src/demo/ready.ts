import { Fault } from '../core/fault.ts';
import type { ManagedProcess } from '../runtime/child-process.ts';
import { sleep } from '../runtime/clock.ts';
import { deadlineSignal, linkSignals } from '../runtime/signals.ts';
import { isServed } from '../runtime/unix-socket.ts';

interface ReadyOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
}

/**
 * Waits until `process` serves `socketPath` and `check` succeeds; resolves to its result. Rejects
 * with the end of the log when the process exits, or with `timeout`.
 */
export async function untilReady<T>(
  process: ManagedProcess,
  socketPath: string,
  check: (signal: AbortSignal) => Promise<T>,
  { signal, timeoutMs = 60_000 }: ReadyOptions = {},
): Promise<T> {
  const settled = new AbortController();
  using deadline = deadlineSignal(timeoutMs);
  using waiting = linkSignals(signal, settled.signal, deadline.signal);
  let reason: unknown;
  const poll = async (): Promise<T> => {
    for (;;) {
      if (await isServed(socketPath)) {
        try {
          return await check(waiting.signal);
        } catch (error) {
          reason = error;
        }
      }
      await sleep(10, { signal: waiting.signal });
    }
  };
  try {
    return await Promise.race([poll(), process.failed(waiting.signal)]);
  } catch (error) {
    if (!deadline.signal.aborted || signal?.aborted) throw error;
    const why = reason === undefined ? `nothing listens at ${socketPath}` : Fault.from(reason).message;
    throw new Fault(
      'timeout',
      `${process.name} not ready after ${timeoutMs} ms: ${why}\n${await process.tail(12)}`,
      { cause: reason },
    );
  } finally {
    settled.abort(new DOMException('wait ended', 'AbortError'));
  }
}
