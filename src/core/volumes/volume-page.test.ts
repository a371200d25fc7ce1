import { expect, it } from 'vitest';
import { formatId } from './volume-name.ts';
import { paginate } from './volume-page.ts';

const item = (number: number) => ({ id: formatId('vol', number.toString(16).padStart(24, '0')) });
const items = (...numbers: readonly number[]) => numbers.map(item);

it('lists all entries without a limit', () => {
  expect(paginate(items(2, 1, 3), { maxEntries: 0, token: '' })).toEqual({
    entries: items(1, 2, 3),
    nextToken: '',
  });
});

it('lists remaining entries exactly once, whatever changes between two pages', () => {
  const first = paginate(items(1, 2, 5, 6), { maxEntries: 2, token: '' });
  // The last one shown is deleted, and two are made meanwhile.
  const second = paginate(items(1, 3, 5, 6, 9), { maxEntries: 0, token: first.nextToken });
  expect([...first.entries, ...second.entries]).toEqual(items(1, 2, 3, 5, 6, 9));
});

it('returns no token with the last entry', () => {
  expect(paginate(items(1, 2), { maxEntries: 2, token: '' }).nextToken).toBe('');
});

it('refuses an invalid token as ABORTED, as CSI requires', () => {
  expect(() => paginate(items(1), { maxEntries: 0, token: 'invalid-token' })).toThrow(
    expect.objectContaining({ kind: 'busy' }),
  );
});

it('refuses a negative number of entries', () => {
  expect(() => paginate(items(1), { maxEntries: -1, token: '' })).toThrow(
    expect.objectContaining({ kind: 'invalid' }),
  );
});
