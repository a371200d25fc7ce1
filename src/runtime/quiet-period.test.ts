import { expect, test } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.ts';
import { QuietPeriod } from './quiet-period.ts';

test('work is done at once where nothing stirs, and gives way to what does', async () => {
  const clock = new FakeClock();
  const quietPeriod = new QuietPeriod({ quietMs: 1_000 }, { clock });
  expect(quietPeriod.waitMs(clock.monotonicMs())).toBe(0);
  quietPeriod.recordActivity();
  const sinceMs = clock.monotonicMs();
  expect(quietPeriod.waitMs(sinceMs)).toBe(1_000);
  await clock.advance(600);
  quietPeriod.recordActivity();
  expect(quietPeriod.waitMs(sinceMs)).toBe(1_000);
  await clock.advance(1_000);
  expect(quietPeriod.waitMs(sinceMs)).toBe(0);
});

test('what has waited for long asks less often', async () => {
  const clock = new FakeClock();
  const quietPeriod = new QuietPeriod({ quietMs: 1_000 }, { clock });
  const sinceMs = clock.monotonicMs();
  const waits: number[] = [];
  for (let step = 0; step < 6; step += 1) {
    quietPeriod.recordActivity();
    const waitMs = quietPeriod.waitMs(sinceMs);
    waits.push(waitMs);
    await clock.advance(waitMs);
  }
  expect(waits).toEqual([1_000, 1_000, 2_000, 4_000, 5_000, 5_000]);
});

test('nothing waits permanently', async () => {
  const clock = new FakeClock();
  const quietPeriod = new QuietPeriod({ quietMs: 1_000, patienceMs: 3_000 }, { clock });
  const sinceMs = clock.monotonicMs();
  const waits: number[] = [];
  for (let step = 0; step < 4; step += 1) {
    quietPeriod.recordActivity();
    waits.push(quietPeriod.waitMs(sinceMs));
    await clock.advance(900);
  }
  quietPeriod.recordActivity();
  expect(waits).toEqual([1_000, 1_000, 1_200, 300]);
  expect(quietPeriod.waitMs(sinceMs)).toBe(0);
});
