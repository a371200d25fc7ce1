import { Fault } from '../fault.ts';
import { isId } from './volume-name.ts';

export interface Page<T> {
  readonly entries: readonly T[];
  /** Empty at the end. */
  readonly nextToken: string;
}

/**
 * One page of `all`, in the order of their ids. The token is the last id shown, so what stays is
 * shown exactly once, whatever comes and goes between two pages. `maxEntries` 0 is no limit. Throws
 * `busy` for a token that we did not give (CSI asks for ABORTED), `invalid` for a negative number.
 */
export function paginate<T extends { readonly id: string }>(
  all: readonly T[],
  { maxEntries, token }: { readonly maxEntries: number; readonly token: string },
): Page<T> {
  if (maxEntries < 0) throw new Fault('invalid', `max_entries is ${maxEntries}; it must not be negative`);
  if (token !== '' && !isId(token)) {
    throw new Fault(
      'busy',
      `starting_token ${JSON.stringify(token.slice(0, 64))} is none of ours; list from the start`,
    );
  }
  const rest = all.filter(({ id }) => id > token).sort((a, b) => (a.id < b.id ? -1 : 1));
  if (maxEntries === 0 || rest.length <= maxEntries) return { entries: rest, nextToken: '' };
  const entries = rest.slice(0, maxEntries);
  return { entries, nextToken: entries.at(-1)?.id ?? '' };
}
