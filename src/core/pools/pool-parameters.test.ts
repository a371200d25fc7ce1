import { expect, test } from 'vitest';
import { parsePoolParameters } from './pool-parameters.ts';

test('an absent parameter does not restrict the choice', () => {
  expect(parsePoolParameters({}, 'parameters')).toEqual({
    pool: undefined,
    poolSelector: undefined,
    backend: undefined,
    encrypted: false,
  });
});

test.each([
  [{ backend: 'zfs' }, 'parameters: unknown backend "zfs"; expected btrfs, image, directory'],
  [{ encrypted: 'yes' }, 'parameters: encrypted is "yes"; write "true" or "false"'],
  [{ poolSelector: 'media in ssd' }, 'parameters: poolSelector: invalid label selector "media in ssd"'],
  [{ poolSelector: 'x'.repeat(1025) }, 'parameters: poolSelector: has 1025 characters, the limit is 1024'],
])('%j is refused', (parameters, words) => {
  expect(() => parsePoolParameters(parameters, 'parameters')).toThrow(words);
});
