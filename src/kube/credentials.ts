import { readFile } from 'node:fs/promises';
import { Fault } from '../core/fault.ts';
import { type Clock, systemClock } from '../runtime/clock.ts';
import { raceSignal } from '../runtime/signals.ts';

/** Identifies this process to the API server. */
export interface Identity {
  /** Header values by name: `authorization`, impersonation. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** PEM. */
  readonly certificate?: { readonly cert: string; readonly key: string };
}

/** A value that is replaced during the life of the process. */
export interface Renewable<T> {
  current(signal?: AbortSignal): Promise<T>;
  /** Discards the value that `current` returned, because its receiver refused it. */
  reject(): void;
}

export type Credentials = Renewable<Identity>;

/** Returns a Renewable whose value never changes. */
export function fixed<T>(value: T): Renewable<T> {
  return { current: () => Promise.resolve(value), reject: () => undefined };
}

/** Returns the identity that the bearer token `token` stands for. */
export function bearerIdentity(token: string): Identity {
  return { headers: { authorization: `Bearer ${token}` } };
}

interface Fetched<T> {
  readonly value: T;
  /** On the clock's `nowMs`. */
  readonly untilMs: number;
}

export interface RenewalDeps {
  readonly clock?: Clock;
}

/**
 * Returns a Renewable that calls `fetch` again after `untilMs` or a rejection. Concurrent callers
 * share one fetch, which continues when one of them aborts. A failed fetch is not cached.
 */
export function renewable<T>(
  fetch: () => Promise<Fetched<T>>,
  { clock = systemClock }: RenewalDeps = {},
): Renewable<T> {
  let cached: Fetched<T> | undefined;
  let fetching: Promise<Fetched<T>> | undefined;
  return {
    async current(signal) {
      if (cached !== undefined && clock.nowMs() < cached.untilMs) return cached.value;
      fetching ??= fetch()
        .then((fetched) => (cached = fetched))
        .finally(() => {
          fetching = undefined;
        });
      return (await raceSignal(fetching, signal)).value;
    },
    reject() {
      cached = undefined;
    },
  };
}

/**
 * kubelet replaces a projected token after 80 % of its life, at least 2 minutes before it expires,
 * and a cluster publishes a new certificate authority long before it uses it.
 */
const FILE_REREAD_MS = 60_000;

/** Returns the trimmed text of `path`, re-read once a minute; `unavailable` if it is empty. */
export function fileContent(path: string, { clock = systemClock }: RenewalDeps = {}): Renewable<string> {
  return renewable(
    async () => {
      const value = (await readText(path)).trim();
      if (value === '') throw new Fault('unavailable', `${path} is empty`);
      return { value, untilMs: clock.nowMs() + FILE_REREAD_MS };
    },
    { clock },
  );
}

/** Returns credentials that send the token in the file `path`, which is replaced in place. */
export function tokenFileCredentials(path: string, deps: RenewalDeps = {}): Credentials {
  const token = fileContent(path, deps);
  return {
    current: async (signal) => bearerIdentity(await token.current(signal)),
    reject: () => token.reject(),
  };
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new Fault('unavailable', `cannot read ${path}`, { cause: error });
  }
}
