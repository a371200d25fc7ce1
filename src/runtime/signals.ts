import { type Clock, systemClock } from './clock.ts';

/**
 * A signal that must be disposed, so that nothing stays attached to the long-lived signals it
 * follows.
 */
export interface LinkedSignal extends Disposable {
  readonly signal: AbortSignal;
}

/**
 * Aborts when any of `sources` does. Disposing detaches it from them (AbortSignal.any leaks:
 * nodejs/node#54614).
 */
export function linkSignals(...sources: readonly (AbortSignal | undefined)[]): LinkedSignal {
  const controller = new AbortController();
  const detach: (() => void)[] = [];
  for (const source of sources) {
    if (source === undefined) continue;
    if (source.aborted) {
      controller.abort(source.reason);
      break;
    }
    const onAbort = (): void => controller.abort(source.reason);
    source.addEventListener('abort', onAbort, { once: true });
    detach.push(() => source.removeEventListener('abort', onAbort));
  }
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const undo of detach.splice(0)) undo();
    },
  };
}

export interface DeadlineOptions {
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock | undefined;
}

/**
 * Aborts with a TimeoutError after `timeoutMs`, or earlier with `signal`. Dispose it when the work
 * is done.
 */
export function deadlineSignal(
  timeoutMs: number,
  { signal, clock = systemClock }: DeadlineOptions = {},
): LinkedSignal {
  const deadline = new AbortController();
  const timer = clock.schedule(timeoutMs, () =>
    deadline.abort(new DOMException(`no result after ${timeoutMs} ms`, 'TimeoutError')),
  );
  const linked = linkSignals(signal, deadline.signal);
  return {
    signal: linked.signal,
    [Symbol.dispose]: () => {
      timer[Symbol.dispose]();
      linked[Symbol.dispose]();
    },
  };
}

/**
 * Rejects with the signal's reason when it aborts before `promise` settles; the promise itself
 * continues.
 */
export function raceSignal<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) {
      promise.catch(() => undefined);
      onAbort();
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
