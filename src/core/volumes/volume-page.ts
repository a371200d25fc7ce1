import { Fault } from '../fault.ts';
import { isId } from './volume-name.ts';

/** One page of a list. */
export interface Page<T> {
  readonly entries: readonly T[];
  /** Token of the next page; empty on the last page. */
  readonly nextToken: string;
}

/**
 * Returns one page of `all` by id. The token is the last id of a page, so that entries that stay
 * are listed exactly once. With `maxEntries` 0 all are listed. Throws `busy` for an invalid token
 * (CSI requires ABORTED), `invalid` for a negative number.
 */
export function paginate<T extends { readonly id: string }>(
  all: readonly T[],
  { maxEntries, token }: { readonly maxEntries: number; readonly token: string },
): Page<T> {
  if (maxEntries < 0) throw new Fault('invalid', `max_entries is ${maxEntries}; it must not be negative`);
  if (token !== '' && !isId(token)) {
    throw new Fault(
      'busy',
      `starting_token ${JSON.stringify(token.slice(0, 64))} is not valid; list from the start`,
    );
  }
  const rest = all.filter(({ id }) => id > token).sort((a, b) => (a.id < b.id ? -1 : 1));
  if (maxEntries === 0 || rest.length <= maxEntries) return { entries: rest, nextToken: '' };
  const entries = rest.slice(0, maxEntries);
  return { entries, nextToken: entries.at(-1)?.id ?? '' };
}
