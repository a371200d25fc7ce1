import { expect, test } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.ts';
import { backoffMs, retry } from './retry.ts';

test('delays double from the base to the maximum, and jitter only shortens them', () => {
  const options = { baseMs: 100, maxMs: 1_000, jitter: 0.5 };
  expect([1, 2, 3, 4, 5, 60].map((n) => backoffMs(n, options, () => 0))).toEqual([
    100, 200, 400, 800, 1_000, 1_000,
  ]);
  expect(backoffMs(2, options, () => 1)).toBe(100);
});

test('retry ends with the last error when its attempts are used up', async () => {
  const clock = new FakeClock();
  let calls = 0;
  const result = retry(
    async () => {
      calls += 1;
      throw new Error(`no ${calls}`);
    },
    { attempts: 3, baseMs: 10, maxMs: 10, clock },
  );
  const checked = expect(result).rejects.toThrow('no 3');
  await clock.advance(100);
  await checked;
  expect(calls).toBe(3);
});

test('retry stops at once on an error that is not worth it', async () => {
  await expect(
    retry(() => Promise.reject(new Error('final')), { baseMs: 1, maxMs: 1, shouldRetry: () => false }),
  ).rejects.toThrow('final');
});
