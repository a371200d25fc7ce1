import { readFile } from 'node:fs/promises';
import { Fault } from '../core/fault.ts';
import { type Clock, systemClock } from '../runtime/clock.ts';
import { raceSignal } from '../runtime/signals.ts';

/** Who we are to the API server, at this moment. */
export interface Identity {
  readonly token?: string;
  /** PEM. */
  readonly certificate?: { readonly cert: string; readonly key: string };
}

/** Where an identity comes from, and how long it is good for. */
export interface Credentials {
  current(signal?: AbortSignal): Promise<Identity>;
  /** The server refused what `current` gave: fetch it anew next time. */
  reject(): void;
}

/** An identity that never changes. */
export function fixedCredentials(identity: Identity): Credentials {
  return { current: () => Promise.resolve(identity), reject: () => undefined };
}

interface Cached {
  readonly identity: Identity;
  readonly untilMs: number;
}

/**
 * Keeps what `fetch` gave until its `untilMs` (of the clock's `nowMs`) or a refusal. Callers at the same time share one fetch, which
 * goes on when one of them gives up; one that fails is not kept.
 */
export function cachedCredentials(
  fetch: () => Promise<Cached>,
  { clock = systemClock }: { readonly clock?: Clock } = {},
): Credentials {
  let cached: Cached | undefined;
  let fetching: Promise<Cached> | undefined;
  return {
    async current(signal) {
      if (cached !== undefined && clock.nowMs() < cached.untilMs) return cached.identity;
      fetching ??= fetch()
        .then((fetched) => (cached = fetched))
        .finally(() => {
          fetching = undefined;
        });
      return (await raceSignal(fetching, signal)).identity;
    },
    reject() {
      cached = undefined;
    },
  };
}

/** kubelet replaces a projected token when 80 % of its life has passed, so one read a minute is never late. */
const TOKEN_FILE_REREAD_MS = 60_000;

/** The token in `path`, read again once a minute and after a refusal: service account tokens are replaced in place. */
export function tokenFileCredentials(
  path: string,
  { clock = systemClock }: { readonly clock?: Clock } = {},
): Credentials {
  return cachedCredentials(
    async () => {
      const token = (await readToken(path)).trim();
      if (token === '') throw new Fault('unavailable', `the token file ${path} is empty`);
      return { identity: { token }, untilMs: clock.nowMs() + TOKEN_FILE_REREAD_MS };
    },
    { clock },
  );
}

async function readToken(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new Fault('unavailable', `cannot read the token file ${path}`, { cause: error });
  }
}
